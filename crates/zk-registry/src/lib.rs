//! Service discovery on ZooKeeper: register an instance, keep it registered through expiries and outages, watch a service
//! as an always-converging snapshot, choose an instance well.
//!
//! ```text
//! register -> znode -> watch -> snapshot -> pick -> call
//! ```
//!
//! # Ten lines
//!
//! ```no_run
//! use std::time::Duration;
//! use zk_registry::{Instance, Options, Registry, Resolve, ServiceName};
//!
//! # async fn example() -> Result<(), zk_registry::Error> {
//! let registry = Registry::open("127.0.0.1:2181".parse()?, Options::default());
//! let service: ServiceName = "time".parse()?;
//!
//! let mut registration = registry.register(&service, Instance::new("10.0.0.1", 8897));
//! registration.registered().await?; // listed, and kept listed from now on
//!
//! let mut watch = registry.watch(&service);
//! for instance in watch.live().await.expect("the registry is open").instances() {
//!     println!("{} at {}", instance.id(), instance.address());
//! }
//!
//! registration.withdraw(Duration::from_secs(2)).await; // acknowledged: no reader lists it any more
//! registry.close(Duration::from_secs(2)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # The words
//!
//! - A **service** is a name under which instances offer the same thing; a node of ZooKeeper, `/services/time`.
//! - An **instance** is one running copy of it; an ephemeral node, `/services/time/10.0.0.1:8897`.
//! - A **registration** keeps one instance listed. It is a guard: dropping it withdraws.
//! - A **session** is ZooKeeper's lease on everything this process registered; an **epoch** is one session's life here.
//! - A **snapshot** is a service at one point of ZooKeeper's history; a **watch** is the latest snapshot, always.
//! - **Freshness** says how far a snapshot may be trusted to be current.
//! - A **suspect** vanished in a mass disappearance and may still be alive.
//! - An **endpoint** is an instance as a balancer sees it, with its load and health; a **lease** is one call to it.
//! - An endpoint is **available**, **ejected** (this client's opinion, never written to ZooKeeper) or **probing**.
//!
//! # Behavior
//!
//! **When ZooKeeper is down** nothing is lost: a snapshot keeps its instances and says
//! [`Stale`](Freshness::Stale); registrations stay as long as the session lives on the server, and come back by
//! themselves afterwards; `open` does not wait for ZooKeeper. With [`Options::snapshot_dir`] a client even starts without
//! it.
//!
//! **A short disconnection** (inside the session timeout) writes nothing and causes no membership event.
//!
//! **A lost session** (expired, or given up) is replaced by a new one; every registration is created again, and every
//! watch is read again. A node that an earlier session of this registry left behind is replaced in one transaction, so
//! that no reader ever misses it.
//!
//! **A foreign node** is never deleted: the registration waits ([`OnConflict`]) and says whose it is.
//!
//! **An operator** who writes the status or weight of our node is obeyed: the write is adopted, and survives an expiry.
//!
//! **Retries** are capped and jittered everywhere, and go on until the registry is closed.
//!
//! **Background tasks** run on one thread of our own, named `zk-registry`, or on [`Options::runtime`]. Public futures only
//! await channels; dropping one never leaves anything half done.
//!
//! **Logs** are `tracing` events of this crate's targets: `warn` when something degrades, `info` for the life cycle.
//!
//! **Needs** ZooKeeper 3.6 or later; 3.7 when credentials are configured. ClickHouse Keeper is not supported.
//!
//! # Security
//!
//! ZooKeeper's default lets every client that reaches it write anything: an open registry lets anyone redirect traffic. Use
//! [`Credentials`], an [`Acl`] and [`Tls`]. An address in a registry was written by another program: judge what it resolves to
//! with a [`DialPolicy`] before dialling, and print foreign text with [`printable`].

#![cfg_attr(docsrs, feature(doc_cfg))]

// What a user meets first.
mod announce;
#[cfg(feature = "clap")]
pub mod cli;
mod error;
mod options;
pub mod printable;
mod registry;

// What exists: names, instances, their records, what a service looks like.
pub mod format;
mod instance;
mod snapshot;

// The flow: register, watch, pick.
pub mod balance;
mod consumers;
mod discovery;
mod registration;
mod resolve;

// In the user's own stack.
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tower")]
pub mod tower;

// Beside the flow: what an operator does with the nodes of others.
pub mod operate;

// What it rests on: sessions with ZooKeeper.
mod backoff;
#[cfg(any(test, feature = "testing"))]
mod behaviours;
mod counters;
mod samples;
mod session;
mod sorted;
mod store;
mod withdrawn;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use announce::{Advertise, Announced, Leave};
pub use consumers::TakenRank;
pub use error::{Error, ErrorKind};
pub use instance::{Attributes, BasePath, Instance, InstanceId, NodeName, ServiceName, Status};
pub use options::{
    Acl, Chroot, ConnectString, Credentials, Mixing, Options, RecordLimits, SecretSource, Secrets, Source,
    SourceUse, Suspicion, Tls,
};
#[cfg(feature = "serde")]
pub use options::{Settings, SourceSettings, TlsSettings};
pub use registration::{
    FencingToken, ForeignWrites, OnConflict, Registering, Registration, RegistrationState,
};
pub use registry::Registry;
pub use registry::stats::{RegistrationStats, RegistryStats, ServiceStats, SessionsEnded, WriteStats};
pub use resolve::{
    AddressKind, Closed, DialPolicy, DialRefused, Resolve, ServiceWatch, SnapshotSender, StaticResolver,
};
pub use resolve::{Services, ServicesWatch};
pub use samples::{Metric, MetricKind, Sample};
pub use session::ConnectionState;
pub use snapshot::{Change, Freshness, Incarnation, Member, Rejected, Snapshot, Zxid};
pub use withdrawn::Withdrawn;
