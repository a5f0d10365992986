//! Dubbo at the level of interfaces: the record is a url, and stands in the node's name.

mod amend;
mod consumer;
pub(super) mod overrides;
pub(super) mod url;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::SystemTime;

use self::amend::Part;
use self::consumer::Consumer;
use self::overrides::Override;
use self::url::{TIMESTAMP, Url, WARM_UP};
use super::Format;
use super::curator::record::milliseconds;
use super::parameters::Parameters;
use super::percent;
use super::rules::{Rule, Rules};
use super::sealed::{
    Amendment, Carries, Child, Codec, Decoded, Owner, Parents, Place, Reading, Record, RuleChange,
    check_address, refuse,
};
use crate::error::Error;
use crate::instance::warm_up::StatedWarmUp;
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName, Status};

/// Dubbo's providers, as every Dubbo from 2.5 to 3.3 writes and reads them at the level of interfaces: a service is an
/// interface, below the base `/dubbo`.
///
/// Read are the providers of this group and version, with the overrides that operators put beside them. An update of the
/// attributes moves the node, in one transaction. A provider that states `warmup` and `timestamp` is picked less often until it is
/// warm. A TLS port cannot be carried. With the parameter `consumer` a reader is listed
/// among the interface's consumers for as long as it watches.
#[derive(Clone, Debug)]
pub struct Dubbo {
    group: Option<String>,
    version: Option<String>,
    protocol: Option<String>,
    application: String,
    methods: String,
    /// The application of a reader that is listed among the consumers.
    consumer: Option<String>,
}

impl Default for Dubbo {
    /// No group, no version, any protocol when reading and `dubbo` when writing.
    fn default() -> Self {
        Self {
            group: None,
            version: None,
            protocol: None,
            application: "zk-registry".to_owned(),
            methods: "*".to_owned(),
            consumer: None,
        }
    }
}

impl Dubbo {
    /// The dialect with parameters of its word: `group`, `version`, `protocol`, `application`, `methods` and `consumer`. A group
    /// or version `*` reads all, and cannot be registered with.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a value that a url cannot carry.
    pub(super) fn with_parameters(mut parameters: Parameters<'_>) -> Result<Self, Error> {
        let defaults = Self::default();
        let mut take = |key: &'static str| -> Result<Option<String>, Error> {
            let value = parameters.take(key);
            if let Some(value) = &value {
                check_value(key, value)?;
            }
            Ok(value)
        };
        let dubbo = Self {
            group: take("group")?,
            version: take("version")?,
            protocol: take("protocol")?,
            application: take("application")?.unwrap_or(defaults.application),
            methods: take("methods")?.unwrap_or(defaults.methods),
            consumer: take("consumer")?,
        };
        parameters.end()?;
        Ok(dubbo)
    }

    /// Whether a provider is of our group, version and protocol, and a provider at all.
    fn wants(&self, url: &Url<'_>, service: &ServiceName) -> bool {
        let is = |ours: &Option<String>, stated: Option<&str>| {
            ours.as_deref() == Some("*") || ours.as_deref().unwrap_or_default() == stated.unwrap_or_default()
        };
        is(&self.group, url.get("group"))
            && is(&self.version, url.get("version"))
            && self.protocol.as_ref().is_none_or(|protocol| *protocol == url.protocol)
            && url.get("category").is_none_or(|category| category == "providers")
            && url.get("interface").unwrap_or(&url.path) == service.as_str()
    }
}

impl Format for Dubbo {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for Dubbo {
    fn directories(&self, service: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        if service.as_str().contains('/') {
            return Err(refuse(format!(
                "format dubbo: a service is an interface, one segment, not {service}"
            )));
        }
        let interface = percent::encode(service.as_str());
        [PROVIDERS, CONFIGURATORS].iter().map(|kind| format!("{interface}/{kind}").parse()).collect()
    }

    fn service_of(&self, directory: &ServiceName) -> Option<ServiceName> {
        let interface = directory.as_str().strip_suffix(PROVIDERS)?.strip_suffix('/')?;
        percent::decode(interface)
            .parse()
            .ok()
            .filter(|service: &ServiceName| !service.as_str().contains('/'))
    }

    /// The data is of no meaning; every writer puts something else there.
    fn encode(
        &self,
        _: &ServiceName,
        _: &InstanceId,
        _: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }

