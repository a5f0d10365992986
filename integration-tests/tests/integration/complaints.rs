//! What users of other balancers complain of, one test each, named after the complaint: ours passes, and where the rival runs
//! in a test it is shown to fail.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, dns};
use hyper_util::rt::TokioExecutor;
use integration_tests::web_server::WebServer;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tower::balance::p2c;
use tower::discover::{Change, ServiceList};
use tower::load::{Constant, Load};
use tower::{BoxError, Service, ServiceExt};
use zk_registry::balance::{Balancer, BalancerOptions, strategy::LeastLoaded, strategy::RoundRobin};
use zk_registry::tower::http::{ByStatus, Origin};
use zk_registry::tower::{Balance, Connect};
use zk_registry::{Instance, Member, ServiceName, ServiceWatch, Snapshot, SnapshotSender};

/// A service in this process that answers with its number.
#[derive(Clone, Debug)]
struct Numbered {
    number: u16,
    takes: Duration,
    /// Its readiness is an error, once.
    is_broken: Arc<AtomicBool>,
}

impl Numbered {
    fn new(number: u16) -> Self {
        Self { number, takes: Duration::ZERO, is_broken: Arc::default() }
    }

    fn taking(number: u16, takes: Duration) -> Self {
        Self { takes, ..Self::new(number) }
    }
}

impl Service<()> for Numbered {
    type Response = u16;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<u16>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_broken = self.is_broken.swap(false, Ordering::Relaxed);
        Poll::Ready(if is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let (number, takes) = (self.number, self.takes);
        Box::pin(async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            Ok(number)
        })
    }
}

impl Load for Numbered {
    type Metric = u32;

    /// As tonic's connections: always the same.
    fn load(&self) -> u32 {
        0
    }
}

/// The changes of a set as tonic's balance channel has them: a bounded queue that is read when a call is made.
struct Changes(mpsc::Receiver<Change<u16, Numbered>>);

impl Stream for Changes {
    type Item = Result<Change<u16, Numbered>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|change| change.map(Ok))
    }
}

type Rival = p2c::Balance<Changes, ()>;

fn rival(capacity: usize) -> (mpsc::Sender<Change<u16, Numbered>>, Rival) {
    let (sender, receiver) = mpsc::channel(capacity);
    (sender, p2c::Balance::new(Changes(receiver)))
}

async fn through<S: Service<()>>(service: &mut S) -> Result<S::Response, S::Error> {
    service.ready().await?.call(()).await
}

fn service() -> ServiceName {
    "greeter".parse().unwrap()
}

fn snapshot(ports: &[u16]) -> Snapshot {
    Snapshot::fixed(&service(), ports.iter().map(|port| Instance::new("127.0.0.1", *port)))
}

fn of_servers(servers: &[WebServer]) -> Snapshot {
    snapshot(&servers.iter().map(|server| server.address().port()).collect::<Vec<_>>())
}

/// Ours over numbered services, and how often one was dialled.
fn ours(ports: &[u16]) -> (SnapshotSender, Balance<impl Connect<Client = Numbered> + use<>>, Arc<AtomicU32>) {
    let (sender, watch) = ServiceWatch::channel(snapshot(ports));
    let dials = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&dials);
    let balance = Balance::new(watch, Balancer::new(RoundRobin::default()), move |to: Arc<Member>| {
        counted.fetch_add(1, Ordering::Relaxed);
        ready(Ok::<_, Infallible>(Numbered::new(to.port())))
    });
    (sender, balance, dials)
}

async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

/// grpc-rust #1581, linkerd2 #2550.
#[tokio::test(start_paused = true)]
async fn idle_clients_go_stale() {
    const CHANGES: u16 = 10_000;
    let (sender, mut balance, _) = ours(&[1]);
    for port in 1..=CHANGES {
        sender.send(snapshot(&[port]));
    }
    settle().await;
    assert_eq!(balance.call(()).await.unwrap(), CHANGES);

    let (sender, _rival) = rival(1024);
    let taken =
        (1..=CHANGES).take_while(|port| sender.try_send(Change::Insert(*port, Numbered::new(*port))).is_ok());
    assert!(taken.count() < usize::from(CHANGES), "the rival's queue was never full");
}

/// tower #856.
#[tokio::test(start_paused = true)]
async fn the_choice_is_older_than_the_call() {
    let (sender, mut balance, _) = ours(&[1]);
    let chosen = balance.ready().await.unwrap();
    sender.send(snapshot(&[2]));
    settle().await;
    assert_eq!(chosen.call(()).await.unwrap(), 2);

    let (sender, mut rival) = rival(16);
    sender.send(Change::Insert(1, Numbered::new(1))).await.unwrap();
    let chosen = rival.ready().await.unwrap();
    sender.send(Change::Remove(1)).await.unwrap();
    sender.send(Change::Insert(2, Numbered::new(2))).await.unwrap();
    assert_eq!(chosen.call(()).await.unwrap(), 1, "the rival called what is listed");
}

