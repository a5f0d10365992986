//! A service in this process that answers at once, so that what is left is the balancer.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequestsDiscover};
use tower::{BoxError, Service, ServiceExt};
use zk_registry::balance::{Balancer, strategy::LeastLoaded};
use zk_registry::tower::{Balance, Connect};
use zk_registry::{Instance, Member, Resolve, StaticResolver};

const SERVICES: u16 = 10;
const CALLS: u32 = 100_000;

#[derive(Clone, Debug)]
struct Null;

impl Service<u64> for Null {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

fn balance() -> Balance<impl Connect<Client = Null>> {
    let name = "bench".parse().expect("it is a name");
    let instances = (1..=SERVICES).map(|port| Instance::new("10.0.0.1", port));
    let watch = StaticResolver::new().with("bench".parse().expect("it is a name"), instances).watch(&name);
    Balance::new(watch, Balancer::new(LeastLoaded), |_: Arc<Member>| ready(Ok::<_, Infallible>(Null)))
}

/// Nanoseconds per call of the service alone.
pub(super) async fn bare() -> f64 {
    per_call(Null).await
}

/// Nanoseconds per call through ours.
pub(super) async fn ours() -> f64 {
    per_call(balance()).await
}

/// Nanoseconds per call through tower's power of two choices, by the calls in flight as ours.
pub(super) async fn theirs() -> f64 {
    let services = ServiceList::new(vec![Null; SERVICES.into()]);
    let discover = PendingRequestsDiscover::new(services, CompleteOnResponse::default());
    per_call(tower::balance::p2c::Balance::new(discover)).await
}

async fn per_call<S: Service<u64, Error: Into<BoxError>>>(mut service: S) -> f64 {
    // Every client is dialled before the clock runs.
    for call in 0..1000 {
        called(&mut service, call).await;
    }
    let began = Instant::now();
    for call in 0..CALLS {
        called(&mut service, call.into()).await;
    }
    began.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

async fn called<S: Service<u64, Error: Into<BoxError>>>(service: &mut S, call: u64) {
    let service = service.ready().await.map_err(Into::into).expect("it is ready");
    service.call(call).await.map_err(Into::into).expect("it answers");
}

/// The allocations of one call through ours.
pub(super) fn allocations() -> f64 {
    let mut balance = balance();
    let mut call = || balance.call(1).now_or_never();
    let runtime = tokio::runtime::Handle::current();
    // Least loaded of two: after so many answers in a row each of the few services was dialled.
    let mut in_a_row = 0;
    tokio::task::block_in_place(|| {
        while in_a_row < 1000 {
            in_a_row += 1;
            if call().is_none() {
                in_a_row = 0;
                runtime.block_on(tokio::time::sleep(std::time::Duration::from_millis(1)));
            }
        }
    });
    let mut answered = false;
    let counted = allocation_counter::measure(|| answered = call().is_some());
    assert!(answered, "it answers at once");
    counted.count_total as f64
}
