//! Motan: the record is a url in the data, and the directory says whether the instance is in service.

mod javastream;

use std::num::NonZeroU16;
use std::time::SystemTime;

use super::parameters::Parameters;
use super::sealed::{
    Amendment, Carries, Child, Codec, Decoded, Drain, Owner, Parents, Place, Reading, Record, check_address,
    refuse,
};
use super::{Format, percent};
use crate::error::Error;
use crate::instance::address;
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName, Status};

/// Motan's servers: a service is an interface, below the base `/motan/<group>`.
///
/// An instance that drains moves from `server` to `unavailableServer`, in one transaction. A TLS port, an IPv6 address and a
/// weight above 50 cannot be carried.
#[derive(Clone, Debug)]
pub struct Motan {
    group: String,
    version: String,
    protocol: Option<String>,
    application: String,
    encoding: Encoding,
}

/// How the url stands in the data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Encoding {
    /// Every reader understands it.
    Java,
    /// Readers of the registry word `zookeeper` do not.
    Text,
}

impl Default for Motan {
    /// The group `default_rpc`, version 1.0, any protocol when reading and `motan2` when writing, serialized by Java's rules.
    fn default() -> Self {
        Self {
            group: "default_rpc".to_owned(),
            version: "1.0".to_owned(),
            protocol: None,
            application: "zk-registry".to_owned(),
            encoding: Encoding::Java,
        }
    }
}

impl Motan {
    /// The dialect with parameters of its word: `group`, `version`, `protocol`, `application`, and `data`, which is `java` or
    /// `text`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another `data`.
    pub(super) fn with_parameters(mut parameters: Parameters<'_>) -> Result<Self, Error> {
        let defaults = Self::default();
        let encoding = match parameters.take("data").as_deref() {
            None | Some("java") => Encoding::Java,
            Some("text") => Encoding::Text,
            Some(other) => return Err(refuse(format!("format motan: data is java or text, not {other:?}"))),
        };
        let motan = Self {
            group: parameters.take("group").unwrap_or(defaults.group),
            version: parameters.take("version").unwrap_or(defaults.version),
            protocol: parameters.take("protocol"),
            application: parameters.take("application").unwrap_or(defaults.application),
            encoding,
        };
        parameters.end()?;
        Ok(motan)
    }

    /// The url of an instance.
    fn url(&self, service: &ServiceName, instance: &Instance) -> Result<String, Error> {
        let protocol = self.protocol.as_deref().unwrap_or("motan2");
        let export = format!("{protocol}:{}", instance.port());
        let weight = u32::from(instance.weight().get()) * u32::from(UNIT);
        if weight > MOST_WEIGHT {
            return Err(refuse(format!(
                "format motan: a weight is at most {}",
                MOST_WEIGHT / u32::from(UNIT)
            )));
        }
        let weight = weight.to_string();
        let mut parameters = vec![
            ("protocol", protocol),
            ("module", "motan"),
            ("nodeType", "service"),
            ("version", &self.version),
            ("group", &self.group),
            ("export", &export),
            ("application", &self.application),
        ];
        if instance.weight().get() != 1 {
            parameters.push((WEIGHT, &weight));
        }
        parameters.extend(instance.zone().map(|zone| (ZONE, zone)));
        for (key, value) in instance.metadata() {
            if key.is_empty() || KNOWN.contains(&key.as_str()) {
                return Err(refuse(format!(
                    "format motan: the metadata key {key:?} means something to Motan"
                )));
            }
            parameters.push((key, value));
        }
        let query: String = (parameters.iter())
            .map(|(key, value)| format!("{}={}&", percent::encode(key), percent::encode(value)))
            .collect();
        Ok(format!("{protocol}://{}/{service}?{query}", instance.address()))
    }

    /// Whether a url is of our interface, protocol and version, and a server's.
    fn wants(&self, url: &Url, service: &ServiceName) -> bool {
        let is = |key: &str, default: &str, ours: &str| url.get(key).unwrap_or(default) == ours;
        let protocol = self.protocol.as_deref();
        url.path == service.as_str()
            && is("nodeType", "", "service")
            && is("version", "1.0", &self.version)
            && protocol
                .is_none_or(|ours| url.protocol == ours || (ours == "motan" && url.protocol == "motan2"))
    }
}

/// A url that was read.
struct Url {
    protocol: String,
    path: String,
    parameters: Vec<(String, String)>,
}

impl Url {
    fn read(text: &str) -> Option<Self> {
        let (left, query) = text.split_once('?').unwrap_or((text, ""));
        let (protocol, rest) = left.split_once("://")?;
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, pair)));
        let decoded = |text| percent::decode(text).into_owned();
        let parameters = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        Some(Self { protocol: protocol.to_owned(), path: path.to_owned(), parameters })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes { weight: unit(), ..Attributes::default() };
        let weight = self.get(WEIGHT).and_then(|weight| weight.trim().parse::<i64>().ok());
        if let Some(weight) = weight.and_then(|weight| u16::try_from(weight.max(1)).ok()) {
            attributes.weight = NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN);
        }
        attributes.zone = self.get(ZONE).filter(|zone| !zone.is_empty()).map(str::to_owned);
        let others =
            self.parameters.iter().filter(|(key, _)| !key.is_empty() && !KNOWN.contains(&key.as_str()));
        attributes.metadata = others.cloned().collect();
        attributes
    }
}