/// tower: the end of `poll_ready`.
#[tokio::test(start_paused = true)]
async fn a_call_without_any_instance_waits_for_ever() {
    let long = Duration::from_secs(60);
    let (_sender, mut balance, _) = ours(&[]);
    let error = timeout(long, balance.call(())).await.expect("it ends").unwrap_err();
    assert!(error.to_string().contains("no instance"), "{error}");

    let (_changes, mut rival) = rival(16);
    assert!(timeout(long, through(&mut rival)).await.is_err(), "the rival ended");
}

/// tower #824: what was not ready at first is never called.
#[tokio::test]
async fn a_slow_start_of_an_endpoint_is_for_ever() {
    let (_sender, watch) = ServiceWatch::channel(snapshot(&[1, 2]));
    let mut balance =
        Balance::new(watch, Balancer::new(RoundRobin::default()), |to: Arc<Member>| async move {
            if to.port() == 2 {
                sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, Infallible>(Numbered::new(to.port()))
        });
    let mut answers = BTreeMap::<u16, u32>::new();
    for _ in 0..10 {
        *answers.entry(balance.call(()).await.unwrap()).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([(1, 5), (2, 5)]));
}

/// grpc-rust #2839 and #643.
#[tokio::test]
async fn a_dead_endpoint_spends_the_request() {
    const CALLS: usize = 50;
    let servers = [WebServer::start(), WebServer::start()];
    let (_sender, watch) = ServiceWatch::channel(of_servers(&servers));
    let [alive, dead] = servers;
    let addresses = [alive.address(), dead.address()];
    dead.kill();
    let pooled = pooled(HttpConnector::new());
    let origin = Arc::new(Origin::over(pooled.clone()));
    let eager = move |to: Arc<Member>| {
        let origin = Arc::clone(&origin);
        async move {
            TcpStream::connect((to.host(), to.port())).await?;
            origin.connect(&to).await
        }
    };
    let mut balance =
        Balance::new(watch, Balancer::new(RoundRobin::default()), eager).with_classify(ByStatus);
    for _ in 0..CALLS {
        balance.call(get("http://greeter/")).await.unwrap();
    }

    let lazy = |address: SocketAddr| {
        let pooled = pooled.clone();
        let service = tower::service_fn(move |()| pooled.request(get(&format!("http://{address}/"))));
        Constant::new(service, 0)
    };
    let mut rival = p2c::Balance::new(ServiceList::new(Vec::from(addresses.map(lazy))));
    let mut failed = 0;
    for _ in 0..CALLS {
        failed += usize::from(through(&mut rival).await.is_err());
    }
    assert!(failed > 0, "the rival failed no call");
}

/// influxdb_iox #6508.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_failed_once_is_gone_for_ever() {
    let breaks = Arc::new(AtomicBool::new(false));
    let (_sender, watch) = ServiceWatch::channel(snapshot(&[1]));
    let dialled = Arc::clone(&breaks);
    let mut balance = Balance::new(watch, Balancer::new(LeastLoaded), move |to: Arc<Member>| {
        ready(Ok::<_, Infallible>(Numbered { is_broken: Arc::clone(&dialled), ..Numbered::new(to.port()) }))
    });
    balance.call(()).await.unwrap();
    breaks.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(balance.call(()).await.unwrap(), 1);
    }

    let (sender, mut rival) = rival(16);
    let broken = Numbered::new(1);
    broken.is_broken.store(true, Ordering::Relaxed);
    sender.send(Change::Insert(1, broken)).await.unwrap();
    assert!(
        timeout(Duration::from_secs(60), through(&mut rival)).await.is_err(),
        "the rival called it again"
    );
}

/// tonic's `Insert` of a key that it has.
#[tokio::test(start_paused = true)]
async fn an_update_drops_the_connection() {
    let (sender, mut balance, dials) = ours(&[1]);
    balance.call(()).await.unwrap();
    let changed = Instance::new("127.0.0.1", 1).with_metadata("version", "2");
    sender.send(Snapshot::fixed(&service(), [changed]));
    settle().await;
    balance.call(()).await.unwrap();
    assert_eq!(dials.load(Ordering::Relaxed), 1);

    let (sender, mut rival) = rival(16);
    let (old, new) = (Numbered::new(1), Numbered::new(1));
    let held = Arc::clone(&old.is_broken);
    sender.send(Change::Insert(1, old)).await.unwrap();
    through(&mut rival).await.unwrap();
    sender.send(Change::Insert(1, new)).await.unwrap();
    through(&mut rival).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1, "the rival kept the connection");
}

