//! An axum server that is listed while it serves. `cargo run -p integration-tests --example axum 127.0.0.1:2181 api`
//!
//! The pitfall: a graceful shutdown closes the listener while clients still choose this instance. Here it says that it drains,
//! waits until clients know, is withdrawn, and only then stops.

use std::future::Future;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::BoxError;
use zk_registry::{Leave, Options, Registry, ServiceName};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: axum ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    let mut sigterm = signal(SignalKind::terminate())?;
    let told = async move {
        sigterm.recv().await;
    };
    serve(&registry, &service.parse()?, listener, told).await
}

/// Serves until it is told to leave.
pub(crate) async fn serve(
    registry: &Registry,
    service: &ServiceName,
    listener: TcpListener,
    told: impl Future<Output = ()> + Send + 'static,
) -> Result<(), BoxError> {
    let app = Router::new().route("/", get(async || "hello\n"));
    // Bound to every address: announced with the one from which ZooKeeper is reached.
    let announced = registry.announce(service, listener.local_addr()?)?;
    let leave = async move {
        told.await;
        announced.leave(Leave::default()).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(leave).await?;
    Ok(())
}
