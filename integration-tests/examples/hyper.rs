//! A hyper client whose calls are balanced. `cargo run -p integration-tests --example hyper 127.0.0.1:2181 greeter`
//!
//! The pitfall: a pooled client keeps the connections to the address that it resolved first, so all calls go to one backend and
//! a new one is never seen. Here the instance is chosen for each call, and the pool keeps connections for each instance.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{BoxError, Service};
use zk_registry::balance::{Balancer, Budget, Retry, strategy::PeakEwma};
use zk_registry::tower::{
    Balance,
    http::{ByStatus, Origin},
};
use zk_registry::{Options, Registry, Resolve, ServiceWatch};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: hyper ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    for answer in get(registry.watch(&service.parse()?), 10).await? {
        println!("{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Calls so often, and returns the answers.
pub(crate) async fn get(watch: ServiceWatch, calls: usize) -> Result<Vec<Bytes>, BoxError> {
    let pooled = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    // Only a request that may be executed twice is sent again: here all of them are GETs without a body.
    let replay = |request: &Request<Empty<Bytes>>| Some(request.clone());
    let mut client = Balance::new(watch, Balancer::new(PeakEwma::default()), Origin::over(pooled))
        .with_classify(ByStatus)
        .with_retry(Retry::default(), Arc::new(Budget::default()), replay);
    let mut answers = Vec::with_capacity(calls);
    for _ in 0..calls {
        let request = Request::get("http://greeter/").body(Empty::new())?;
        answers.push(client.call(request).await?.into_body().collect().await?.to_bytes());
    }
    Ok(answers)
}
