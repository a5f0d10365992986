//! Service discovery on ZooKeeper.

pub mod balance;
mod connect;
mod backoff;
mod error;
pub mod format;
mod heard;
mod host;
mod instance;
mod path;
mod registration;
mod registry;
mod resolve;
mod runtime;
mod services;
mod session;
mod snapshot;
mod store;

pub use connect::{Acl, Chroot, ConnectString, Credentials, Options, Suspicion, Tls};
pub use error::{Error, ErrorKind};
pub use instance::{Attributes, Instance, InstanceId, ServiceName, Status};
pub use path::BasePath;
pub use registration::{OnConflict, Registering, Registration, RegistrationState, Withdrawn};
pub use registry::Registry;
pub use resolve::{Closed, Resolve, ServiceWatch, SnapshotSender};
pub use session::ConnectionState;
pub use snapshot::{Freshness, Incarnation, Member, Rejected, Snapshot, Zxid};