    fn record(&self, place: &Place<'_>, instance: &Instance) -> Result<Record, Error> {
        self.carries().check(NAME, instance)?;
        check_address(NAME, place.id, instance)?;
        if [&self.group, &self.version].into_iter().any(|one| one.as_deref() == Some("*")) {
            return Err(refuse("format dubbo: the group or version `*` is for readers".to_owned()));
        }
        let directory = self.directories(place.service)?.swap_remove(0);
        let name = percent::encode(&self.url(place, instance)?).parse()?;
        Ok(Record { directory, name, data: Vec::new() })
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, _: &[u8]) -> Result<Decoded, String> {
        decoded(&Url::read(name.as_str()).map_err(|why| format!("the name is no url: {why}"))?)
    }

    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        let name = child.name.as_str();
        if child.directory > 0 {
            let rule = Override::read(name).map_err(|why| format!("the name is no rule: {why}"))?;
            let rules = |rule| Reading::Rules(Rules::new(Rule::Override(rule), child.name, &[]));
            return Ok(rule.map_or(Reading::Ignored, rules));
        }
        let url = Url::read(name).map_err(|why| format!("the name is no url: {why}"))?;
        if !self.wants(&url, service) {
            return Ok(Reading::Ignored);
        }
        decoded(&url).map(Reading::Member)
    }

    fn apply(&self, rules: &[Arc<Rules>], _: &NodeName, instance: &Instance) -> Option<Instance> {
        let rules = rules.iter().filter_map(|rules| match &rules.rule {
            Rule::Override(rule) => Some(rule),
            Rule::Vector(_) => None,
        });
        overrides::apply(rules.collect(), self.group.as_deref(), self.version.as_deref(), instance)
    }

    fn rules_in(&self) -> Option<usize> {
        Some(1)
    }

    fn unamendable(&self, _: Amendment<'_>) -> Option<String> {
        let is_of_many = [&self.group, &self.version].into_iter().any(|one| one.as_deref() == Some("*"));
        is_of_many.then(|| {
            "a rule is for one group and one version: name them, as in dubbo:group=g,version=1.0.0".to_owned()
        })
    }

    fn amend_rules(
        &self,
        service: &ServiceName,
        (_, instance): (&NodeName, &Instance),
        rules: &[Arc<Rules>],
        amendment: Amendment<'_>,
    ) -> Result<RuleChange, String> {
        let part = Part { service, group: self.group.as_deref(), version: self.version.as_deref() };
        amend::amend(part, instance, rules, amendment)
    }

    fn is_composed(&self) -> bool {
        true
    }

    fn reader(&self, place: &Place<'_>, instance: &Instance) -> Option<Result<Record, Error>> {
        let consumer = Consumer {
            application: self.consumer.as_deref()?,
            group: self.group.as_deref(),
            version: self.version.as_deref(),
            protocol: self.protocol.as_deref(),
            methods: &self.methods,
        };
        Some(consumer.record(place, instance))
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries { ssl_port: false, ..Carries::EVERYTHING }
    }

    fn weight_unit(&self) -> u16 {
        UNIT
    }
}

