//! Balancing as a `tower` service: one [`Balance`] in the place of one client.
//!
//! [`Balance`] is a `tower_service::Service` over a [`ServiceWatch`](crate::ServiceWatch). For each call it picks an instance,
//! dials it if it has no client of it, hands the request over, and tells the [`Balancer`](crate::balance::Balancer) how the call
//! ended. It fits wherever a client does: below `tower` layers, and inside a generated gRPC client.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//! use tower_service::Service;
//! use zk_registry::balance::{Balancer, strategy::PeakEwma};
//! use zk_registry::{Instance, Member, Resolve, StaticResolver, tower::Balance};
//!
//! # #[derive(Clone)]
//! # struct Client(String);
//! # impl Service<&'static str> for Client {
//! #     type Response = String;
//! #     type Error = std::io::Error;
//! #     type Future = std::future::Ready<Result<String, std::io::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), std::io::Error>> {
//! #         std::task::Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, request: &'static str) -> Self::Future { std::future::ready(Ok(format!("{request} {}", self.0))) }
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let service = "greeter".parse()?;
//! let resolver = StaticResolver::new().with("greeter".parse()?, [Instance::new("10.0.0.1", 80)]); // or a `Registry`
//! let dial = |to: Arc<Member>| async move { Ok::<_, Infallible>(Client(to.address())) };
//! let mut greeter = Balance::new(resolver.watch(&service), Balancer::new(PeakEwma::default()), dial);
//! assert_eq!(greeter.call("hello").await?, "hello 10.0.0.1:80");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # Behavior
//!
//! - The instance is chosen in the call, not in `poll_ready`, which is always ready: nothing that was chosen earlier can be out
//!   of date. Limit concurrency with a layer above.
//! - **The dial is over before the request is handed over.** A dial that fails, or takes longer than
//!   [`with_dial_timeout`](Balance::with_dial_timeout), ejects the address, and the call goes to another instance with its
//!   request unused. Calls that need the same new client wait for one dial.
//! - A client is kept as long as its instance is listed or suspected under the same address and incarnation; changing a weight
//!   or metadata keeps it. A client whose call failed is dropped, and dialled anew when its instance is picked again.
//! - Snapshots are adopted by a task of their own, also while no call is made. There is no queue: the latest snapshot counts.
//! - Without any instance a call waits, 3 seconds unless [`with_wait`](Balance::with_wait) says otherwise, and then fails with
//!   the reason.
//! - A call is tried again after a failure only [if it can be replayed](Balance::with_retry), and while the budget allows.
//! - A call has no deadline: put `tower::timeout` above. Dropping a call's future counts as [`Outcome::Cancelled`].
//!
//! [`Outcome::Cancelled`]: crate::balance::Outcome::Cancelled
//!
//! # Spans
//!
//! At level debug, each call is a span `call` and each attempt a span `attempt` in it, with OpenTelemetry's names:
//! `otel.kind`, `server.address`, `server.port`, `error.type`, and `zk_registry.service`, `zk_registry.instance`,
//! `zk_registry.attempt`.

mod balance;
mod call;
mod classify;
mod clients;
mod connect;
mod error;
mod follow;
mod future;
#[cfg(feature = "http")]
pub mod http;
mod requests;
#[cfg(test)]
mod tests;

pub use balance::Balance;
pub use classify::{ByResult, Classify};
pub use connect::Connect;
pub use error::BalanceError;
pub use follow::Follow;
pub use future::ResponseFuture;
pub use requests::{AnyRequest, RequestRules, Requests};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
