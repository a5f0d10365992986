//! Who exists: the names of services and instances, and what an instance says of itself.
//!
//! An [`Instance`] is identity (id, host, ports), which never changes while it is registered, and
//! [`Attributes`] (weight, zone, status, metadata), which may be updated in place.

pub(crate) mod address;
mod host;
mod name;
mod path;
pub(crate) mod warm_up;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, LazyLock};

use self::host::Host;
pub(crate) use self::name::check_segment;
pub use self::name::{InstanceId, NodeName, ServiceName};
pub use self::path::BasePath;
use self::warm_up::{StatedWarmUp, WarmUp};
use crate::error::Error;

/// One running copy of a service: where it can be reached, and what it says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    id: Option<InstanceId>,
    host: Host,
    port: u16,
    ssl_port: Option<u16>,
    /// Shared: many instances say the same.
    attributes: Arc<Attributes>,
    /// Boxed: few state any of it.
    warm_up: Option<Box<StatedWarmUp>>,
}

impl Instance {
    /// An instance that can be dialled at `host` (an IP address or a DNS name) and `port`.
    ///
    /// An IPv6 address is stored in canonical form without brackets. Nothing is checked here; registering an instance
    /// without a host or with port 0 is an error.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
        let host = bare.parse::<IpAddr>().map_or_else(|_| host.as_str().into(), |ip| ip.to_string().into());
        let attributes = USUAL.clone();
        Self { id: None, host: Host::Here(host), port, ssl_port: None, attributes, warm_up: None }
    }

    /// Sets the id. Defaults to `host:port`, with IPv6 as `[canonical]:port`, so that a reader which only lists names
    /// gets dialable ones.
    #[must_use]
    pub fn with_id(mut self, id: InstanceId) -> Self {
        let host = match self.host {
            Host::Here(host) => host,
            Host::InId { .. } => self.host().into(),
        };
        self.host = Host::beside(&id, host);
        self.id = Some(id);
        self
    }

    /// Sets the port that speaks TLS. Defaults to none.
    #[must_use]
    pub fn with_ssl_port(mut self, port: u16) -> Self {
        self.ssl_port = Some(port);
        self
    }

    /// Sets the share of traffic relative to the other instances. Defaults to 1.
    #[must_use]
    pub fn with_weight(mut self, weight: NonZeroU16) -> Self {
        Arc::make_mut(&mut self.attributes).weight = weight;
        self
    }

    /// Sets the zone (rack, data centre, availability zone). Defaults to none.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.attributes).zone = Some(zone.into());
        self
    }

    /// Adds one key of metadata; the last value of a key wins.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.attributes).metadata.insert(key.into(), value.into());
        self
    }

    /// Replaces everything that may change in place.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = if attributes == **USUAL { USUAL.clone() } else { Arc::new(attributes) };
        self
    }

    /// Sets the time in which it asks for less than its share.
    #[must_use]
    pub(crate) fn with_warm_up(mut self, warm_up: StatedWarmUp) -> Self {
        self.warm_up = (warm_up != StatedWarmUp::default()).then(|| Box::new(warm_up));
        self
    }

    /// The id that was set.
    pub fn explicit_id(&self) -> Option<&InstanceId> {
        self.id.as_ref()
    }

    /// The host: an IP address without brackets, or a DNS name. Empty when the record in ZooKeeper has none.
    pub fn host(&self) -> &str {
        self.host.as_str(self.id.as_ref())
    }

    /// The port, 0 when the record in ZooKeeper has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that speaks TLS, if there is one.
    pub fn ssl_port(&self) -> Option<u16> {
        self.ssl_port
    }

    /// Whether there is a host and a port to connect to. Port 0 and the unspecified address (0.0.0.0, ::, and their other
    /// spellings) are none: who dialled them would reach its own machine. A balancer never picks such an instance. What a name
    /// resolves to is judged by a [`DialPolicy`](crate::DialPolicy).
    pub fn is_dialable(&self) -> bool {
        let host = self.host();
        !host.is_empty() && self.port != 0 && !address::is_unspecified(host)
    }

    /// `host:port`, with IPv6 as `[address]:port`: what one dials.
    pub fn address(&self) -> String {
        let (host, port) = (self.host(), self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The id that was set, else the [`address`](Self::address).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the host cannot be part of a ZooKeeper path.
    pub fn id(&self) -> Result<InstanceId, Error> {
        self.id.clone().map_or_else(|| self.address().parse(), Ok)
    }

    /// What may change in place.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The attributes, for other instances to [share](Self::share_attributes).
    pub(crate) fn shared_attributes(&self) -> Arc<Attributes> {
        self.attributes.clone()
    }

    /// Replaces the attributes by equal ones that another instance has too.
    pub(crate) fn share_attributes(&mut self, equal: &Arc<Attributes>) {
        self.attributes = equal.clone();
    }

    /// The share of traffic relative to the other instances.
    pub fn weight(&self) -> NonZeroU16 {
        self.attributes.weight
    }

    /// The time in which it asks for less than its share, if there is one.
    pub(crate) fn warm_up(&self) -> Option<WarmUp> {
        self.stated_warm_up().complete()
    }

    /// The parts of that time that its record states.
    pub(crate) fn stated_warm_up(&self) -> StatedWarmUp {
        self.warm_up.as_deref().copied().unwrap_or_default()
    }

    /// The zone, if the instance states one.
    pub fn zone(&self) -> Option<&str> {
        self.attributes.zone.as_deref()
    }

    /// Whether the instance takes new work.
    pub fn status(&self) -> Status {
        self.attributes.status
    }

    /// Whatever else the instance says of itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.attributes.metadata
    }
}

/// What an instance says of itself and may change without leaving the service.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Attributes {
    /// The share of traffic relative to the other instances. Defaults to 1.
    pub weight: NonZeroU16,
    /// The zone (rack, data centre, availability zone). Defaults to none.
    pub zone: Option<String>,
    /// Whether the instance takes new work. Defaults to [`Status::Up`].
    pub status: Status,
    /// Whatever else there is to say. Defaults to empty.
    pub metadata: BTreeMap<String, String>,
}

/// What most instances say.
static USUAL: LazyLock<Arc<Attributes>> = LazyLock::new(Arc::default);

impl Default for Attributes {
    fn default() -> Self {
        Self { weight: NonZeroU16::MIN, zone: None, status: Status::Up, metadata: BTreeMap::new() }
    }
}

/// The key of the metadata under which an operator's reason to drain an instance stands.
pub(crate) const DRAIN_REASON: &str = "drain-reason";

/// Whether an instance takes new work.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It takes new work.
    #[default]
    Up,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "draining",
            Self::Up => "up",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn names_that_zookeeper_would_refuse_are_refused_here() {
        for bad in ["", "a//b", "/a", "a/", ".", "a/../b", "a\u{0}", "a\nb", "\u{e000}", "a\u{1f600}"] {
            let error = bad.parse::<ServiceName>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
        }
        assert!("com/example/time".parse::<ServiceName>().is_ok());
        assert!("a/b".parse::<InstanceId>().is_err());
    }

    #[test]
    fn the_default_id_is_what_one_dials() {
        let id = |host: &str| Instance::new(host, 80).id().unwrap().to_string();
        assert_eq!(id("10.0.0.1"), "10.0.0.1:80");
        assert_eq!(id("[2001:DB8::1]"), "[2001:db8::1]:80");
        assert_eq!(id("2001:db8:0:0::1"), "[2001:db8::1]:80");
        assert_eq!(id("time.example"), "time.example:80");
    }
}
