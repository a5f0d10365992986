//! Which services exist: a walk down the tree, for people and scripts.

use crate::error::Error;
use crate::format::{Format, NodeKind};
use crate::instance::BasePath;
use crate::instance::{InstanceId, ServiceName};
use crate::store::{Fault, Node, Store, limits};

/// How many levels below the base path are looked at.
const DEPTH: usize = 8;
/// Every node below the base path that has a child which is an instance, or would be if it could be read.
pub(crate) async fn walk(
    store: &dyn Store,
    base: &BasePath,
    format: &dyn Format,
) -> Result<Vec<ServiceName>, Error> {
    let mut services = Vec::new();
    let mut level: Vec<Option<ServiceName>> = vec![None];
    for _ in 0..DEPTH {
        let mut below = Vec::new();
        for parent in level {
            let path = parent.as_ref().map_or_else(|| base.to_string(), |service| base.service(service));
            let names = match store.list(&path).await {
                Ok((names, _)) => names,
                Err(Fault::NoNode) => continue,
                Err(fault) => return Err(fault.while_reading(&path)),
            };
            let paths: Vec<String> = names.iter().map(|name| base.child(parent.as_ref(), name)).collect();
            let mut has_instances = false;
            let mut names = names.iter();
            for paths in limits::reads(&paths) {
                let nodes = store.read(paths).await.map_err(|fault| fault.while_reading(&path))?;
                for (node, name) in nodes.into_iter().zip(names.by_ref()) {
                    let child =
                        parent.as_ref().map_or_else(|| name.clone(), |parent| format!("{parent}/{name}"));
                    // A name that we could not have written is nobody's service.
                    let child = child.parse::<ServiceName>().ok().filter(|child| base.allows(child));
                    match node {
                        Err(Fault::NoNode) => {}
                        Err(_) => has_instances = true,
                        Ok(node)
                            if node.stat.owner != 0 || is_instance(format, parent.as_ref(), name, &node) =>
                        {
                            has_instances = true;
                        }
                        Ok(node) if node.stat.children > 0 => below.extend(child.map(Some)),
                        Ok(_) => {}
                    }
                }
            }
            services.extend(parent.filter(|_| has_instances));
        }
        level = below;
    }
    services.sort();
    Ok(services)
}

/// Whether a node that no session owns is an instance all the same.
fn is_instance(format: &dyn Format, parent: Option<&ServiceName>, name: &str, node: &Node) -> bool {
    let kind = NodeKind { ephemeral: false, children: node.stat.children };
    let (Some(service), Ok(id)) = (parent, name.parse::<InstanceId>()) else { return false };
    !format.is_namespace(kind, &node.data) && format.decode(service, &id, &node.data).is_ok()
}
