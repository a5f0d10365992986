//! Node names that are addresses, and no data: what the program of 2016 writes and reads.
//!
//! Its clients list the names and dial them, so a name must be the address, and nothing else can be said.

use std::time::SystemTime;

use super::Format;
use super::sealed::{self, Carries, Codec, Decoded, Drain, NodeKind, Owner, Parents};
use crate::error::Error;
use crate::instance::address;
use crate::instance::{Instance, InstanceId, NodeName, ServiceName};

/// Node names that are addresses, and no data.
///
/// An id other than the address, a TLS port, a weight, a zone and metadata cannot be carried, and
/// registering with one is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Format for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }
}

impl Codec for Plain {
    fn encode(
        &self,
        _: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        let address = instance.address();
        let refuse = |message| Err(sealed::refuse(message));
        if id.as_str() != address {
            return refuse(format!("format plain: the id {id} must be the address {address}"));
        }
        if let Err(why) = parse(id.as_str()) {
            return refuse(format!("format plain: {address:?}: {why}"));
        }
        self.carries().check(self.name(), instance)?;
        Ok(Vec::new())
    }

    /// The data, which others may have used for something, is not looked at.
    fn decode(&self, _: &ServiceName, name: &NodeName, _: &[u8]) -> Result<Decoded, String> {
        let (host, port) = parse(name.as_str()).map_err(|why| format!("the name is no address: {why}"))?;
        Ok(Decoded { instance: Instance::new(host, port).with_id(name.to_id()), owner: None })
    }

    /// An empty node may be a static instance; only one with children is certainly part of the tree.
    fn is_namespace(&self, node: NodeKind, _: &[u8]) -> bool {
        node.children > 0
    }

    /// A container that the server removed would unlist the program of 2016 for good: it creates its parent only once.
    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries {
            weight: false,
            zone: false,
            metadata: false,
            ssl_port: false,
            ipv6: true,
            drain: Drain::Remove,
        }
    }
}

fn parse(name: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = address::split(name)?;
    Ok((host, port.ok_or("the port is missing")?))
}
