//! Choosing one instance per call among those of a snapshot, and surviving those that fail.
//!
//! A [`Balancer`] adopts [`Snapshot`](crate::Snapshot)s and gives out one [`Lease`] per call. *Mechanism* is here: identity,
//! load, health, what may be picked at all. *Policy* is pluggable: a [`Strategy`] builds a [`Picker`] for one immutable
//! [`EndpointSet`], an [`Ejection`] says when an instance is left alone and for how long, a [`Retry`] whether to try again.
//!
//! A balancer never dials, calls, or writes to ZooKeeper; an ejection is this client's opinion. A balancer has no timer, and no
//! task but the one that rebuilds a large table: time and chance come in with each call, so a test can pause the one and seed the
//! other.
//!
//! ```
//! use zk_registry::balance::{Balancer, Outcome, strategy::LeastLoaded};
//! use zk_registry::{Instance, ServiceName, Snapshot};
//!
//! let service: ServiceName = "time".parse()?;
//! let balancer = Balancer::new(LeastLoaded);
//! balancer.update(&Snapshot::fixed(&service, [Instance::new("10.0.0.1", 8897), Instance::new("10.0.0.2", 8897)]));
//!
//! let lease = balancer.pick()?;
//! let _address = lease.instance().address(); // dial it, call it, and say how it went
//! lease.finish(Outcome::Success);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Behavior
//!
//! - `pick` is O(1), allocates nothing and takes no lock. What may not be picked is rejected (at most four tries of the
//!   strategy, then a scan), so an ejection costs no rebuilding.
//! - In this order: listed and available; suspects; whatever is listed, ejected or not. Draining instances and those
//!   without an address are never picked; an address is a host and a `port`: an `ssl_port` alone is none.
//! - Load (calls in flight) is kept per id, health per id and incarnation: changing a weight does not end an ejection, and a
//!   restarted process starts clean.
//! - Losing ZooKeeper changes nothing: the balancer keeps what it has.

mod balancer;
mod budget;
mod built;
mod clock;
mod core;
mod ejection;
mod endpoint;
mod entropy;
mod event;
mod hash;
mod health;
mod lease;
mod options;
mod outcome;
mod phase;
mod pick;
mod places;
mod retry;
mod roster;
mod set;
mod sites;
mod stats;
pub mod strategy;
mod stripe;
#[cfg(test)]
mod tests;
mod thread_cache;
mod tier;
mod vitals;
mod why;

pub use balancer::Balancer;
pub use budget::{Budget, BudgetOptions};
pub use ejection::{Cause, Ejection};
pub use endpoint::{Endpoint, Index};
pub use entropy::Entropy;
pub use event::{Event, Observer, PhaseChange};
pub use lease::Lease;
pub use options::{BalancerOptions, Tracking};
pub use outcome::Outcome;
pub use phase::Phase;
pub use pick::{Key, Pick, PickError};
pub use retry::{Attempts, Decision, GiveUp, Retry, Safety};
pub use set::EndpointSet;
pub use stats::BalancerStats;
pub use strategy::{Picker, Strategy};
pub use why::Why;