impl Format for Motan {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for Motan {
    fn directories(&self, service: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        if service.as_str().contains('/') {
            return Err(refuse(format!(
                "format motan: a service is an interface, one segment, not {service}"
            )));
        }
        [SERVER, UNAVAILABLE].iter().map(|kind| format!("{service}/{kind}").parse()).collect()
    }

    fn service_of(&self, directory: &ServiceName) -> Option<ServiceName> {
        let (interface, kind) = directory.as_str().rsplit_once('/')?;
        if kind != SERVER && kind != UNAVAILABLE {
            return None;
        }
        interface.parse().ok().filter(|service: &ServiceName| !service.as_str().contains('/'))
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.carries().check(NAME, instance)?;
        check_address(NAME, id, instance)?;
        if let Err(why) = parse(id.as_str()) {
            return Err(refuse(format!("format motan: {id}: {why}")));
        }
        let url = self.url(service, instance)?;
        Ok(match self.encoding {
            Encoding::Java => javastream::write(&url),
            Encoding::Text => url.into_bytes(),
        })
    }

    fn record(&self, place: &Place<'_>, instance: &Instance) -> Result<Record, Error> {
        let Place { service, id, owner, registered } = *place;
        let data = self.encode(service, id, instance, owner, registered)?;
        let at = usize::from(instance.status() == Status::Draining);
        Ok(Record { directory: self.directories(service)?.swap_remove(at), name: id.clone().into(), data })
    }

    /// The data of a node; without a url that can be read, the name says everything.
    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let (host, port) = parse(name.as_str()).map_err(|why| format!("the name is no address: {why}"))?;
        let attributes = url(data).map(|url| url.attributes());
        let attributes = attributes.unwrap_or_else(|| Attributes { weight: unit(), ..Attributes::default() });
        let instance = Instance::new(host, port).with_attributes(attributes).with_id(name.to_id());
        Ok(Decoded { instance, owner: None })
    }

    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        if url(child.data).is_some_and(|url| !self.wants(&url, service)) {
            return Ok(Reading::Ignored);
        }
        let mut decoded = self.decode(service, child.name, child.data)?;
        if child.directory > 0 {
            let attributes = Attributes { status: Status::Draining, ..decoded.instance.attributes().clone() };
            decoded.instance = decoded.instance.with_attributes(attributes);
        }
        Ok(Reading::Member(decoded))
    }

    fn unamendable(&self, amendment: Amendment<'_>) -> Option<String> {
        matches!(amendment, Amendment::Status(..)).then(|| CANNOT_MOVE.to_owned())
    }

    /// The url with another weight, everything else and its encoding as they were written.
    fn amend(&self, data: &[u8], amendment: Amendment<'_>) -> Result<Vec<u8>, String> {
        let Amendment::Weight(weight) = amendment else { return Err(CANNOT_MOVE.to_owned()) };
        if u32::from(weight.get()) > MOST_WEIGHT {
            return Err(format!("a weight is at most {MOST_WEIGHT}"));
        }
        let is_stream = javastream::is_stream(data);
        let text =
            if is_stream { javastream::read(data) } else { str::from_utf8(data).ok().map(str::to_owned) };
        let text = text.filter(|text| Url::read(text).is_some()).ok_or("its data is no url")?;
        let text = with_weight(&text, weight);
        Ok(if is_stream { javastream::write(&text) } else { text.into_bytes() })
    }

    fn is_composed(&self) -> bool {
        true
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries { ssl_port: false, ipv6: false, drain: Drain::Move, ..Carries::EVERYTHING }
    }

    fn weight_unit(&self) -> u16 {
        UNIT
    }
}

/// The url in a node's data, in either encoding.
fn url(data: &[u8]) -> Option<Url> {
    if javastream::is_stream(data) {
        return Url::read(&javastream::read(data)?);
    }
    Url::read(str::from_utf8(data).ok()?)
}

fn with_weight(url: &str, weight: NonZeroU16) -> String {
    let (left, query) = url.split_once('?').unwrap_or((url, ""));
    let is_weight = |pair: &str| percent::decode(pair.split('=').next().unwrap_or_default()) == WEIGHT;
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_weight(pair));
    let pairs: Vec<_> = kept.map(str::to_owned).chain([format!("{WEIGHT}={weight}")]).collect();
    let end = if query.ends_with('&') { "&" } else { "" };
    format!("{left}?{}{end}", pairs.join("&"))
}

fn parse(name: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = address::split(name)?;
    Ok((host, port.ok_or("the port is missing")?))
}

fn unit() -> NonZeroU16 {
    NonZeroU16::new(UNIT).unwrap_or(NonZeroU16::MIN)
}

const NAME: &str = "motan";
/// The reason why only its owner can drain an instance.
const CANNOT_MOVE: &str = "a draining instance stands in another directory, and a node that this program put there would end with it: \
    ask its owner to move";
const SERVER: &str = "server";
const UNAVAILABLE: &str = "unavailableServer";
const WEIGHT: &str = "META_WEIGHT";
const ZONE: &str = "META_ZONE";
/// The weight of a server that states none.
const UNIT: u16 = 10;
const MOST_WEIGHT: u32 = 500;
/// Parameters that are no metadata.
const KNOWN: [&str; 10] = [
    WEIGHT,
    ZONE,
    "application",
    "export",
    "group",
    "module",
    "nodeType",
    "protocol",
    "refreshTimestamp",
    "version",
];
