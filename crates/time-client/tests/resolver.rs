//! The resolver over real sockets, without any ZooKeeper: whatever one instance does, another one answers.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use time_client::client::{Options, Reading, TimeClient};
use time_client::fault::{AskError, FailedAttempt, Fault};
use time_server::limits::Limits;
use time_server::metrics::Metrics;
use time_server::protocol::Request;
use time_server::server::{Server, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use zk_registry::balance::strategy::RoundRobin;
use zk_registry::balance::{Balancer, GiveUp, Phase, PickError};
use zk_registry::{
    AddressKind, DialPolicy, Instance, Resolve, ServiceName, ServiceWatch, Snapshot, SnapshotSender,
};

const LOCALHOST: &str = "127.0.0.1";

/// A service whose snapshots the test sends.
#[derive(Debug)]
struct Told(ServiceWatch);

impl Resolve for Told {
    fn watch(&self, _: &ServiceName) -> ServiceWatch {
        self.0.clone()
    }
}

fn service() -> ServiceName {
    "time".parse().unwrap()
}

fn snapshot(ports: impl IntoIterator<Item = u16>) -> Snapshot {
    Snapshot::fixed(&service(), ports.into_iter().map(|port| Instance::new(LOCALHOST, port)))
}

/// A client that takes the instances in turn, and the means to tell it of others.
fn client_of(first: Snapshot, change: impl FnOnce(&mut Options)) -> (TimeClient, SnapshotSender) {
    let (sender, watch) = ServiceWatch::channel(first);
    let mut options = Options::default();
    change(&mut options);
    let balancer = Balancer::new(RoundRobin::default());
    (TimeClient::new(&Told(watch), &service(), balancer, options), sender)
}

fn client(ports: impl IntoIterator<Item = u16>) -> TimeClient {
    client_of(snapshot(ports), |_| {}).0
}

/// A real server; it serves until the test ends.
fn server() -> (u16, Metrics) {
    let server = Server::new(Limits::default());
    let metrics = server.metrics().clone();
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(server.run(vec![listener], std::future::pending(), Duration::ZERO));
    (port, metrics)
}

/// A server that does to each connection what the test says.
async fn odd_server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let run = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    (port, run)
}

/// A port that refuses: bound, so that nobody else gets it, and not listening.
fn refusing() -> (u16, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

async fn silent() -> u16 {
    let hold = async |stream: TcpStream| {
        let _open = stream;
        std::future::pending::<()>().await;
    };
    odd_server(hold).await.0
}

fn hasty(options: &mut Options) {
    options.timeout = Duration::from_millis(300);
}

#[tokio::test]
async fn every_request_is_answered() {
    let client = client([server().0]);
    for request in [Request::Now, Request::Sync { t1: 17 }, Request::Timestamp] {
        let answer = client.ask(request, None).await.unwrap();
        let age = answer.reading.time().duration_until(jiff::Timestamp::now());
        assert!(age.abs() < jiff::SignedDuration::from_secs(60), "{age}");
        assert_eq!(
            matches!(answer.reading, Reading::Stamps(stamps) if stamps.t1 == 17),
            request == Request::Sync { t1: 17 }
        );
        assert_eq!(answer.attempts(), 1);
    }
}

#[tokio::test]
async fn what_one_instance_refuses_another_one_answers() {
    let (dead, _held) = refusing();
    let (alive, _) = server();
    let client = client([dead, alive]);
    let mut refused = 0;
    for _ in 0..10 {
        let answer = client.ask(Request::Now, None).await.unwrap();
        assert_eq!(answer.instance.port(), alive);
        refused += answer.failed.len();
        for attempt in answer.failed {
            assert_eq!(attempt.instance.as_str(), format!("{LOCALHOST}:{dead}"));
            assert!(matches!(attempt.fault, Fault::Dial(_)), "{attempt}");
        }
    }
    // One failed dial ejects it: no further query is sent there.
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn an_ejected_instance_is_probed_beside_the_queries_which_do_not_wait_for_it() {
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    let mute = move |stream: TcpStream| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let _open = stream;
            std::future::pending::<()>().await;
        }
    };
    let ((mute, _), (alive, _)) = (odd_server(mute).await, server());
    let client = client([mute, alive]);
    assert!(client.balancer().eject(&format!("{LOCALHOST}:{mute}").parse().unwrap(), Duration::ZERO));
    for _ in 0..60 {
        let answer = client.ask(Request::Now, None).await.unwrap();
        assert_eq!((answer.instance.port(), answer.attempts()), (alive, 1));
    }
    let probed = async {
        while dialled.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), probed).await.expect("a probe was due");
    assert_eq!(dialled.load(Ordering::Relaxed), 1, "one probe at a time");
}

