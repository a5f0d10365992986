//! The facade: one [`Registry`] per process registers instances and watches services over shared sessions.

use std::time::Duration;

use tokio::sync::watch;

use crate::connect::{ConnectString, Options};
use crate::error::Error;
use crate::instance::{Instance, ServiceName};
use crate::registration::{Registering, Registration, Withdrawn};
use crate::resolve::{Resolve, ServiceWatch};
use crate::session::ConnectionState;
use crate::snapshot::Snapshot;

/// Registers instances and watches services. Clones share everything; guards and watches keep it alive.
#[derive(Clone, Debug)]
pub struct Registry {}

#[expect(
    clippy::todo,
    clippy::unused_async,
    unused_variables,
    reason = "the sketch that others build on meanwhile"
)]
impl Registry {
    /// Starts connecting in the background and returns at once. Never panics, needs no ambient runtime.
    pub fn open(to: ConnectString, options: Options) -> Self {
        todo!()
    }

    /// Waits for the first connection.
    ///
    /// # Errors
    ///
    /// Only what waiting cannot cure: [`ErrorKind::AuthFailed`](crate::ErrorKind), `ServerTooOld`, `Invalid`, `Closed`.
    pub async fn connected(&self) -> Result<(), Error> {
        todo!()
    }

    /// The state of the connection, now and from now on; it carries the cause of the last failure.
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        todo!()
    }

    /// Registers an instance and keeps it registered until the guard is withdrawn or dropped.
    pub fn register(&self, service: &ServiceName, instance: Instance) -> Registration {
        self.register_with(service, instance, Registering::default())
    }

    /// Registers an instance, saying how.
    pub fn register_with(&self, service: &ServiceName, instance: Instance, how: Registering) -> Registration {
        todo!()
    }

    /// The services that have at least one node.
    pub async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        todo!()
    }

    /// Reads a service once, for scripts.
    pub async fn lookup(&self, service: &ServiceName) -> Result<Snapshot, Error> {
        todo!()
    }

    /// Withdraws everything, closes the sessions and waits, at most `within`, for the acknowledgement.
    pub async fn close(self, within: Duration) -> Withdrawn {
        todo!()
    }
}

#[expect(clippy::todo, unused_variables, reason = "the sketch that others build on meanwhile")]
impl Resolve for Registry {
    fn watch(&self, service: &ServiceName) -> ServiceWatch {
        todo!()
    }
}
