//! What an operator changes of a provider that is not his: rules for its address alone, beside the providers. Its own node's name says
//! everything that it says, so that another name, and so another node with another owner, would be needed there.

use std::sync::Arc;

use super::overrides::{self, Override};
use super::url::check_value;
use crate::format::percent;
use crate::format::rules::{Rule, Rules};
use crate::format::sealed::{Amendment, RuleChange};
use crate::instance::{DRAIN_REASON, Instance, NodeName, ServiceName, Status};

/// Whose providers a rule is for: of one group, or of none, and so of one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) group: Option<&'a str>,
    pub(super) version: Option<&'a str>,
}

/// The change of the rules after which the provider is as wished for.
///
/// Every rule for its address alone loses what it says of this; then, if that is not enough, one more says it. A rule for many, or one
/// with conditions, stays as it is.
pub(super) fn amend(
    part: Part<'_>,
    instance: &Instance,
    rules: &[Arc<Rules>],
    amendment: Amendment<'_>,
) -> Result<RuleChange, String> {
    let (keys, stated): (&[&str], Vec<(&str, String)>) = match amendment {
        Amendment::Status(Status::Draining, reason) => {
            let mut stated = vec![(DISABLED, "true".to_owned())];
            if let Some(reason) = reason {
                check_value(DRAIN_REASON, reason)?;
                stated.push((DRAIN_REASON, reason.to_owned()));
            }
            (&[DISABLED, DRAIN_REASON], stated)
        }
        Amendment::Status(..) => (&[DISABLED, DRAIN_REASON], vec![(DISABLED, "false".to_owned())]),
        Amendment::Weight(weight) => (&[WEIGHT], vec![(WEIGHT, weight.to_string())]),
    };
    let is_met = |change: &RuleChange| {
        let after = after(part, instance, rules, change)?;
        Ok::<_, String>(match amendment {
            Amendment::Status(status, _) => after.status() == status,
            Amendment::Weight(weight) => after.weight() == weight,
        })
    };
    let mut change = without(part, instance, rules, keys)?;
    let needs_no_more = !matches!(amendment, Amendment::Status(Status::Draining, _)) && is_met(&change)?;
    if !needs_no_more {
        change.add(rule(part, instance, &stated)?);
        if !is_met(&change)? {
            return Err("another rule beside it says otherwise, with conditions or a priority: change that"
                .to_owned());
        }
    }
    Ok(change.in_short())
}

impl RuleChange {
    fn add(&mut self, name: NodeName) {
        self.new.push((name, Vec::new()));
    }

    /// What goes and comes back stays.
    fn in_short(mut self) -> Self {
        let both: Vec<_> =
            self.gone.extract_if(.., |name| self.new.iter().any(|(new, _)| new == name)).collect();
        self.new.retain(|(name, _)| !both.contains(name));
        self
    }
}

/// Takes these keys out of every rule for this address alone.
fn without(
    part: Part<'_>,
    instance: &Instance,
    rules: &[Arc<Rules>],
    keys: &[&str],
) -> Result<RuleChange, String> {
    let mut change = RuleChange::default();
    for node in rules {
        let Rule::Override(rule) = &node.rule else { continue };
        let mut stated = rule.stated().filter(|(key, _)| keys.contains(key)).peekable();
        if !rule.is_for_one(part.group, part.version, instance) || stated.peek().is_none() {
            continue;
        }
        change.gone.push(node.node().clone());
        if rule.stated().any(|(key, _)| !keys.contains(&key)) {
            change.add(named(&rule.without(keys))?);
        }
    }
    Ok(change)
}

/// The provider as it will be.
fn after(
    part: Part<'_>,
    instance: &Instance,
    rules: &[Arc<Rules>],
    change: &RuleChange,
) -> Result<Instance, String> {
    let new: Vec<_> = (change.new.iter())
        .map(|(name, _)| Ok::<_, String>((name, Override::read(name.as_str())?)))
        .collect::<Result<_, _>>()?;
    let stay = rules.iter().filter(|node| !change.gone.contains(node.node()));
    let stay = stay.filter_map(|node| match &node.rule {
        Rule::Override(rule) => Some((node.node(), rule)),
        Rule::Vector(_) => None,
    });
    let new = new.iter().filter_map(|(name, rule)| Some((*name, rule.as_ref()?)));
    let mut all: Vec<_> = stay.chain(new).collect();
    // As readers have them.
    all.sort_by_key(|(name, _)| *name);
    let all = all.into_iter().map(|(_, rule)| rule).collect();
    Ok(overrides::apply(all, part.group, part.version, instance).unwrap_or_else(|| instance.clone()))
}

/// A rule for this address alone.
fn rule(part: Part<'_>, instance: &Instance, stated: &[(&str, String)]) -> Result<NodeName, String> {
    let mut parameters = vec![
        ("category", "configurators".to_owned()),
        ("dynamic", "false".to_owned()),
        ("enabled", "true".to_owned()),
    ];
    parameters.extend(part.group.map(|group| ("group", group.to_owned())));
    parameters.extend(part.version.map(|version| ("version", version.to_owned())));
    parameters.extend(stated.iter().cloned());
    parameters.sort();
    let query: Vec<_> = parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
    named(&format!("override://{}/{}?{}", instance.address(), part.service, query.join("&")))
}

fn named(url: &str) -> Result<NodeName, String> {
    percent::encode(url).parse().map_err(|error: crate::error::Error| error.to_string())
}

const DISABLED: &str = "disabled";
const WEIGHT: &str = "weight";
