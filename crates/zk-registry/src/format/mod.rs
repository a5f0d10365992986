//! How an instance is written in ZooKeeper, and read back.
//!
//! A format is chosen per registry: [`Curator`] (the default), [`CuratorStrict`] for fleets with very old readers, and
//! [`Plain`] for the program of 2016, whose node names are addresses. Records are private: what leaves this module is an
//! [`Instance`].

mod curator;
mod jackson;
mod named;
mod plain;

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

pub use self::curator::{Curator, CuratorStrict};
pub use self::named::named;
pub use self::plain::Plain;
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName, Status};

/// A way to write instances into ZooKeeper. Sealed until 1.0: it must still grow to sequential names, siblings that are
/// not instances, and data in the name.
pub trait Format: fmt::Debug + Send + Sync + sealed::Codec {
    /// The word that selects this format in configuration, as [`named()`] takes it.
    fn name(&self) -> &'static str;
}

/// Who wrote a record: which process, on which host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Boot id, network namespace and host name in one word; `None` where one of them is unknown.
    pub host: Option<String>,
    /// One uuid per `Registry::open`.
    pub incarnation: Uuid,
}

/// What a node under a service turned out to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// The instance, with its id.
    pub instance: Instance,
    /// Who wrote it, if the record says so.
    pub owner: Option<Owner>,
}

/// What kind of node the parents of an instance are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parents {
    /// The server removes them some time after their last child.
    Container,
    /// They stay.
    Persistent,
}

/// What a format needs to know of a node besides its data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NodeKind {
    /// Whether a session owns the node.
    pub ephemeral: bool,
    /// How many children it has.
    pub children: u32,
}

/// Refuses what only the format `curator` can carry, naming it.
fn refuse_attributes(format: &str, attributes: &Attributes) -> Result<(), Error> {
    let defaults = Attributes::default();
    let what = if attributes.weight != defaults.weight {
        "a weight"
    } else if attributes.zone.is_some() {
        "a zone"
    } else if !attributes.metadata.is_empty() {
        "metadata"
    } else if attributes.status != Status::Up {
        "the status draining"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("format {format} cannot carry {what}; curator can")))
}

pub(crate) mod sealed {
    use super::{
        Decoded, Error, Instance, InstanceId, NodeKind, NodeName, Owner, Parents, ServiceName, SystemTime,
    };

    /// The private half of a format. Pure: same arguments, same bytes.
    pub trait Codec {
        /// The name of an instance's node. Defaults to the id.
        fn node_name(&self, id: &InstanceId) -> NodeName {
            id.clone().into()
        }

        /// The bytes of an instance's node. An error of kind `Invalid` when the instance carries what this format cannot.
        fn encode(
            &self,
            service: &ServiceName,
            id: &InstanceId,
            instance: &Instance,
            owner: &Owner,
            registered: SystemTime,
        ) -> Result<Vec<u8>, Error>;

        /// What a node's name and bytes say, or why they say nothing.
        fn decode(&self, service: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String>;

        /// Whether the node is part of the tree rather than an instance: neither listed nor rejected.
        fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool;

        /// What kind of node the parents are.
        fn parents(&self) -> Parents;

        /// Whether a record of this format can say that an instance is draining.
        fn carries_status(&self) -> bool;
    }
}

#[cfg(test)]
mod tests;
