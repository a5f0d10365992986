//! Three real HTTP servers, one of them killed, or all of them replaced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use integration_tests::web_server::WebServer;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequestsDiscover};
use tower::{BoxError, Service, ServiceExt};
use zk_registry::balance::{Balancer, Budget, Retry, strategy::LeastLoaded};
use zk_registry::tower::{
    Balance,
    http::{ByStatus, Origin},
};
use zk_registry::{Instance, ServiceName, ServiceWatch, Snapshot, SnapshotSender};

type Pooled = Client<HttpConnector, Empty<Bytes>>;
type Get = Request<Empty<Bytes>>;

const SERVERS: usize = 3;
const CALLERS: usize = 8;
const MEASURED: Duration = Duration::from_secs(1);
/// The calls of a run with a server killed, and the pause between two.
const CALLS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(2);
/// How long the idle clients are idle, instead of a minute: what they hold is as dead either way.
const IDLE: Duration = Duration::from_secs(1);

fn pooled() -> Pooled {
    Client::builder(TokioExecutor::new()).build_http()
}

fn get(address: Option<SocketAddr>) -> Get {
    let uri = address.map_or_else(|| "http://bench/".to_owned(), |address| format!("http://{address}/"));
    Request::get(uri).body(Empty::new()).expect("it is a request")
}

fn service() -> ServiceName {
    "bench".parse().expect("it is a name")
}

fn snapshot(servers: &[WebServer]) -> Snapshot {
    let instance =
        |server: &WebServer| Instance::new(server.address().ip().to_string(), server.address().port());
    Snapshot::fixed(&service(), servers.iter().map(instance))
}

fn start() -> Vec<WebServer> {
    (0..SERVERS).map(|_| WebServer::start()).collect()
}

fn ours(
    servers: &[WebServer],
) -> (
    SnapshotSender,
    impl Service<
        Get,
        Response = Response<impl hyper::body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static,
) {
    let (sender, watch) = ServiceWatch::channel(snapshot(servers));
    let balance = Balance::new(watch, Balancer::new(LeastLoaded), Origin::over(pooled()))
        .with_classify(ByStatus)
        .with_retry(Retry::default(), Arc::new(Budget::default()), |request: &Get| Some(request.clone()));
    (sender, balance)
}

/// tower's power of two choices over the same pooled client, behind the buffer that makes it a service to share.
fn theirs(
    servers: &[WebServer],
) -> impl Service<Get, Response = Response<hyper::body::Incoming>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static {
    let pooled = pooled();
    let to = |server: &WebServer| {
        let (pooled, address) = (pooled.clone(), server.address());
        tower::service_fn(move |_: Get| pooled.request(get(Some(address))))
    };
    let list: Vec<_> = servers.iter().map(to).collect();
    let discover = PendingRequestsDiscover::new(ServiceList::new(list), CompleteOnResponse::default());
    tower::buffer::Buffer::new(tower::balance::p2c::Balance::new(discover), 1024)
}

async fn succeeded<S, B>(service: &mut S, request: Get) -> bool
where
    S: Service<Get, Response = Response<B>, Error: Into<BoxError>>,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let Ok(service) = service.ready().await else { return false };
    let Ok(response) = service.call(request).await else { return false };
    response.status().is_success() && response.into_body().collect().await.is_ok()
}

/// Calls per second by several callers.
async fn rate<S, B>(service: S, address: Option<SocketAddr>) -> f64
where
    S: Service<Get, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send,
{
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CALLERS {
        let mut service = service.clone();
        callers.spawn(async move {
            let mut calls = 0_u32;
            while began.elapsed() < MEASURED {
                assert!(succeeded(&mut service, get(address)).await, "the servers are there");
                calls += 1;
            }
            calls
        });
    }
    let calls: u32 = callers.join_all().await.into_iter().sum();
    f64::from(calls) / began.elapsed().as_secs_f64()
}

pub(super) async fn balanced_rate() -> f64 {
    let servers = start();
    let (_sender, balance) = ours(&servers);
    rate(balance, None).await
}

pub(super) async fn fixed_rate() -> f64 {
    let servers = start();
    rate(pooled(), Some(servers[0].address())).await
}

/// The same three in turn, by the same client, with no balancer at all: what three servers cost beside one.
pub(super) async fn in_turn_rate() -> f64 {
    let servers = start();
    let addresses: Vec<_> = servers.iter().map(WebServer::address).collect();
    let (pooled, next) = (pooled(), Arc::new(AtomicUsize::new(0)));
    let in_turn = tower::service_fn(move |_: Get| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        pooled.request(get(Some(addresses[n % addresses.len()])))
    });
    rate(in_turn, None).await
}

pub(super) async fn theirs_rate() -> f64 {
    let servers = start();
    rate(theirs(&servers), None).await
}

/// The calls that fail when one of three servers is killed in their middle, and the registry does not know.
async fn failures<S, B>(service: S, mut servers: Vec<WebServer>) -> f64
where
    S: Service<Get, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send,
{
    let failed = Arc::new(AtomicUsize::new(0));
    let (mut calls, mut due) = (JoinSet::new(), interval(PAUSE));
    for call in 0..CALLS {
        due.tick().await;
        if call == CALLS / 3 {
            servers.pop().expect("there are three").kill();
        }
        let (mut service, failed) = (service.clone(), Arc::clone(&failed));
        calls.spawn(async move {
            if !succeeded(&mut service, get(None)).await {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    calls.join_all().await;
    failed.load(Ordering::Relaxed) as f64
}

pub(super) async fn ours_with_one_killed() -> f64 {
    let servers = start();
    let (_sender, balance) = ours(&servers);
    failures(balance, servers).await
}

pub(super) async fn theirs_with_one_killed() -> f64 {
    let servers = start();
    failures(theirs(&servers), servers).await
}

pub(super) async fn ours_after_idling() -> f64 {
    let servers = start();
    let (sender, mut balance) = ours(&servers);
    assert!(succeeded(&mut balance, get(None)).await, "the servers are there");
    servers.into_iter().for_each(WebServer::kill);
    let replaced = start();
    sender.send(snapshot(&replaced));
    sleep(IDLE).await;
    f64::from(u8::from(!succeeded(&mut balance, get(None)).await))
}

/// The list of tower's balancer is fixed here; in tonic's it is a queue that is read when a call is made.
pub(super) async fn theirs_after_idling() -> f64 {
    let servers = start();
    let mut balance = theirs(&servers);
    assert!(succeeded(&mut balance, get(None)).await, "the servers are there");
    servers.into_iter().for_each(WebServer::kill);
    sleep(IDLE).await;
    f64::from(u8::from(!succeeded(&mut balance, get(None)).await))
}
