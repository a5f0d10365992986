//! Which address a listener is registered with.

use std::net::{IpAddr, SocketAddr};

use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance};
use crate::registration::Registering;

/// A listener to announce: the address that it is bound to, or one that peers reach it by.
///
/// Nothing is guessed from the list of network interfaces: the first of them is a container bridge as often as not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advertise {
    address: Address,
    attributes: Attributes,
    registering: Registering,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Address {
    Bound(SocketAddr),
    Stated { host: String, port: u16 },
}

/// Where peers reach the listener.
pub(super) enum Place {
    Known(Instance),
    ViaZooKeeper,
}

impl Advertise {
    /// The address by which peers reach the listener, where it is not the one that it is bound to: behind a port mapping, say.
    pub fn at(host: impl Into<String>, port: u16) -> Self {
        Self {
            address: Address::Stated { host: host.into(), port },
            attributes: Attributes::default(),
            registering: Registering::new(),
        }
    }

    /// Sets the weight, zone, status and metadata that it is registered with.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets whether no other process of this host can be serving that address ([`Registering::exclusive`]): a node that a
    /// predecessor on this host left behind is then taken over at once. Defaults to yes for the address that a listener is
    /// bound to, to no for one that is stated. Say no where processes share a port (`SO_REUSEPORT`).
    #[must_use]
    pub fn with_exclusive(mut self, exclusive: bool) -> Self {
        self.registering.exclusive = exclusive;
        self
    }

    pub(super) fn registering(&self) -> Registering {
        self.registering
    }

    pub(super) fn place(&self) -> Place {
        match &self.address {
            Address::Bound(bound) if bound.ip().to_canonical().is_unspecified() => Place::ViaZooKeeper,
            Address::Bound(bound) => {
                Place::Known(self.instance(bound.ip().to_canonical().to_string(), bound.port()))
            }
            Address::Stated { host, port } => Place::Known(self.instance(host.clone(), *port)),
        }
    }

    /// The instance of a listener that is bound to every address, given our own end of the connection to ZooKeeper.
    pub(super) fn via_zookeeper(&self, local: IpAddr) -> Result<Instance, Error> {
        let bound = match &self.address {
            Address::Bound(bound) => *bound,
            Address::Stated { host, port } => return Ok(self.instance(host.clone(), *port)),
        };
        if local.is_ipv6() && bound.is_ipv4() {
            let message = format!(
                "ZooKeeper is reached from {local}, which {bound} does not listen on: state an address"
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(self.instance(local.to_string(), bound.port()))
    }

    fn instance(&self, host: String, port: u16) -> Instance {
        Instance::new(host, port).with_attributes(self.attributes.clone())
    }
}

impl From<SocketAddr> for Advertise {
    fn from(bound: SocketAddr) -> Self {
        Self {
            address: Address::Bound(bound),
            attributes: Attributes::default(),
            registering: Registering::new().with_exclusive(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_reaches_zookeeper_is_advertised_where_it_is_listened_on() {
        let via = |listener: &str, local: &str| {
            let bound: SocketAddr = listener.parse().unwrap();
            Advertise::from(bound).via_zookeeper(local.parse().unwrap()).map(|instance| instance.address())
        };
        assert_eq!(via("0.0.0.0:1", "10.0.0.7").unwrap(), "10.0.0.7:1");
        assert_eq!(via("[::]:1", "10.0.0.7").unwrap(), "10.0.0.7:1");
        assert_eq!(via("[::]:1", "2001:db8::7").unwrap(), "[2001:db8::7]:1");
        assert!(via("0.0.0.0:1", "2001:db8::7").unwrap_err().to_string().contains("state an address"));
    }
}
