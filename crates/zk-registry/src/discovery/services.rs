//! Which services exist: a walk down the tree, level by level.

use std::collections::{BTreeMap, BTreeSet};

use super::bulk;
use super::lookup::exists;
use crate::error::Error;
use crate::format::Format;
use crate::format::sealed::NodeKind;
use crate::instance::{BasePath, NodeName, ServiceName};
use crate::options::RecordLimits;
use crate::store::pipeline::{SINGLES, settled};
use crate::store::{Fault, Node, Store};

/// How many children are read at once in search of a witness: one of the first is, as a rule.
const AT_ONCE: usize = 32;

/// A node whose children are looked at; `None` is the base path.
type Parent = Option<ServiceName>;

/// The directories of services below the base path, each with a witness: every node with a child that is an instance, or may be one that
/// cannot be read, and the name of such a child.
///
/// The requests of one level are sent together, so that a level costs two round trips; depth has no limit but the longest
/// service name.
pub(crate) async fn walk(
    store: &dyn Store,
    base: &BasePath,
    format: &dyn Format,
    limits: RecordLimits,
) -> Result<BTreeMap<ServiceName, String>, Error> {
    let mut services = BTreeMap::new();
    let mut level: Vec<Parent> = vec![None];
    while !level.is_empty() {
        let listings = settled(level.iter().map(|parent| store.list(&path(base, parent))), SINGLES).await;
        let mut children: Vec<(usize, String)> = Vec::new();
        for (n, listing) in listings.into_iter().enumerate() {
            match listing {
                Ok((names, _)) => children.extend(names.into_iter().map(|name| (n, name))),
                Err(Fault::NoNode) if level[n].is_some() => {}
                Err(Fault::NoNode) => {
                    exists(store).await.map_err(|fault| fault.while_reading(&base.to_string()))?;
                }
                Err(fault) => return Err(fault.while_reading(&path(base, &level[n]))),
            }
        }
        let paths: Vec<_> = children.iter().map(|(n, name)| base.child(level[*n].as_ref(), name)).collect();
        let nodes = bulk::read(store, &paths, String::clone, limits, |name, answer| (name, answer)).await;
        let nodes = nodes.map_err(|fault| fault.while_reading(&base.to_string()))?;
        let mut witnesses = vec![None; level.len()];
        let mut below = Vec::new();
        for ((n, name), (_, node)) in children.iter().zip(nodes) {
            let parent = level[*n].as_ref();
            if is_witness(format, parent, name, &node) {
                witnesses[*n].get_or_insert_with(|| name.clone());
            } else if node.is_ok_and(|node| node.stat.children > 0) {
                below.extend(child(base, parent, name).map(Some));
            }
        }
        let found = level.into_iter().zip(witnesses);
        services.extend(found.filter_map(|(parent, witness)| Some((parent?, witness?))));
        level = below;
    }
    Ok(services)
}

/// The services whose directories these are.
pub(crate) fn of_directories<'a>(
    directories: impl Iterator<Item = &'a ServiceName>,
    format: &dyn Format,
) -> BTreeSet<ServiceName> {
    directories.filter_map(|directory| format.service_of(directory)).collect()
}

/// The name of a child of the service's node `root` that is an instance, or may be one that cannot be read: `known`, if it
/// still is. `None`: there is none.
pub(super) async fn witness(
    store: &dyn Store,
    root: &str,
    service: &ServiceName,
    format: &dyn Format,
    limits: RecordLimits,
    known: Option<String>,
) -> Result<Option<String>, Error> {
    let failed = |fault: Fault| fault.while_reading(root);
    let path = |name: &String| format!("{root}/{name}");
    let stands = |(name, node): &(String, Result<Node, Fault>)| is_witness(format, Some(service), name, node);
    if let Some(known) = known {
        let nodes =
            bulk::read(store, &[known], path, limits, |name, answer| (name, answer)).await.map_err(failed)?;
        if let Some((known, _)) = nodes.into_iter().find(stands) {
            return Ok(Some(known));
        }
    }
    let names = match store.list(root).await {
        Ok((names, _)) => names,
        Err(Fault::NoNode) => return Ok(None),
        Err(fault) => return Err(failed(fault)),
    };
    for some in names.chunks(AT_ONCE) {
        let nodes =
            bulk::read(store, some, path, limits, |name, answer| (name, answer)).await.map_err(failed)?;
        if let Some((name, _)) = nodes.into_iter().find(stands) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether a child is an instance, or may be one that cannot be read.
fn is_witness(
    format: &dyn Format,
    parent: Option<&ServiceName>,
    name: &str,
    node: &Result<Node, Fault>,
) -> bool {
    match node {
        Err(Fault::NoNode) => false,
        Err(_) => true,
        Ok(node) => node.stat.owner != 0 || is_instance(format, parent, name, node),
    }
}

fn path(base: &BasePath, parent: &Parent) -> String {
    parent.as_ref().map_or_else(|| base.to_string(), |service| base.service(service))
}

/// The service that a child would be; `None` for a name that no registry could have written.
fn child(base: &BasePath, parent: Option<&ServiceName>, name: &str) -> Option<ServiceName> {
    let child = parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}/{name}"));
    child.parse().ok().filter(|child| base.allows(child))
}

/// Whether a node that no session owns is an instance all the same.
fn is_instance(format: &dyn Format, parent: Option<&ServiceName>, name: &str, node: &Node) -> bool {
    let kind = NodeKind { ephemeral: false, children: node.stat.children };
    let (Some(service), Ok(node_name)) = (parent, name.parse::<NodeName>()) else { return false };
    !format.is_namespace(kind, &node.data) && format.decode(service, &node_name, &node.data).is_ok()
}
