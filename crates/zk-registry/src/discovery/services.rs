//! Which services exist: a walk down the tree, level by level, for people and scripts.

use crate::error::Error;
use crate::format::{Format, NodeKind};
use crate::instance::{BasePath, NodeName, ServiceName};
use crate::store::pipeline::{SINGLES, in_order, read_all, settled};
use crate::store::{Fault, Node, Store};

/// A node whose children are looked at; `None` is the base path.
type Parent = Option<ServiceName>;

/// The services below the base path: every node with a child that is an instance, or may be one that cannot be read.
///
/// The requests of one level are sent together, so that a level costs two round trips; depth has no limit but the longest
/// service name.
pub(crate) async fn walk(
    store: &dyn Store,
    base: &BasePath,
    format: &dyn Format,
) -> Result<Vec<ServiceName>, Error> {
    let mut services = Vec::new();
    let mut level: Vec<Parent> = vec![None];
    while !level.is_empty() {
        let listings = settled(level.iter().map(|parent| store.list(&path(base, parent))), SINGLES).await;
        let mut children: Vec<(usize, String)> = Vec::new();
        for (n, listing) in listings.into_iter().enumerate() {
            match listing {
                Ok((names, _)) => children.extend(names.into_iter().map(|name| (n, name))),
                Err(Fault::NoNode) => {}
                Err(fault) => return Err(fault.while_reading(&path(base, &level[n]))),
            }
        }
        let paths: Vec<_> = children.iter().map(|(n, name)| base.child(level[*n].as_ref(), name)).collect();
        let nodes = in_order(read_all(store, &paths)).await;
        let nodes = nodes.map_err(|fault| fault.while_reading(&base.to_string()))?;
        let mut has_instances = vec![false; level.len()];
        let mut below = Vec::new();
        for ((n, name), node) in children.iter().zip(nodes.into_iter().flatten()) {
            let parent = level[*n].as_ref();
            match node {
                Err(Fault::NoNode) => {}
                Err(_) => has_instances[*n] = true,
                Ok(node) if node.stat.owner != 0 || is_instance(format, parent, name, &node) => {
                    has_instances[*n] = true;
                }
                Ok(node) if node.stat.children > 0 => {
                    below.extend(child(base, parent, name).map(Some));
                }
                Ok(_) => {}
            }
        }
        let found = level.into_iter().zip(has_instances).filter(|(_, has_instances)| *has_instances);
        services.extend(found.filter_map(|(parent, _)| parent));
        level = below;
    }
    services.sort();
    Ok(services)
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