impl Dubbo {
    /// The url of an instance, which is encoded once, as a whole.
    fn url(&self, place: &Place<'_>, instance: &Instance) -> Result<String, Error> {
        let weight = u32::from(instance.weight().get()) * u32::from(UNIT);
        let mut parameters: Vec<(&str, String)> = vec![
            ("application", self.application.clone()),
            ("deprecated", "false".to_owned()),
            ("dubbo", url::PROTOCOL_VERSION.to_owned()),
            ("dynamic", "true".to_owned()),
            ("generic", "false".to_owned()),
            ("interface", place.service.to_string()),
            ("methods", self.methods.clone()),
            ("pid", std::process::id().to_string()),
            ("release", url::CLIENT.to_owned()),
            ("side", "provider".to_owned()),
            (TIMESTAMP, milliseconds(place.registered).to_string()),
        ];
        parameters.extend(self.group.clone().map(|group| ("group", group)));
        parameters.extend(self.version.clone().map(|version| ("version", version)));
        if weight != u32::from(UNIT) {
            parameters.push(("weight", weight.to_string()));
        }
        if instance.status() == Status::Draining {
            parameters.push(("disabled", "true".to_owned()));
        }
        if let Some(zone) = instance.zone() {
            check_value("zone", zone)?;
            parameters.push(("zone", zone.to_owned()));
        }
        for (key, value) in instance.metadata() {
            check_key(key)?;
            check_value(key, value)?;
            parameters.push((key, value.clone()));
        }
        parameters.sort();
        let query: Vec<_> = parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let protocol = self.protocol.as_deref().unwrap_or("dubbo");
        Ok(format!("{protocol}://{}/{}?{}", instance.address(), place.service, query.join("&")))
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    let why = if is_no_metadata(key) || DUBBO_S.contains(&key) {
        "it means something to Dubbo"
    } else if key.is_empty()
        || key.trim() != key
        || key.contains(['=', '&', ';', '#', '?'])
        || key.contains(char::is_control)
    {
        "a url cannot carry it"
    } else if key.starts_with("default.") || key.ends_with("timestamp") || key.ends_with("pid") {
        "Dubbo misreads it"
    } else {
        return Ok(());
    };
    Err(refuse(format!("format dubbo: the metadata key {key:?}: {why}")))
}

fn check_value(key: &str, value: &str) -> Result<(), Error> {
    url::check_value(key, value).map_err(|why| refuse(format!("format dubbo: {why}")))
}

/// The provider of a url.
fn decoded(url: &Url<'_>) -> Result<Decoded, String> {
    let port = url.port.filter(|port| *port != 0).ok_or("the url has no port")?;
    let instance =
        Instance::new(url.host.as_str(), port).with_attributes(attributes(url)).with_warm_up(warm_up(url));
    let id = instance.id().map_err(|error| error.to_string())?;
    Ok(Decoded { instance: instance.with_id(id), owner: None })
}

/// The warm-up that a provider asks for. Java's readers hold one of ten minutes against each that states when it began; here it has
/// to say so, or a rule.
fn warm_up(url: &Url<'_>) -> StatedWarmUp {
    let (began, span) = (url.get(TIMESTAMP), url.get(WARM_UP));
    StatedWarmUp {
        began: began.and_then(|began| began.parse().ok()),
        span: span.and_then(|span| span.parse().ok()),
    }
}

fn attributes(url: &Url<'_>) -> Attributes {
    let mut attributes =
        Attributes { weight: NonZeroU16::new(UNIT).unwrap_or(NonZeroU16::MIN), ..Attributes::default() };
    let is_off = match (url.get("disabled"), url.get("enabled")) {
        (Some(disabled), _) => disabled == "true",
        (None, enabled) => enabled == Some("false"),
    };
    if is_off {
        attributes.status = Status::Draining;
    }
    if let Some(weight) = url.get("weight") {
        overrides::set_weight(&mut attributes, weight);
    }
    attributes.zone = url.get("zone").filter(|zone| !zone.is_empty()).map(str::to_owned);
    for (key, value) in url.parameters() {
        if !is_no_metadata(key) {
            attributes.metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    attributes
}

/// Whether a parameter is read as something else than metadata, or says nothing to a consumer.
fn is_no_metadata(key: &str) -> bool {
    let is_read = matches!(
        key,
        "category"
            | "disabled"
            | "dynamic"
            | "enabled"
            | "group"
            | "interface"
            | "version"
            | "weight"
            | "zone"
    );
    let is_noise = matches!(
        key,
        "anyhost"
            | "background"
            | "bind.ip"
            | "bind.port"
            | "deprecated"
            | "dubbo"
            | "generic"
            | "pid"
            | "register"
            | "release"
            | "revision"
            | "service-name-mapping"
            | "side"
            | TIMESTAMP
            | WARM_UP
    );
    is_read || is_noise || key.starts_with("qos.")
}

const NAME: &str = "dubbo";
const PROVIDERS: &str = "providers";
const CONFIGURATORS: &str = "configurators";
/// The weight of a provider that states none.
const UNIT: u16 = 100;
/// Parameters that are metadata when they are read, and that an instance of ours must not state otherwise.
const DUBBO_S: [&str; 14] = [
    "application",
    "classifier",
    "cluster",
    "codec",
    "connections",
    "dubbo.tag",
    "loadbalance",
    "methods",
    "payload",
    "prefer.serialization",
    "retries",
    "serialization",
    "timeout",
    "token",
];
