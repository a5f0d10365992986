//! Which node is which instance, where a format names the node otherwise than the instance.

use std::collections::HashMap;

use crate::instance::{InstanceId, NodeName};
use crate::snapshot::Member;

/// The nodes whose names are not the ids of their instances. Empty for the formats whose names are.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<NodeName, InstanceId>);

impl Names {
    /// The nodes of these instances.
    pub(super) fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let mut names = Self::default();
        members.for_each(|member| names.insert(member));
        names
    }

    /// The id of the instance that the node of this name is; `None`: if it is one, its id is the name.
    pub(super) fn id(&self, node: &str) -> Option<&InstanceId> {
        self.0.get(node)
    }

    /// The node of this instance has its name.
    pub(super) fn insert(&mut self, member: &Member) {
        if let Some(node) = &member.node {
            self.0.insert(node.clone(), member.id.clone());
        }
    }

    /// The node of this name is no instance any more.
    pub(super) fn remove(&mut self, node: &str) {
        if !self.0.is_empty() {
            self.0.remove(node);
        }
    }
}
