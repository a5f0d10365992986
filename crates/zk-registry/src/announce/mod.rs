//! The server's half: listed once it listens, and gone before it stops.
//!
//! ```no_run
//! use zk_registry::{Leave, Options, Registry};
//! # async fn example(sigterm: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::open("127.0.0.1:2181".parse()?, Options::default());
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
//! let announced = registry.announce(&"api".parse()?, listener.local_addr()?)?;
//! // serve, and meanwhile:
//! sigterm.await;
//! announced.leave(Leave::default()).await; // clients see that it drains, then that it is gone
//! // now stop accepting
//! # Ok(())
//! # }
//! ```

mod advertise;
mod leave;
#[cfg(test)]
mod tests;

use std::fmt;

use tokio_util::task::AbortOnDropHandle;

pub use self::advertise::Advertise;
pub use self::leave::Leave;

use self::advertise::Place;
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, ServiceName};
use crate::registration::{Registering, Registration, RegistrationState};
use crate::registry::Registry;
use crate::session::ConnectionState;
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// A listener that is announced. Dropping it withdraws, best effort; [`leave`](Self::leave) is the polite way.
#[must_use = "dropping it withdraws at once"]
pub struct Announced {
    listing: Listing,
}

/// How far an announcement has come.
enum Listing {
    /// It has an address, and a registration for it.
    Known(Listed),
    /// Its address waits for ZooKeeper; the task ends with the registration.
    ViaZooKeeper(AbortOnDropHandle<Result<Listed, Error>>),
    /// There will be no address.
    Failed(Error),
}

struct Listed {
    address: String,
    registration: Registration,
}

impl Registry {
    /// Registers a listener that accepts connections, and keeps it registered. A listener that is bound to every address
    /// (`0.0.0.0` or `[::]`) is registered with the address from which this host reaches ZooKeeper, as soon as there is one.
    /// Returns at once: serve meanwhile.
    ///
    /// # Errors
    ///
    /// What makes a registration impossible from the start, such as metadata that is too large. What comes up later is told by
    /// [`Announced::registered`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, for a listener that is bound to every address.
    pub fn announce(
        &self,
        service: &ServiceName,
        listener: impl Into<Advertise>,
    ) -> Result<Announced, Error> {
        let advertise = listener.into();
        let how = advertise.registering();
        let listing = match advertise.place() {
            Place::Known(instance) => Listing::Known(self.listed(service, instance, how)?),
            Place::ViaZooKeeper => {
                let (registry, service) = (self.clone(), service.clone());
                let task = tokio::spawn(async move {
                    let local = registry.reached_from().await?;
                    let instance = advertise.via_zookeeper(local)?;
                    tracing::info!(%service, address = instance.address(), "announcing the address from which ZooKeeper is reached");
                    registry.listed(&service, instance, how)
                });
                Listing::ViaZooKeeper(AbortOnDropHandle::new(task))
            }
        };
        Ok(Announced { listing })
    }

    fn listed(&self, service: &ServiceName, instance: Instance, how: Registering) -> Result<Listed, Error> {
        let address = instance.address();
        let registration = self.register_with(service, instance, how);
        let failed = match &*registration.states().borrow() {
            RegistrationState::Failed(error) => Some(error.clone()),
            _ => None,
        };
        failed.map_or(Ok(Listed { address, registration }), Err)
    }

    /// Our end of the connection to ZooKeeper, as soon as there is one.
    async fn reached_from(&self) -> Result<std::net::IpAddr, Error> {
        let unknown =
            || Error::new(ErrorKind::Invalid, "the address from which ZooKeeper is reached is not known");
        let mut connection = self.connection();
        loop {
            match &*connection.borrow_and_update() {
                ConnectionState::Connected { local, .. } => {
                    return local.map(|local| local.ip().to_canonical()).ok_or_else(unknown);
                }
                ConnectionState::Failed(error) => return Err(error.clone()),
                ConnectionState::Closed => return Err(closed()),
                _ => {}
            }
            connection.changed().await.map_err(|_| closed())?;
        }
    }
}

impl Announced {
    /// Waits until it is registered, for as long as that takes.
    ///
    /// # Errors
    ///
    /// As those of [`Registration::registered`]; [`ErrorKind::Invalid`] when no address for the listener can be told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops waiting.
    pub async fn registered(&mut self) -> Result<Zxid, Error> {
        self.known().await?.registration.registered().await
    }

    /// Its registration, once its address is known: at once, but for a listener that is bound to every address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when no address for the listener can be told, and what makes its registration impossible;
    /// [`ErrorKind::Closed`] when the registry was closed before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops waiting.
    pub async fn registration(&mut self) -> Result<&Registration, Error> {
        self.known().await.map(|listed| &listed.registration)
    }

    /// The address that it is registered with, as `HOST:PORT`: at once, but for a listener that is bound to every address.
    ///
    /// # Errors
    ///
    /// As those of [`registration`](Self::registration).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops waiting.
    pub async fn address(&mut self) -> Result<&str, Error> {
        self.known().await.map(|listed| listed.address.as_str())
    }

    async fn known(&mut self) -> Result<&mut Listed, Error> {
        if let Listing::ViaZooKeeper(task) = &mut self.listing {
            // A task that was ended, by a runtime that shuts down, registers nothing.
            self.listing = match task.await.unwrap_or_else(|_| Err(closed())) {
                Ok(listed) => Listing::Known(listed),
                Err(error) => Listing::Failed(error),
            };
        }
        match &mut self.listing {
            Listing::Known(listed) => Ok(listed),
            Listing::Failed(error) => Err(error.clone()),
            Listing::ViaZooKeeper(_) => Err(closed()),
        }
    }

    /// Leaves so that no client is surprised: says that it drains, waits until clients know, withdraws, and lingers for the
    /// calls that are still on their way. Stop accepting afterwards. [`Withdrawn::Confirmed`] also if nothing stood there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws all the same, unacknowledged.
    pub async fn leave(self, how: Leave) -> Withdrawn {
        let listed = match self.listing {
            Listing::Known(listed) => listed,
            Listing::ViaZooKeeper(task) if task.is_finished() => match task.await {
                Ok(Ok(listed)) => listed,
                _ => return Withdrawn::Confirmed,
            },
            Listing::Failed(_) | Listing::ViaZooKeeper(_) => return Withdrawn::Confirmed,
        };
        how.withdraw(listed.registration).await
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registry was closed before the listener had an address")
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Announced");
        match &self.listing {
            Listing::Known(listed) => shown.field("registration", &listed.registration).finish(),
            Listing::ViaZooKeeper(_) => shown.finish_non_exhaustive(),
            Listing::Failed(error) => shown.field("error", error).finish(),
        }
    }
}
