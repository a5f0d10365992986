//! A reqwest client whose calls are balanced. `cargo run -p integration-tests --example reqwest 127.0.0.1:2181 greeter`
//!
//! The pitfall: a resolver given to reqwest balances connections, not calls; its pool keeps one backend for each host. Here the
//! URL's host and port are those of the instance that was chosen for the call.

use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use reqwest::{Client, Method, Request, Response};
use tower::{BoxError, Service};
use zk_registry::balance::{Balancer, Budget, Retry, strategy::PeakEwma};
use zk_registry::{Member, Options, Registry, Resolve, ServiceWatch, tower::Balance};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: reqwest ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    println!("{:?}", get(registry.watch(&service.parse()?), 10).await?);
    Ok(())
}

/// The pooled client, for one instance.
#[derive(Clone)]
struct At(Client, Arc<Member>);

impl Service<Request> for At {
    type Response = Response;
    type Error = reqwest::Error;
    type Future = <Client as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let url = request.url_mut();
        // A URL with a host takes another one; a host that is none fails the call.
        let _ = url.set_host(Some(self.1.host())).map(|()| url.set_port(Some(self.1.port())));
        self.0.call(request)
    }
}

/// Calls so often, and returns the answers.
pub(crate) async fn get(watch: ServiceWatch, calls: usize) -> Result<Vec<String>, BoxError> {
    let pooled = Client::new();
    let connect = move |to: Arc<Member>| ready(Ok::<_, BoxError>(At(pooled.clone(), to)));
    let mut client = Balance::new(watch, Balancer::new(PeakEwma::default()), connect).with_retry(
        Retry::default(),
        Arc::new(Budget::default()),
        |request: &Request| request.try_clone(),
    );
    let mut answers = Vec::with_capacity(calls);
    for _ in 0..calls {
        answers.push(client.call(Request::new(Method::GET, "http://greeter/".parse()?)).await?.text().await?);
    }
    Ok(answers)
}
