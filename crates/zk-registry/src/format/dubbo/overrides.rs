//! Rules of operators: `override://` and `absent://` urls beside the providers.

use std::num::NonZeroU16;
use std::str::FromStr;

use super::url::{TIMESTAMP, Url, WARM_UP};
use crate::instance::warm_up::StatedWarmUp;
use crate::instance::{Attributes, Instance, Status};

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::format) struct Override(Url<'static>);

/// Which provider or consumer a rule is for, and how it is applied: no parameters of the provider.
const OF_THE_RULE: [&str; 11] = [
    "application",
    "category",
    "check",
    "compatible_config",
    "dynamic",
    "enabled",
    "group",
    "interface",
    "priority",
    "side",
    "version",
];

impl Override {
    /// Reads the name of a node; `None` for what is no rule in force.
    pub(super) fn read(name: &str) -> Result<Option<Self>, &'static str> {
        let url = Url::read(name)?;
        let is_rule = matches!(url.protocol.as_str(), "override" | "absent")
            && url.get("category").is_none_or(|category| category == "configurators")
            && url.get("enabled").is_none_or(|enabled| enabled != "false");
        Ok(is_rule.then(|| Self(url.into_owned())))
    }

    /// Whether the rule is for this provider alone, whatever else is so.
    pub(super) fn is_for_one(&self, group: Option<&str>, version: Option<&str>, instance: &Instance) -> bool {
        let url = &self.0;
        let has_conditions =
            url.parameters().any(|(key, _)| matches!(key, "application" | "side") || key.starts_with('~'));
        url.protocol == "override"
            && url.port.is_some_and(|port| port != 0)
            && url.host != ANY_HOST
            && !has_conditions
            && self.matches(group, version, instance)
    }

    /// What the rule says of a provider.
    pub(super) fn stated(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.parameters().filter(|(key, _)| !OF_THE_RULE.contains(key) && !key.starts_with('~'))
    }

    /// The rule's url without some of its parameters.
    pub(super) fn without(&self, keys: &[&str]) -> String {
        let url = &self.0;
        let kept = url.parameters().filter(|(key, _)| !keys.contains(key));
        let query: Vec<_> = kept.map(|(key, value)| format!("{key}={value}")).collect();
        let address = Instance::new(url.host.as_str(), url.port.unwrap_or_default()).address();
        format!("{}://{address}/{}?{}", url.protocol, url.path, query.join("&"))
    }

    /// Where the rule stands among others: the last one wins.
    fn order(&self) -> (&str, i64) {
        (&self.0.host, self.0.get("priority").and_then(|priority| priority.parse().ok()).unwrap_or(0))
    }

    fn matches(&self, group: Option<&str>, version: Option<&str>, instance: &Instance) -> bool {
        let url = &self.0;
        let agrees = |stated: Option<&str>, ours: Option<&str>| {
            stated == Some("*") || ours == Some("*") || stated.unwrap_or_default() == ours.unwrap_or_default()
        };
        let is_here = match url.port.filter(|port| *port != 0) {
            Some(port) => {
                port == instance.port()
                    && (url.host == ANY_HOST
                        || Instance::new(url.host.as_str(), port).host() == instance.host())
            }
            None => url.host == ANY_HOST,
        };
        let mut conditions = url.parameters().filter_map(|(key, value)| {
            (key == "application").then_some((key, value)).or_else(|| Some((key.strip_prefix('~')?, value)))
        });
        is_here
            && agrees(url.get("group"), group)
            && agrees(url.get("version"), version)
            && conditions.all(|(key, value)| {
                value == "*" || instance.metadata().get(key).is_some_and(|stated| stated == value)
            })
    }

    fn apply(&self, attributes: &mut Attributes, warm_up: &mut StatedWarmUp) {
        let only_missing = self.0.protocol == "absent";
        for (key, value) in self.0.parameters() {
            if OF_THE_RULE.contains(&key) || key.starts_with('~') {
                continue;
            }
            match key {
                "weight" if !only_missing => set_weight(attributes, value),
                "disabled" if !only_missing => {
                    attributes.status = if value == "true" { Status::Draining } else { Status::Up };
                }
                "weight" | "disabled" => {}
                TIMESTAMP => state(&mut warm_up.began, value, only_missing),
                WARM_UP => state(&mut warm_up.span, value, only_missing),
                _ if only_missing && attributes.metadata.contains_key(key) => {}
                _ => drop(attributes.metadata.insert(key.to_owned(), value.to_owned())),
            }
        }
    }
}

/// The instance as these rules make it; `None`: as it is.
pub(super) fn apply(
    rules: Vec<&Override>,
    group: Option<&str>,
    version: Option<&str>,
    instance: &Instance,
) -> Option<Instance> {
    let mut rules: Vec<_> = rules.into_iter().filter(|rule| rule.matches(group, version, instance)).collect();
    rules.sort_by_key(|rule| rule.order());
    let (mut attributes, mut warm_up) = (instance.attributes().clone(), instance.stated_warm_up());
    rules.iter().for_each(|rule| rule.apply(&mut attributes, &mut warm_up));
    let changes = attributes != *instance.attributes() || warm_up != instance.stated_warm_up();
    changes.then(|| instance.clone().with_attributes(attributes).with_warm_up(warm_up))
}

/// Replaces a number by the stated one, or only sets a missing one. A text that is no number changes nothing.
fn state<T: FromStr>(number: &mut Option<T>, text: &str, only_missing: bool) {
    if let Ok(stated) = text.trim().parse()
        && !(only_missing && number.is_some())
    {
        *number = Some(stated);
    }
}

/// Takes up a weight; 0 is never picked. A text that is no number changes nothing.
pub(super) fn set_weight(attributes: &mut Attributes, text: &str) {
    match text.trim().parse::<i64>() {
        Ok(weight) if weight <= 0 => attributes.status = Status::Draining,
        Ok(weight) => {
            let weight = u16::try_from(weight).unwrap_or(u16::MAX);
            attributes.weight = NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN);
        }
        Err(_) => {}
    }
}

const ANY_HOST: &str = "0.0.0.0";
