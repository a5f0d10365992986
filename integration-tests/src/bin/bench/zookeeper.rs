//! The floor: what the server and a bare client need, below which nothing of ours can be.

use futures_util::FutureExt;
use integration_tests::bench::runs::latencies;
use integration_tests::bench::{Row, Samples, Subject, Unit, World};
use integration_tests::raw::{CreateMode, Raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const SUBJECT: Subject = Subject {
    name: "zookeeper",
    title: "the floor that the server and a bare client set",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let raw = world.zookeeper().await.chroot("bench").await.raw().await;
    let nodes: Vec<String> = (0..NODES).map(|n| format!("/{n:05}")).collect();
    raw.mkdir("/nodes").await.expect("the chroot is ours");
    let paths: Vec<String> = nodes.iter().map(|name| format!("/nodes{name}")).collect();
    let fill = paths.iter().map(|path| (path.clone(), vec![b'x'; RECORD]));
    raw.create_many(fill).await.expect("the chroot is ours");

    let mut echo = Echo::start().await;
    let mut rows = Vec::new();
    for what in [Request::Create, Request::Get, Request::Set] {
        let (ours, reference) =
            world.runs.beside(async || what.round_trips(&raw).await, async || echo.round_trips().await).await;
        rows.push(row(&format!("{}, median", what.words()), &ours, &reference, 0.5));
        rows.push(row(&format!("{}, 99th percentile", what.words()), &ours, &reference, 0.99));
    }
    let reads = world.runs.alone(async || latencies(20, async || read(&raw, &paths).await).await).await;
    let medians = reads.iter().map(Samples::median).collect();
    rows.push(Row::new(format!("read of {NODES} nodes in one request, median"), Unit::Time, medians));
    raw.close().await;
    rows
}

fn row(what: &str, ours: &[Samples], reference: &[Samples], part: f64) -> Row {
    let at = |runs: &[Samples]| runs.iter().map(|run| run.percentile(part)).collect();
    Row::new(what, Unit::Time, at(ours)).beside("TCP echo", at(reference))
}

async fn read(raw: &Raw, paths: &[String]) {
    let read = raw.get_many(paths).await.expect("the nodes are readable");
    assert!(read.iter().all(Option::is_some), "a node is missing");
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Create,
    Get,
    Set,
}

impl Request {
    fn words(self) -> String {
        match self {
            Self::Create => format!("create ephemeral, {RECORD} bytes"),
            Self::Get => format!("get, {RECORD} bytes"),
            Self::Set => format!("set, {RECORD} bytes"),
        }
    }

    async fn round_trips(self, raw: &Raw) -> Samples {
        let data = [b'x'; RECORD];
        let mut n = 0;
        let taken = latencies(CALLS, async || {
            n += 1;
            let done = match self {
                Self::Create => raw.create(&format!("/e{n}"), &data, CreateMode::Ephemeral).await.map(drop),
                Self::Get => raw.get("/nodes/00000").await.map(drop),
                Self::Set => raw.set("/nodes/00000", &data).await.map(drop),
            };
            done.expect("the server is up");
        })
        .await;
        if matches!(self, Self::Create) {
            for n in 1..=CALLS {
                raw.delete(&format!("/e{n}")).await.expect("it was created above");
            }
        }
        taken
    }
}

/// A round trip of one record through the kernel alone.
struct Echo(TcpStream);

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the connection made below");
            stream.set_nodelay(true).expect("it is connected");
            let (mut from, mut to) = stream.split();
            // It ends with the benchmark, however that is.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("it is connected");
        Self(stream)
    }

    async fn round_trips(&mut self) -> Samples {
        let mut record = [b'x'; RECORD];
        latencies(CALLS, async || {
            self.0.write_all(&record).await.expect("the echo listens");
            self.0.read_exact(&mut record).await.expect("the echo answers");
        })
        .await
    }
}

/// About what an instance's record needs.
const RECORD: usize = 200;
const NODES: usize = 500;
/// Round trips per run.
const CALLS: usize = 500;