#[tokio::test]
async fn an_ejected_instance_whose_probe_is_answered_is_back() {
    let ((ejected, _), (alive, _)) = (server(), server());
    let client = client([ejected, alive]);
    let id = format!("{LOCALHOST}:{ejected}").parse().unwrap();
    assert!(client.balancer().eject(&id, Duration::ZERO));
    let back = async {
        while client.ask(Request::Now, None).await.unwrap().instance.port() != ejected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("its probe is answered");
    assert_eq!(client.balancer().endpoints().unwrap().by_id(&id).unwrap().phase(), Phase::Available);
}

#[tokio::test]
async fn an_instance_that_hangs_leaves_time_for_another() {
    let (hanging, alive) = (silent().await, server().0);
    let (client, _sender) = client_of(snapshot([hanging, alive]), hasty);
    for _ in 0..4 {
        let began = Instant::now();
        let answer = client.ask(Request::Now, None).await.unwrap();
        assert_eq!(answer.instance.port(), alive);
        assert!(began.elapsed() < Duration::from_millis(300));
    }
}

#[tokio::test]
async fn no_time_is_set_aside_for_attempts_that_cannot_help() {
    let slow = async |mut stream: TcpStream| {
        while stream.read_exact(&mut [0; 4]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(120)).await;
            stream.write_all(b"2026-11-22T20:52:06Z\n").await.unwrap();
        }
    };
    let (one, two) = (odd_server(slow).await.0, odd_server(slow).await.0);
    for ports in [vec![one], vec![one, two]] {
        // There are fewer instances than attempts: a hundredth, or a third, of the time is too short for either.
        for attempts in [3, 100] {
            let (client, _sender) = client_of(snapshot(ports.clone()), |options| {
                hasty(options);
                options.retry.attempts = attempts;
            });
            let answer = client.ask(Request::Now, None).await.unwrap();
            assert!(answer.failed.is_empty(), "{:?}", answer.failed);
        }
    }
}

#[tokio::test]
async fn connections_are_kept_for_now_and_sync() {
    let (port, metrics) = server();
    let client = client([port]);
    for t1 in 0..10 {
        client.ask(Request::Now, None).await.unwrap();
        client.ask(Request::Sync { t1 }, None).await.unwrap();
    }
    assert_eq!(metrics.accepted(), 1);
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed_though_nothing_is_asked() {
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    let closed = std::sync::Mutex::new(Some(closed));
    let (port, _) = odd_server(move |mut stream: TcpStream| {
        let closed = closed.lock().unwrap().take();
        async move {
            stream.read_exact(&mut [0; 4]).await.unwrap();
            stream.write_all(b"2026-11-22T20:52:06Z\n").await.unwrap();
            let end = stream.read(&mut [0]).await;
            closed.unwrap().send(end.unwrap()).unwrap();
        }
    })
    .await;
    let (client, _sender) =
        client_of(snapshot([port]), |options| options.idle_timeout = Duration::from_millis(20));
    client.ask(Request::Now, None).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), is_closed).await;
    assert_eq!(end.expect("it is closed"), Ok(0));
}

#[tokio::test]
async fn a_line_too_many_is_not_the_next_answer() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let (port, _) = odd_server(move |mut stream: TcpStream| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while stream.read_exact(&mut [0; 4]).await.is_ok() {
                stream.write_all(b"2026-11-22T20:52:06Z\n2016-10-19T06:52:39Z\n").await.unwrap();
            }
        }
    })
    .await;
    let client = client([port]);
    for _ in 0..3 {
        let answer = client.ask(Request::Now, None).await.unwrap();
        assert_eq!(answer.reading.time().to_string(), "2026-11-22T20:52:06Z");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_not_an_attempt_that_failed() {
    // It promises to stay, and leaves after each answer.
    let (port, _run) = odd_server(async |mut stream: TcpStream| {
        if stream.read_exact(&mut [0; 4]).await.is_ok() {
            stream.write_all(b"2026-11-22T20:52:06Z\n").await.unwrap();
        }
    })
    .await;
    let client = client([port]);
    for _ in 0..20 {
        let answer = client.ask(Request::Now, None).await.unwrap();
        assert!(answer.failed.is_empty(), "{:?}", answer.failed);
    }
}

/// A server that answers the first request of each connection, and closes it `after` that long when it reads a second one.
/// It counts those.
async fn answers_once(after: Duration) -> (u16, Arc<AtomicUsize>) {
    let left_unanswered = Arc::new(AtomicUsize::new(0));
    let count = left_unanswered.clone();
    let (port, _) = odd_server(move |mut stream: TcpStream| {
        let count = count.clone();
        async move {
            if stream.read_exact(&mut [0; 4]).await.is_err() {
                return;
            }
            stream.write_all(b"2026-11-22T20:52:06Z\n").await.unwrap();
            if stream.read_exact(&mut [0; 4]).await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(after).await;
            }
        }
    })
    .await;
    (port, left_unanswered)
}

