//! How a server for tests behaves, and which of its directions are frozen.

use std::time::Duration;

/// How a [`Server`](super::Server) behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The unit of session timeouts, which are 2 to 20 of it. Defaults to 2 seconds.
    pub tick: Duration,
    /// The longest session timeout. Defaults to 20 ticks.
    pub longest_timeout: Option<Duration>,
    /// How long a container is left after it has lost its last child. Defaults to 60 seconds.
    pub container_interval: Duration,
    /// The user who may do everything, as `user:hash`; ZooKeeper's `superDigest`. Defaults to none.
    pub superuser: Option<String>,
    /// Who can connect. Defaults to this machine.
    pub reach: Reach,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(2),
            longest_timeout: None,
            container_interval: Duration::from_secs(60),
            superuser: None,
            reach: Reach::ThisMachine,
        }
    }
}

/// Who can connect to a [`Server`](super::Server).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// An address that other machines reach is taken as well: a client there may write anything.
    OtherMachines,
    /// An address that is not of loopback is refused.
    ThisMachine,
}

/// The directions in which nothing comes through. None by default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Frozen {
    /// Requests wait, and the server hears of no client: sessions expire.
    pub to_server: bool,
    /// Replies and events wait.
    pub to_clients: bool,
}
