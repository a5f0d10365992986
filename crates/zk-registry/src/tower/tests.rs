//! Balances over watches of every kind, with clients in this process that do as they are told.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

use super::{Balance, BalanceError, BoxError, Connect};
use crate::balance::strategy::{LeastLoaded, RoundRobin};
use crate::balance::{Balancer, Budget, Outcome, Phase, PickError, Retry};
use crate::instance::{Instance, ServiceName};
use crate::resolve::{Resolve, ServiceWatch, SnapshotSender, StaticResolver};
use crate::snapshot::{Incarnation, Member, Snapshot};
use crate::testing;

/// How an instance behaves, by its port.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Manner {
    #[default]
    Answers,
    /// Its calls fail.
    Fails,
    /// A dial is never over.
    Hangs,
    /// Its client is never ready.
    NeverReady,
    /// It panics while it is dialled.
    Panics,
    RefusesDials,
    /// Its client, once used, is broken.
    Stale,
}

#[derive(Clone, Debug, Default)]
struct Fleet {
    manners: Arc<Mutex<BTreeMap<u16, Manner>>>,
    dials: Arc<Mutex<Vec<u16>>>,
    calls: Arc<Mutex<Vec<u16>>>,
}

#[derive(Clone)]
struct Client {
    port: u16,
    fleet: Fleet,
    used: Arc<Mutex<u32>>,
}

impl Fleet {
    fn set(&self, port: u16, manner: Manner) {
        self.manners.lock().unwrap().insert(port, manner);
    }

    fn manner(&self, port: u16) -> Manner {
        self.manners.lock().unwrap().get(&port).copied().unwrap_or_default()
    }

    fn dials(&self) -> Vec<u16> {
        self.dials.lock().unwrap().clone()
    }

    fn calls(&self) -> Vec<u16> {
        self.calls.lock().unwrap().clone()
    }

    /// A balance over a watch of this fleet.
    fn over(&self, watch: ServiceWatch) -> Balance<impl Connect<Client = Client> + use<>> {
        let fleet = self.clone();
        Balance::new(watch, Balancer::new(RoundRobin::default()), move |to: Arc<Member>| {
            let (fleet, port) = (fleet.clone(), to.port());
            async move {
                fleet.dials.lock().unwrap().push(port);
                match fleet.manner(port) {
                    Manner::Hangs => pending().await,
                    Manner::Panics => panic!("as it was told"),
                    Manner::RefusesDials => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                    _ => {
                        sleep(Duration::from_millis(1)).await;
                        Ok(Client { port, fleet, used: Arc::default() })
                    }
                }
            }
        })
    }
}

impl Service<&'static str> for Client {
    type Response = u16;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<u16>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.fleet.manner(self.port) {
            Manner::NeverReady => Poll::Pending,
            Manner::Stale if *self.used.lock().unwrap() > 0 => {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: &'static str) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            *this.used.lock().unwrap() += 1;
            this.fleet.calls.lock().unwrap().push(this.port);
            if request == "slow" {
                sleep(Duration::from_secs(1)).await;
            }
            match this.fleet.manner(this.port) {
                Manner::Fails => Err(io::ErrorKind::ConnectionReset.into()),
                _ => Ok(this.port),
            }
        })
    }
}

fn service() -> ServiceName {
    "greeter".parse().unwrap()
}

fn instances(ports: &[u16]) -> Vec<Instance> {
    ports.iter().map(|port| Instance::new("10.0.0.1", *port)).collect()
}

fn snapshot(ports: &[u16]) -> Snapshot {
    Snapshot::fixed(&service(), instances(ports))
}

fn fixed(ports: &[u16]) -> ServiceWatch {
    StaticResolver::new().with(service(), instances(ports)).watch(&service())
}

