//! What operators say about instances from beside them.

use super::dubbo::overrides::Override;
use super::serverset::vector::Vector;
use crate::instance::NodeName;

/// The content of one node that states something about instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub(super) rule: Rule,
    node: NodeName,
    data: Vec<u8>,
}

/// A rule, by the format that has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    Override(Override),
    Vector(Vector),
}

impl Rules {
    /// What the node of this name states. `data`: what of the node's has to be read to find the same again.
    pub(super) fn new(rule: Rule, node: &NodeName, data: &[u8]) -> Self {
        Self { rule, node: node.clone(), data: data.to_owned() }
    }

    /// The name of its node.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The data from which, and from the name, it was read.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}
