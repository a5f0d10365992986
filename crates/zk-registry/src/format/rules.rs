//! What operators say about instances from beside them.

use super::dubbo::overrides::Override;
use super::serverset::vector::Vector;

/// The content of one node that states something about instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules(pub(super) Rule);

/// A rule, by the format that has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    Override(Override),
    Vector(Vector),
}