fn channel(ports: &[u16]) -> (SnapshotSender, ServiceWatch) {
    ServiceWatch::channel(snapshot(ports))
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_every_instance_and_each_is_dialled_once() {
    let fleet = Fleet::default();
    let mut balance = fleet.over(fixed(&[1, 2, 3]));
    for _ in 0..9 {
        balance.call("hello").await.unwrap();
    }
    let mut dials = fleet.dials();
    dials.sort_unstable();
    assert_eq!(dials, [1, 2, 3]);
    assert_eq!(balance.clients(), 3);
    for port in [1, 2, 3] {
        assert_eq!(fleet.calls().iter().filter(|called| **called == port).count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_in_zookeeper_is_called_and_forgotten_when_it_goes() {
    let server = testing::registry();
    let client = server.sibling();
    let fleet = Fleet::default();
    let mut balance = fleet.over(client.watch(&service()));
    let called = tokio::spawn({
        let mut balance = balance.clone();
        async move { balance.call("hello").await }
    });
    sleep(Duration::from_millis(10)).await;
    let mut registration = server.register(&service(), Instance::new("10.0.0.1", 7));
    registration.registered().await.unwrap();
    assert_eq!(called.await.unwrap().unwrap(), 7, "a call waits for the first instance");
    registration.withdraw(Duration::from_secs(1)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(balance.clients(), 0);
    let error = balance.call("hello").await.unwrap_err();
    assert!(matches!(error, BalanceError::Pick { why: PickError::Empty, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_as_long_as_it_may_and_says_why_there_is_none() {
    let fleet = Fleet::default();
    let (_sender, watch) = ServiceWatch::channel(Snapshot::pending(&service()));
    let wait = Duration::from_millis(70);
    let mut balance = fleet.over(watch).with_wait(wait);
    let began = Instant::now();
    let error = balance.call("hello").await.unwrap_err();
    assert!(matches!(error, BalanceError::Pick { why: PickError::Pending, .. }), "{error}");
    let waited = began.elapsed();
    assert!(wait <= waited && waited < 2 * wait, "{waited:?}");
    let began = Instant::now();
    balance.with_wait(Duration::ZERO).call("hello").await.unwrap_err();
    assert!(began.elapsed() < wait);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_follower_is_named_at_once() {
    let (_sender, watch) = channel(&[]);
    let unused = |_: Arc<Member>| std::future::ready(Err::<Client, BoxError>("there is no instance".into()));
    let (mut balance, follow) = Balance::pair(watch, Balancer::new(LeastLoaded), unused);
    drop(follow);
    let began = Instant::now();
    let error = balance.call("hello").await.unwrap_err();
    assert!(matches!(error, BalanceError::Unfollowed { why: PickError::Empty }), "{error}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_or_hangs_or_panics_costs_no_request() {
    for (manner, longest) in [
        (Manner::RefusesDials, Duration::from_millis(100)),
        (Manner::Hangs, Duration::from_millis(1100)),
        (Manner::Panics, Duration::from_millis(100)),
        (Manner::NeverReady, Duration::from_millis(1100)),
    ] {
        let fleet = Fleet::default();
        fleet.set(1, manner);
        let mut balance = fleet.over(fixed(&[1, 2]));
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(balance.call("hello").await.unwrap(), 2, "{manner:?}");
            assert!(began.elapsed() < longest, "{manner:?}: {:?}", began.elapsed());
        }
        assert!(!fleet.calls().contains(&1));
    }
}

#[tokio::test(start_paused = true)]
async fn when_no_instance_is_reached_the_error_names_each() {
    let fleet = Fleet::default();
    let ports = [1, 2, 3];
    ports.iter().for_each(|port| fleet.set(*port, Manner::RefusesDials));
    let error = fleet.over(fixed(&ports)).call("hello").await.unwrap_err();
    let BalanceError::Dial { tried } = &error else { panic!("{error}") };
    assert_eq!(tried.len(), ports.len());
    assert!(error.to_string().contains("10.0.0.1:2"), "{error}");
    let source: &dyn std::error::Error = &error;
    assert!(source.source().is_some());
}

#[tokio::test(start_paused = true)]
async fn calls_that_need_the_same_client_share_one_dial() {
    let fleet = Fleet::default();
    let balance = fleet.over(fixed(&[1]));
    let calls = (0..50).map(|_| {
        let mut balance = balance.clone();
        tokio::spawn(async move { balance.call("hello").await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(fleet.dials(), [1]);
    // The failure of a dial is shared as well: it is not waited for once per call.
    fleet.set(2, Manner::Hangs);
    let balance = fleet.over(fixed(&[2]));
    let began = Instant::now();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let mut balance = balance.clone();
            tokio::spawn(async move { balance.call("hello").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_outlives_changes_of_weight_but_not_of_the_incarnation() {
    let fleet = Fleet::default();
    let (sender, watch) = channel(&[1]);
    let mut balance = fleet.over(watch);
    balance.call("hello").await.unwrap();
    let heavier = Instance::new("10.0.0.1", 1).with_weight(NonZeroU16::new(7).unwrap());
    let heavier = Snapshot::fixed(&service(), [heavier]);
    sender.send(heavier.clone());
    settle().await;
    balance.call("hello").await.unwrap();
    assert_eq!(fleet.dials(), [1]);
    let id = Instance::new("10.0.0.1", 1).id().unwrap();
    sender.send(heavier.with_incarnation(&id, Incarnation::from(9)));
    settle().await;
    assert_eq!(balance.clients(), 0, "dropped before the next call");
    balance.call("hello").await.unwrap();
    assert_eq!(fleet.dials(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_an_instance_that_goes_ends_undisturbed() {
    let fleet = Fleet::default();
    let (sender, watch) = channel(&[1]);
    let balance = fleet.over(watch);
    let slow = tokio::spawn({
        let mut balance = balance.clone();
        async move { balance.call("slow").await }
    });
    sleep(Duration::from_millis(10)).await;
    sender.send(snapshot(&[2]));
    settle().await;
    assert_eq!(balance.clients(), 0);
    assert_eq!(slow.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_call_failed_is_dialled_anew_and_one_that_broke_while_idle_blames_nobody() {
    let fleet = Fleet::default();
    let mut balance = fleet.over(fixed(&[1]));
    fleet.set(1, Manner::Fails);
    let error = balance.call("hello").await.unwrap_err();
    assert!(matches!(error, BalanceError::Call(_)), "{error}");
    fleet.set(1, Manner::Stale);
    for _ in 0..3 {
        balance.call("hello").await.unwrap();
    }
    assert_eq!(fleet.dials(), [1; 4]);
    let set = balance.balancer().endpoints().unwrap();
    assert_eq!(set.iter().next().unwrap().phase(), Phase::Available);
}

#[tokio::test(start_paused = true)]
async fn only_what_can_be_replayed_is_sent_again_and_only_within_the_budget() {
    let fleet = Fleet::default();
    fleet.set(1, Manner::Fails);
    let budget = Arc::new(Budget::default());
    let mut balance = fleet.over(fixed(&[1, 2])).with_retry(
        Retry::default(),
        Arc::clone(&budget),
        |request: &&'static str| (*request == "safe").then_some(*request),
    );
    let before = budget.left(Instant::now());
    for _ in 0..4 {
        assert_eq!(balance.call("safe").await.unwrap(), 2);
    }
    assert!(budget.left(Instant::now()) < before);
    let mut failed = 0;
    for _ in 0..4 {
        failed += u32::from(balance.call("once").await.is_err());
    }
    assert!(failed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_decides_the_instance() {
    let fleet = Fleet::default();
    let connect = fleet.clone();
    let dial = move |to: Arc<Member>| {
        let client = Client { port: to.port(), fleet: connect.clone(), used: Arc::default() };
        async move { Ok::<_, BoxError>(client) }
    };
    let balancer = Balancer::new(crate::balance::strategy::ConsistentHash::default());
    let mut balance = Balance::new(fixed(&[1, 2, 3, 4, 5]), balancer, dial)
        .with_key(|request: &&'static str| Some((*request).into()));
    let first = balance.call("alice").await.unwrap();
    for _ in 0..20 {
        assert_eq!(balance.call("alice").await.unwrap(), first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_blames_nobody_and_frees_its_place() {
    let fleet = Fleet::default();
    let dial = {
        let fleet = fleet.clone();
        move |to: Arc<Member>| {
            let client = Client { port: to.port(), fleet: fleet.clone(), used: Arc::default() };
            async move { Ok::<_, BoxError>(client) }
        }
    };
    let mut balance = Balance::new(fixed(&[1]), Balancer::new(LeastLoaded), dial);
    timeout(Duration::from_millis(10), balance.call("slow")).await.unwrap_err();
    let set = balance.balancer().endpoints().unwrap();
    let endpoint = set.iter().next().unwrap();
    assert_eq!((endpoint.in_flight(), endpoint.phase()), (0, Phase::Available));
    assert!(endpoint.success_rate() >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_judge_of_ones_own_is_asked() {
    let fleet = Fleet::default();
    let mut balance =
        fleet.over(fixed(&[1, 2])).with_classify(|ended: Result<&u16, &BoxError>| match ended {
            Ok(1) => Outcome::Unreachable,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        });
    let mut answered = Vec::new();
    for _ in 0..10 {
        answered.push(balance.call("hello").await.unwrap());
    }
    assert_eq!(answered.iter().filter(|port| **port == 1).count(), 1, "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn the_follower_ends_with_the_last_clone() {
    let (sender, watch) = channel(&[1]);
    let balance = Fleet::default().over(watch);
    let clone = balance.clone();
    drop(balance);
    settle().await;
    assert!(timeout(Duration::from_secs(1), sender.closed()).await.is_err());
    drop(clone);
    timeout(Duration::from_secs(1), sender.closed()).await.unwrap();
}
