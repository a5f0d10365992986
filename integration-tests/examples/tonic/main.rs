//! A tonic client whose calls are balanced. `cargo run -p integration-tests --example tonic 127.0.0.1:2181 clock`
//!
//! The pitfall: a gRPC channel is one HTTP/2 connection, so all calls of a client go to the backend that it reached first; and a failure
//! hides behind status 200, in the trailers. Here each call has an instance of its own, and `grpc-status` is what is judged.
//!
//! `clock.rs` is what tonic-prost-build 0.14 makes of `clock.proto`, without transport: building this needs no protoc.

#[expect(unreachable_pub, unused_qualifications, reason = "generated")]
#[rustfmt::skip]
pub(crate) mod clock;

use std::sync::Arc;

use tonic::transport::Endpoint;
use tower::BoxError;
use zk_registry::balance::{Balancer, strategy::PeakEwma};
use zk_registry::tower::{Balance, http::ByGrpcStatus};
use zk_registry::{Member, Options, Registry, Resolve, ServiceWatch};

use self::clock::{NowRequest, clock_client::ClockClient};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: tonic ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    for server in ask(registry.watch(&service.parse()?), 10).await? {
        println!("{server}");
    }
    Ok(())
}

/// Calls so often, and returns who answered.
pub(crate) async fn ask(watch: ServiceWatch, calls: usize) -> Result<Vec<String>, BoxError> {
    // Dialled before a request is handed over: a dead instance costs no call.
    let dial = |to: Arc<Member>| async move {
        Endpoint::from_shared(format!("http://{}", to.address()))?.connect().await
    };
    let balance = Balance::new(watch, Balancer::new(PeakEwma::default()), dial).with_classify(ByGrpcStatus);
    // The generated client wants an origin; each call goes to that of its instance.
    let mut client = ClockClient::with_origin(balance, "http://clock".parse()?);
    let mut servers = Vec::with_capacity(calls);
    for _ in 0..calls {
        servers.push(client.now(NowRequest {}).await?.into_inner().server);
    }
    Ok(servers)
}