#[tokio::test]
async fn a_kept_connection_that_ends_before_any_byte_of_an_answer_is_no_failure_however_late() {
    let (port, left_unanswered) = answers_once(Duration::from_millis(100)).await;
    let client = client([port]);
    for _ in 0..2 {
        assert!(client.ask(Request::Now, None).await.unwrap().failed.is_empty());
    }
    assert_eq!(left_unanswered.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_instance_that_dies_with_a_request_in_its_hands_has_failed() {
    let (dying, _run) = odd_server(async |mut stream: TcpStream| {
        let _ = stream.read_exact(&mut [0; 4]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    let client = client([dying, server().0]);
    let mut failed = Vec::new();
    for _ in 0..2 {
        failed.extend(client.ask(Request::Now, None).await.unwrap().failed);
    }
    let died = |attempt: &FailedAttempt| matches!(attempt.fault, Fault::Closed);
    assert!(!failed.is_empty() && failed.iter().all(died), "{failed:?}");
}

#[tokio::test]
async fn after_a_close_a_query_does_not_wait_for_what_will_not_come() {
    let (sender, watch) = ServiceWatch::channel(Snapshot::pending(&service()));
    let client =
        TimeClient::new(&Told(watch), &service(), Balancer::new(RoundRobin::default()), Options::default());
    drop(sender);
    let began = Instant::now();
    let error = client.ask(Request::Now, None).await.unwrap_err();
    assert_eq!(error.kind(), "pending");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_query_meets_one_dead_connection_at_most() {
    let (one, two) = (answers_once(Duration::ZERO).await, answers_once(Duration::ZERO).await);
    let client = client([one.0, two.0]);
    for _ in 0..2 {
        client.ask(Request::Now, None).await.unwrap();
    }
    let answer = client.ask(Request::Now, None).await.unwrap();
    assert!(answer.failed.is_empty(), "{:?}", answer.failed);
    assert_eq!(one.1.load(Ordering::Relaxed) + two.1.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_server_of_2016_is_asked_as_in_2016() {
    let (port, _run) = odd_server(async |mut stream: TcpStream| {
        // It writes without reading; with the request unread, closing is a reset.
        stream.readable().await.unwrap();
        stream.write_all(b"127.0.0.1:8897: 2016-10-19 14:52:39.1 +0800 CST").await.unwrap();
    })
    .await;
    let client = client([port]);
    for _ in 0..20 {
        let answer = client.ask(Request::Timestamp, None).await.unwrap();
        assert_eq!(answer.reading.time().to_string(), "2016-10-19T06:52:39.1Z");
        assert!(answer.failed.is_empty(), "{:?}", answer.failed);
    }
}

#[tokio::test]
async fn a_query_that_nobody_answers_names_every_attempt() {
    let (refused, _held) = refusing();
    let (rude, _run) = odd_server(async |mut stream: TcpStream| {
        let _ = stream.read_exact(&mut [0; 4]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await;
    })
    .await;
    let (full, _run) = odd_server(async |mut stream: TcpStream| {
        let _ = stream.read_exact(&mut [0; 4]).await;
        let _ = stream.write_all(b"error: too many connections\n").await;
    })
    .await;
    let client = client([refused, rude, full]);
    let error = client.ask(Request::Now, None).await.unwrap_err();
    assert_eq!(error.kind(), "exhausted");
    let words = error.to_string();
    for (port, why) in
        [(refused, "connection refused"), (rude, "without a time"), (full, "too many connections")]
    {
        assert!(words.contains(&format!("{LOCALHOST}:{port} ")) && words.contains(why), "{words}");
    }
    assert!(matches!(error, AskError::Exhausted { why: GiveUp::Attempts, failed } if failed.len() == 3));
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let hanging = [silent().await, silent().await, silent().await];
    let (client, _sender) = client_of(snapshot(hanging), hasty);
    let began = Instant::now();
    let error = client.ask(Request::Now, None).await.unwrap_err();
    assert!(matches!(&error, AskError::Deadline { failed, .. } if failed.len() == 3), "{error}");
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_empty_service_is_told_at_once() {
    let (client, _sender) = client_of(snapshot([]), hasty);
    let error = client.ask(Request::Now, None).await.unwrap_err();
    assert!(matches!(error, AskError::Nothing { why: PickError::Empty, .. }), "{error}");
}

#[tokio::test]
async fn an_instance_that_left_is_not_asked_and_a_new_one_is() {
    let (first, second) = (server().0, server().0);
    let (client, sender) = client_of(snapshot([first]), |_| {});
    assert_eq!(client.ask(Request::Now, None).await.unwrap().instance.port(), first);
    sender.send(snapshot([second]));
    while client.snapshot().instances().any(|member| member.port() == first) {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask(Request::Now, None).await.unwrap().instance.port(), second);
}

#[tokio::test]
async fn an_address_that_means_the_readers_own_machine_is_never_dialled() {
    let (port, metrics) = server();
    for host in ["0.0.0.0", "0", "0x0", "::", "[::]", "::ffff:0.0.0.0", "0:0:0:0:0:0:0:0"] {
        let unspecified = Instance::new(host, port);
        let client = client_of(Snapshot::fixed(&service(), [unspecified.clone()]), |_| {}).0;
        let error = client.ask(Request::Now, None).await.unwrap_err();
        assert!(matches!(error, AskError::Nothing { .. }), "{host}: {error}");
        assert!(error.to_string().ends_with("1 without an address"), "{host}: {error}");
        // A call that asks it all the same is told why it is not dialled.
        let fault = client.ask_instance(&unspecified, Request::Now).await.unwrap_err();
        assert!(matches!(fault, Fault::NotAllowed(_)), "{host}: {fault}");
        assert!(fault.to_string().contains("unspecified"), "{host}: {fault}");
    }
    assert_eq!(metrics.accepted(), 0);
}

#[tokio::test]
async fn a_program_that_narrows_its_policy_hears_which_address_was_refused() {
    let (port, metrics) = server();
    let narrow = |options: &mut Options| {
        options.dial_policy = DialPolicy::default().without(AddressKind::Loopback);
    };
    for host in [LOCALHOST, "localhost", "127.1", "2130706433", "::ffff:127.0.0.1"] {
        let client = client_of(Snapshot::fixed(&service(), [Instance::new(host, port)]), narrow).0;
        let error = client.ask(Request::Now, None).await.unwrap_err().to_string();
        assert!(error.contains("loopback") && error.contains("is not dialled"), "{host}: {error}");
    }
    assert_eq!(metrics.accepted(), 0);
}

#[tokio::test]
async fn an_attempt_with_no_time_left_says_nothing_of_its_instance() {
    // It takes connections and never answers, as a healthy instance may for as long as these attempts last.
    let (port, _server) = odd_server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let timeout = Duration::from_millis(1200);
    let (client, sender) = client_of(Snapshot::pending(&service()), |options| options.timeout = timeout);
    let ask = client.ask(Request::Now, None);
    // The instance becomes known when an eighth of an equal share is left.
    let tell = async {
        tokio::time::sleep(timeout - timeout / 24).await;
        sender.send(snapshot([port]));
    };
    let (answer, ()) = tokio::join!(ask, tell);
    let error = answer.unwrap_err();
    assert!(matches!(error, AskError::Deadline { .. } | AskError::Exhausted { .. }), "{error}");
    assert_eq!(success_rate(&client), 1.0, "{error}");

    // With all of its share, silence is a failure.
    client.ask(Request::Now, None).await.unwrap_err();
    assert!(success_rate(&client) < 1.0);
}

/// The success rate of the one instance, as the balancer sees it.
fn success_rate(client: &TimeClient) -> f64 {
    client.balancer().endpoints().unwrap().iter().map(|endpoint| endpoint.success_rate()).sum()
}
