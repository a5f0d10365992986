//! The examples, against real servers.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::web_server::WebServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic_example::clock::clock_server::{Clock as Clocks, ClockServer};
use tonic_example::clock::{NowReply, NowRequest};
use zk_registry::{Instance, Resolve, ServiceName, ServiceWatch, Snapshot, Status, testing};

#[expect(dead_code, reason = "the example's `main` is run by its users")]
#[path = "../../examples/axum.rs"]
mod axum_example;
#[expect(dead_code, reason = "the example's `main` is run by its users")]
#[path = "../../examples/hyper.rs"]
mod hyper_example;
#[expect(dead_code, reason = "the example's `main` is run by its users")]
#[path = "../../examples/plain.rs"]
mod plain_example;
#[expect(dead_code, reason = "the example's `main` is run by its users")]
#[path = "../../examples/reqwest.rs"]
mod reqwest_example;
#[expect(dead_code, reason = "the example's `main` is run by its users")]
#[path = "../../examples/tonic/main.rs"]
mod tonic_example;

const LONG: Duration = Duration::from_secs(60);

fn service() -> ServiceName {
    "greeter".parse().unwrap()
}

fn watch(ports: impl IntoIterator<Item = u16>) -> ServiceWatch {
    let instances = ports.into_iter().map(|port| Instance::new("127.0.0.1", port));
    ServiceWatch::channel(Snapshot::fixed(&service(), instances)).1
}

/// Three servers, of which one is dead.
fn servers() -> (Vec<WebServer>, ServiceWatch) {
    let mut servers: Vec<_> = (0..3).map(|_| WebServer::start()).collect();
    let watch = watch(servers.iter().map(|server| server.address().port()));
    servers.pop().unwrap().kill();
    (servers, watch)
}

#[tokio::test]
async fn the_hyper_client_calls_all_that_live() {
    let (servers, watch) = servers();
    let answers = timeout(LONG, hyper_example::get(watch, 100)).await.unwrap().unwrap();
    assert_eq!(answers.into_iter().collect::<BTreeSet<_>>().len(), servers.len());
}

#[tokio::test]
async fn the_reqwest_client_calls_all_that_live() {
    let (servers, watch) = servers();
    let answers = timeout(LONG, reqwest_example::get(watch, 100)).await.unwrap().unwrap();
    assert_eq!(answers.into_iter().collect::<BTreeSet<_>>().len(), servers.len());
}

/// A clock of tonic's, which says its port.
struct Clock(u16);

#[tonic::async_trait]
impl Clocks for Clock {
    async fn now(&self, _: tonic::Request<NowRequest>) -> Result<tonic::Response<NowReply>, tonic::Status> {
        Ok(tonic::Response::new(NowReply { server: self.0.to_string() }))
    }
}

/// Serves a clock on a port of its own, which it returns.
async fn serve_clock() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes = tonic::service::Routes::new(ClockServer::new(Clock(port)));
    tokio::spawn(async move { axum::serve(listener, routes.into_axum_router()).await.unwrap() });
    port
}

#[tokio::test]
async fn the_tonic_client_calls_all_that_live() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ports = [serve_clock().await, serve_clock().await];
    let answers =
        timeout(LONG, tonic_example::ask(watch([ports[0], dead, ports[1]]), 100)).await.unwrap().unwrap();
    assert_eq!(answers.into_iter().collect::<BTreeSet<_>>().len(), ports.len());
}

#[tokio::test]
async fn the_plain_protocol_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let mut line = BufStream::new(listener.accept().await.unwrap().0);
        let mut question = String::new();
        line.read_line(&mut question).await.unwrap();
        line.write_all(question.to_uppercase().as_bytes()).await.unwrap();
        line.flush().await.unwrap();
    });
    let answer = timeout(LONG, plain_example::ask(watch([port]), "hello")).await.unwrap().unwrap();
    assert_eq!(answer, "HELLO");
    echo.await.unwrap();
}

#[tokio::test]
async fn the_axum_server_is_listed_drains_and_leaves() {
    let registry = testing::registry();
    let mut watch = registry.sibling().watch(&service());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = oneshot::channel::<()>();
    let serving = {
        let registry = registry.clone();
        tokio::spawn(async move {
            let told = async move { drop(told.await) };
            axum_example::serve(&registry, &service(), listener, told)
                .await
                .map_err(|error| error.to_string())
        })
    };
    let mut until = async |enough: fn(&Snapshot) -> bool| {
        let seen = async {
            while !enough(watch.current()) {
                watch.changed().await.unwrap();
            }
        };
        timeout(LONG, seen).await.unwrap();
    };
    until(|snapshot| snapshot.len() == 1).await;
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await.unwrap().text().await.unwrap();
    assert_eq!(answer, "hello\n");
    tell.send(()).unwrap();
    until(|snapshot| snapshot.instances().any(|instance| instance.status() == Status::Draining)).await;
    assert!(reqwest::get(format!("http://127.0.0.1:{port}/")).await.is_ok(), "it serves while it drains");
    until(Snapshot::is_empty).await;
    timeout(LONG, serving).await.unwrap().unwrap().unwrap();
}
