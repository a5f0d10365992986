//! The private half of a format, and the words that it is asked and answered in.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

pub(crate) use super::rules::Rules;
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, InstanceId, NodeName, ServiceName, Status};

/// Who wrote a record: which process, on which host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// A hash of boot id, network namespace and host name; `None` where one of them is unknown.
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

/// A child of one of a service's directories.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// Which directory, counted as [`Codec::directories`] lists them.
    pub directory: usize,
    pub name: &'a NodeName,
    pub data: &'a [u8],
}

/// What a child says.
#[derive(Debug)]
pub enum Reading {
    /// It belongs to others: neither listed nor rejected.
    Ignored,
    /// It is an instance.
    Member(Decoded),
    /// It states something about instances.
    Rules(Rules),
}

/// What a registration is about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub service: &'a ServiceName,
    pub id: &'a InstanceId,
    pub owner: &'a Owner,
    pub registered: SystemTime,
}

/// The node that a registration wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The node above it, as a path below the base.
    pub directory: ServiceName,
    pub name: NodeName,
    pub data: Vec<u8>,
}

/// What an operator changes in a record that is not his own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Amendment<'a> {
    /// Drain it, for a reason where one is given, or bring it back.
    Status(Status, Option<&'a str>),
    /// Give it another share of the calls.
    Weight(NonZeroU16),
}

/// The nodes of rules that an amendment takes away and puts in their place, all in the directory that has the rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleChange {
    pub gone: Vec<NodeName>,
    pub new: Vec<(NodeName, Vec<u8>)>,
}

/// What the readers of a record beside ours make of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beside {
    /// They read it, or leave it out.
    Fine,
    /// They read it, but not all that it says.
    Warn(&'static str),
    /// They lose more than our record by it.
    Refuse(&'static str),
}

/// What a record can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Carries {
    pub weight: bool,
    pub zone: bool,
    pub metadata: bool,
    pub ssl_port: bool,
    pub ipv6: bool,
    pub drain: Drain,
}

/// Whether the services of a format may have shards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharding {
    /// They may not.
    Never,
    /// Readers follow the marker; registrations stand below the service's own node.
    Read,
    /// Both follow the marker.
    ReadAndWrite,
}

/// How an instance is said to be draining.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drain {
    /// Another directory says so: the node is moved there.
    Move,
    /// The record says so.
    Record,
    /// Nothing can: the node is taken away until the instance is up again.
    Remove,
}

impl Carries {
    pub const EVERYTHING: Self =
        Self { weight: true, zone: true, metadata: true, ssl_port: true, ipv6: true, drain: Drain::Record };

    /// Refuses what cannot be said, naming it.
    pub fn check(self, format: &str, instance: &Instance) -> Result<(), Error> {
        let what = if !self.weight && instance.weight().get() != 1 {
            "a weight"
        } else if !self.zone && instance.zone().is_some() {
            "a zone"
        } else if !self.metadata && !instance.metadata().is_empty() {
            "metadata"
        } else if !self.ssl_port && instance.ssl_port().is_some() {
            "a TLS port"
        } else if !self.ipv6 && instance.host().contains(':') {
            "an IPv6 address"
        } else {
            return Ok(());
        };
        Err(refuse(format!("format {format} cannot carry {what}; curator can")))
    }
}

/// Why a record of a format cannot be amended whose readers read a node's data once.
pub(super) const READ_ONCE: &str = "readers take up a change of it under another name alone, and a node of another name would end with this program: ask its owner";

/// Why a record cannot be drained whose format has no word for it.
pub(super) const CANNOT_DRAIN: &str = "its records cannot say that an instance is draining";

/// The error of an instance that a format cannot write.
pub(super) fn refuse(why: String) -> Error {
    Error::new(ErrorKind::Invalid, why)
}

/// Refuses an instance whose id is not its address, from which readers derive it, that has no port, or that has
/// a host which would end early in a url or a list of addresses.
pub(super) fn check_address(format: &str, id: &InstanceId, instance: &Instance) -> Result<(), Error> {
    let address = instance.address();
    if id.as_str() != address {
        return Err(refuse(format!("format {format}: the id {id} must be the address {address}")));
    }
    if instance.port() == 0 {
        return Err(refuse(format!("format {format}: an instance needs a port")));
    }
    check_host(format, instance)
}

/// Refuses a host that would end early in a url or a list of addresses.
pub(super) fn check_host(format: &str, instance: &Instance) -> Result<(), Error> {
    let host = instance.host();
    match host.chars().find(|c| DELIMITERS.contains(*c) || c.is_whitespace()) {
        Some(delimiter) => {
            Err(refuse(format!("format {format}: the host {host:?} cannot have a {delimiter:?}")))
        }
        None => Ok(()),
    }
}

/// What ends the host of a url (RFC 3986, section 3), or one address of a list.
const DELIMITERS: &str = "/?#@&;,=";

/// The private half of a format. Pure: same arguments, same bytes.
pub trait Codec: fmt::Debug {
    /// The directories of a service, as paths below the base. The first one is that of an instance which is up. An error of
    /// kind `Invalid` for a service that this format cannot have.
    fn directories(&self, service: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        Ok(vec![service.clone()])
    }