/// ginepro #39: the load of each of tonic's endpoints is 0.
#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_gets_as_many_calls_as_a_fast_one() {
    let takes = |port| Duration::from_millis(if port == 1 { 100 } else { 1 });
    let (_sender, watch) = ServiceWatch::channel(snapshot(&[1, 2]));
    let balance = Balance::new(watch, Balancer::new(LeastLoaded), move |to: Arc<Member>| {
        ready(Ok::<_, Infallible>(Numbered::taking(to.port(), takes(to.port()))))
    });
    let ours = calls_of_the_slow_one(balance).await;
    let services = Vec::from([1, 2].map(|port| Numbered::taking(port, takes(port))));
    let rival = p2c::Balance::<_, ()>::new(ServiceList::new(services));
    let theirs = calls_of_the_slow_one(tower::buffer::Buffer::new(rival, 16)).await;
    assert!(2 * ours < theirs, "{ours} beside {theirs} calls of the slow endpoint");
}

/// How many of 400 calls, one a millisecond, the slow endpoint of two answers.
async fn calls_of_the_slow_one<S>(service: S) -> usize
where
    S: Service<(), Response = u16, Error: std::fmt::Debug + Send, Future: Send> + Clone + Send + 'static,
{
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let mut service = service.clone();
        calls.spawn(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            service.call(()).await.unwrap()
        });
        sleep(Duration::from_millis(1)).await;
    }
    calls.join_all().await.into_iter().filter(|port| *port == 1).count()
}

/// grpc-rust #2257, linkerd2 #14731: the worker of all clones dies.
#[tokio::test(start_paused = true)]
async fn one_panic_closes_every_clone() {
    #[derive(Clone)]
    struct Panics;

    impl Service<bool> for Panics {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, panics: bool) -> Self::Future {
            assert!(!panics, "as it was told");
            ready(Ok(()))
        }
    }

    let (_sender, watch) = ServiceWatch::channel(snapshot(&[1]));
    let balance =
        Balance::new(watch, Balancer::new(LeastLoaded), |_: Arc<Member>| ready(Ok::<_, Infallible>(Panics)));
    let mut clone = balance.clone();
    tokio::spawn(async move { clone.call(true).await }).await.unwrap_err();
    balance.clone().call(false).await.unwrap();

    let rival = tower::buffer::Buffer::new(Panics, 16);
    let mut clone = rival.clone();
    let _ = tokio::spawn(async move { clone.ready().await?.call(true).await }).await;
    let mut clone = rival.clone();
    let after = async move { clone.ready().await?.call(false).await };
    assert!(after.await.is_err(), "the rival's clones live");
}

/// grpc-rust #2745: no bound on a dial.
#[tokio::test(start_paused = true)]
async fn a_dial_without_an_answer_hangs_the_call() {
    let (_sender, watch) = ServiceWatch::channel(snapshot(&[1, 2]));
    let mut balance =
        Balance::new(watch, Balancer::new(RoundRobin::default()), |to: Arc<Member>| async move {
            if to.port() == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Numbered::new(to.port()))
        });
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(balance.call(()).await.unwrap(), 2);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// reqwest #2333 and #3033.
#[tokio::test]
async fn the_pool_pins_one_backend() {
    const CALLS: usize = 30;
    let servers = [WebServer::start(), WebServer::start(), WebServer::start()];
    let addresses: Vec<SocketAddr> = servers.iter().map(WebServer::address).collect();
    let (sender, watch) = ServiceWatch::channel(of_servers(&servers[..2]));
    // A newcomer would have a small share at first, and now and then none of these calls.
    let at_once = BalancerOptions::default().with_slow_start(Duration::ZERO);
    let balancer = Balancer::with_options(RoundRobin::default(), at_once);
    let mut balance =
        Balance::new(watch, balancer, Origin::over(pooled(HttpConnector::new()))).with_classify(ByStatus);
    let mut spread = async || {
        let mut called = BTreeMap::<Bytes, usize>::new();
        for _ in 0..CALLS {
            let answer = balance.call(get("http://greeter/")).await.unwrap();
            *called.entry(answer.into_body().collect().await.unwrap().to_bytes()).or_default() += 1;
        }
        called.len()
    };
    assert_eq!(spread().await, 2);
    sender.send(of_servers(&servers));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(spread().await, 3, "what was added is seen");

    let resolve =
        tower::service_fn(move |_: dns::Name| ready(Ok::<_, Infallible>(addresses.clone().into_iter())));
    let rival = pooled(HttpConnector::new_with_resolver(resolve));
    let mut called = std::collections::BTreeSet::new();
    for _ in 0..CALLS {
        let answer = rival.request(get("http://greeter/")).await.unwrap();
        called.insert(answer.into_body().collect().await.unwrap().to_bytes());
    }
    assert_eq!(called.len(), 1, "the rival's calls are spread");
}

type Get = Request<Empty<Bytes>>;

fn get(uri: &str) -> Get {
    Request::get(uri).body(Empty::new()).unwrap()
}

fn pooled<C>(connector: C) -> Client<C, Empty<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new()).build(connector)
}
