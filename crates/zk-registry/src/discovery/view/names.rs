//! Which node is which instance, where a format names the node otherwise than the instance.

use std::collections::HashMap;

use crate::instance::{InstanceId, NodeName};

/// The nodes whose names are not the ids of their instances, both ways. Empty for the formats whose names are.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<NodeName, InstanceId>,
    nodes: HashMap<InstanceId, NodeName>,
}

impl Names {
    /// The id of the instance that the node of this name is, if it is one.
    pub(super) fn id(&self, node: &str) -> Option<InstanceId> {
        self.ids.get(node).cloned().or_else(|| node.parse().ok())
    }

    /// The name of an instance's node.
    pub(super) fn node(&self, id: &InstanceId) -> NodeName {
        self.nodes.get(id).cloned().unwrap_or_else(|| id.clone().into())
    }

    /// The node of this name is this instance.
    pub(super) fn insert(&mut self, node: NodeName, id: &InstanceId) {
        if node.as_str() != id.as_str() {
            self.nodes.insert(id.clone(), node.clone());
            self.ids.insert(node, id.clone());
        }
    }

    /// The node of this name is no instance any more.
    pub(super) fn remove(&mut self, node: &str) {
        if let Some(id) = self.ids.remove(node) {
            self.nodes.remove(&id);
        }
    }
}
