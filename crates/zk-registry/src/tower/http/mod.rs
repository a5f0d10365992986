//! Balancing HTTP and gRPC: what a response says of the instance, when a call is over, which host a request goes to.
//!
//! With [`ByStatus`] or [`ByGrpcStatus`] a call counts as in flight until its body has ended, and a body that breaks off counts
//! as a failure.
//!
//! ```no_run
//! use zk_registry::balance::{Balancer, strategy::LeastLoaded};
//! use zk_registry::tower::{Balance, http::{ByStatus, Origin}};
//!
//! # #[derive(Clone)] struct Pooled;
//! # fn example(watch: zk_registry::ServiceWatch, pooled: Pooled) {
//! // `pooled`: hyper-util's `Client`, say, one for all instances
//! let client = Balance::new(watch, Balancer::new(LeastLoaded), Origin::over(pooled)).with_classify(ByStatus);
//! # }
//! ```

mod body;
mod grpc;
mod origin;
mod status;
#[cfg(test)]
mod tests;

pub use body::LeaseBody;
pub use origin::{Origin, WithOrigin};
pub use status::{ByGrpcStatus, ByStatus};