    /// Which directory of a service this is, counted as [`directories`](Self::directories) lists them.
    fn position(&self, service: &ServiceName, directory: &ServiceName) -> Option<usize> {
        self.directories(service).ok()?.iter().position(|one| one == directory)
    }

    /// The service that has this directory; `None` if instances do not live in it.
    fn service_of(&self, directory: &ServiceName) -> Option<ServiceName> {
        Some(directory.clone())
    }

    /// The node, as an absolute path, that says under which names a service stands; `None`: it stands under its own.
    fn mapping(&self, service: &ServiceName) -> Option<String> {
        let _ = service;
        None
    }

    /// The names that the data of the [mapping](Self::mapping) state, in order; none where there is no such node.
    fn mapped(&self, data: &[u8]) -> Vec<ServiceName> {
        let _ = data;
        Vec::new()
    }

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

    /// The name of the node of an instance whose data were encoded. Defaults to [`node_name`](Self::node_name).
    fn name_of(&self, id: &InstanceId, data: &[u8]) -> Result<NodeName, Error> {
        let _ = data;
        Ok(self.node_name(id))
    }

    /// The node of an instance. Defaults to one in the first directory, with what [`name_of`](Self::name_of) and
    /// [`encode`](Self::encode) say. If its path differs from the last one, the node moves.
    fn record(&self, place: &Place<'_>, instance: &Instance) -> Result<Record, Error> {
        let Place { service, id, owner, registered } = *place;
        let data = self.encode(service, id, instance, owner, registered)?;
        let name = self.name_of(id, &data)?;
        Ok(Record { directory: first(self.directories(service)?, service), name, data })
    }

    /// What an instance's node says, or why it says nothing.
    fn decode(&self, service: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String>;

    /// The reason why only its owner can amend an instance so, for every record of this format; `None`: others can. Defaults to a
    /// reason.
    fn unamendable(&self, amendment: Amendment<'_>) -> Option<String> {
        Some(match amendment {
            Amendment::Status(..) => CANNOT_DRAIN.to_owned(),
            Amendment::Weight(_) => "its records cannot say a weight".to_owned(),
        })
    }

    /// The record with one thing changed and the rest as it was written, or why that cannot be. Defaults to a refusal of what
    /// is [unamendable](Self::unamendable), and otherwise to the record as it is: [rules](Self::rules_in) amend it.
    fn amend(&self, data: &[u8], amendment: Amendment<'_>) -> Result<Vec<u8>, String> {
        self.unamendable(amendment).map_or_else(|| Ok(data.to_owned()), Err)
    }

    /// Which directory has the rules by which operators change instances that are not theirs, counted as
    /// [`directories`](Self::directories) lists them. Defaults to none: then [`amend`](Self::amend) is the way.
    fn rules_in(&self) -> Option<usize> {
        None
    }

    /// The change of the rules that amends an instance, or why that cannot be. `instance` is as its record has it, without any rule.
    fn amend_rules(
        &self,
        service: &ServiceName,
        (name, instance): (&NodeName, &Instance),
        rules: &[Arc<Rules>],
        amendment: Amendment<'_>,
    ) -> Result<RuleChange, String> {
        let _ = (service, name, instance, rules);
        self.amend(&[], amendment).map(|_| RuleChange::default())
    }

    /// What a child of a directory says, or why it says nothing. Defaults to an instance.
    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        self.decode(service, child.name, child.data).map(Reading::Member)
    }

    /// The instance as these rules, in the order of their nodes' names, make it; `None`: as it is.
    fn apply(&self, rules: &[Arc<Rules>], name: &NodeName, instance: &Instance) -> Option<Instance> {
        let (_, _, _) = (rules, name, instance);
        None
    }

    /// Whether a service may have rules or several directories.
    fn is_composed(&self) -> bool {
        false
    }

    /// The node by which a reader of the service on the host of `instance` states itself, for as long as it watches; `None`: it
    /// does not. Asked of a [composed](Self::is_composed) format alone.
    fn reader(&self, place: &Place<'_>, instance: &Instance) -> Option<Result<Record, Error>> {
        let (_, _) = (place, instance);
        None
    }

    /// Whether [`beside`](Self::beside) ever has something to say.
    fn may_disturb(&self) -> bool {
        false
    }

    /// What the readers of a record in our directory make of ours. Defaults to nothing.
    fn beside(&self, record: &[u8]) -> Beside {
        let _ = record;
        Beside::Fine
    }

    /// Whether the node is part of the tree rather than an instance: neither listed nor rejected. Defaults to one that has
    /// children.
    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        let _ = data;
        node.children > 0
    }

    /// Whether its services may have shards. Defaults to never.
    fn sharding(&self) -> Sharding {
        Sharding::Never
    }

    /// What kind of node the parents are. Defaults to containers.
    fn parents(&self) -> Parents {
        Parents::Container
    }

    /// What a record can say.
    fn carries(&self) -> Carries;

    /// The weight that one of ours stands for: what an instance without a weight has.
    fn weight_unit(&self) -> u16 {
        1
    }
}

fn first(directories: Vec<ServiceName>, service: &ServiceName) -> ServiceName {
    directories.into_iter().next().unwrap_or_else(|| service.clone())
}
