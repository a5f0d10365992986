//! The facade over the ZooKeeper in memory, and without one.

use super::*;
use crate::snapshot::{Freshness, Zxid};

#[test]
fn what_can_be_known_to_fail_without_a_server_is_told_at_once() {
    let registry = Registry::open("tls://zk.example:2281".parse().unwrap(), Options::default());
    let ConnectionState::Failed(error) = &*registry.0.connection.borrow() else {
        panic!("{registry:?}");
    };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("tls"), "{error}");
}

#[test]
fn futures_need_no_runtime_of_the_callers() {
    let options = Options::default().with_session_timeout(Duration::from_secs(1));
    let registry = Registry::open("127.0.0.1:1".parse().unwrap(), options);
    let service = "time".parse().unwrap();
    futures_executor(async {
        assert_eq!(registry.lookup(&service).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(registry.services().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(registry.close(Duration::from_secs(1)).await, Withdrawn::Confirmed);
    });
}

/// Another executor than tokio's.
fn futures_executor(task: impl Future<Output = ()>) {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut task = std::pin::pin!(task);
    while task.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
}

#[test]
fn a_runtime_without_timers_is_refused_by_name() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let options = Options::default().with_runtime(runtime.handle().clone());
    let registry = Registry::open("127.0.0.1:1".parse().unwrap(), options);
    let ConnectionState::Failed(error) = registry.connection().borrow().clone() else {
        panic!("{registry:?}");
    };
    assert!(error.to_string().contains("enable_time"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_never_polled_closes() {
    let registry = crate::testing::registry();
    let mut connection = registry.connection();
    registry.connected().await.unwrap();
    drop((*registry).clone().close(Duration::from_secs(1)));
    connection.wait_for(|state| *state == ConnectionState::Closed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_watched_paths_are_spread_over_sessions_that_make_room_again() {
    let registry = crate::testing::registry();
    let name = |n: usize| format!("{}-{n:04}", "s".repeat(60)).parse::<ServiceName>().unwrap();
    let mut watches: Vec<_> = (0..2_000).map(|n| registry.watch(&name(n))).collect();
    // Each path has 10 + 65 bytes and counts 4 more; 98,304 / 79 = 1,244 fit.
    assert_eq!(registry.sessions(), 2);
    for watch in &mut watches {
        watch.live().await.unwrap();
    }
    assert!(matches!(*registry.connection().borrow(), ConnectionState::Connected { .. }));
    let again = registry.watch(&name(1_999));
    drop(watches);
    drop(again);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let watches: Vec<_> = (2_000..4_000).map(|n| registry.watch(&name(n))).collect();
    assert_eq!((watches.len(), registry.sessions()), (2_000, 2));
}

#[tokio::test(start_paused = true)]
async fn services_are_found_at_any_depth_in_two_round_trips_a_level() {
    let registry = crate::testing::registry();
    let deep: ServiceName = "a/b/c/d/e/f/g/h/i/j/k".parse().unwrap();
    registry.register(&deep, Instance::new("h", 1)).registered().await.unwrap();
    for n in 0..1_000 {
        registry.put(&format!("/services/wide-{n}/child"), b"");
    }
    let mut registration = registry.register(&deep, Instance::new("h", 2));
    registration.registered().await.unwrap();
    registry.delay(Duration::from_millis(25));
    let began = tokio::time::Instant::now();
    assert!(registry.services().await.unwrap().contains(&deep));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_watch_of_services_follows_what_comes_and_goes_over_reconnects_and_reads_little() {
    let registry = crate::testing::registry();
    let service = |name: &str| name.parse::<ServiceName>().unwrap();
    let mut watch = registry.watch_services();
    assert!(watch.live().await.unwrap().names().is_empty());
    let until = async |watch: &mut ServicesWatch, names: &[&str]| {
        let all = async {
            while watch.current().names().iter().map(ServiceName::as_str).ne(names.iter().copied()) {
                watch.changed().await.unwrap();
            }
        };
        timeout(Duration::from_secs(30), all).await.expect("it is seen in time");
    };
    let mut first = registry.register(&service("a"), Instance::new("h", 1));
    first.registered().await.unwrap();
    until(&mut watch, &["a"]).await;
    let mut deep = registry.register(&service("a/b/c"), Instance::new("h", 1));
    deep.registered().await.unwrap();
    until(&mut watch, &["a", "a/b/c"]).await;
    let mut second = registry.register(&service("a"), Instance::new("h", 2));
    second.registered().await.unwrap();
    first.withdraw(Duration::from_secs(1)).await;
    registry.expire_session();
    until(&mut watch, &["a", "a/b/c"]).await;
    watch.live().await.unwrap();
    second.withdraw(Duration::from_secs(5)).await;
    until(&mut watch, &["a/b/c"]).await;
    let (last, clone) = (watch.clone().live().await.unwrap().clone(), registry.clone());
    assert!(last.contains(&service("a/b/c")) && !last.contains(&service("a")));
    (*clone).clone().close(Duration::from_secs(1)).await;
    while watch.changed().await.is_ok() {}
    assert!(matches!(watch.current().freshness(), Freshness::Stale { .. }));
}

/// Compiling is the test: every public type crosses threads, and so does every future.
fn _crosses_threads(registry: &Registry, registration: Registration, watch: &mut ServiceWatch) {
    fn send(_: impl Send) {}
    fn send_sync<T: Send + Sync>() {}
    send_sync::<(Registry, Registration, ServiceWatch, Snapshot, ConnectString, Options, Error, Instance)>();
    send_sync::<crate::balance::Balancer>();
    send((registry.connected(), registry.services(), registry.clone().close(Duration::ZERO)));
    send(registration.update(|_| {}));
    send(registration.withdraw(Duration::ZERO));
    send(watch.wait_for(Zxid(1)));
    send_sync::<(Services, ServicesWatch)>();
}
