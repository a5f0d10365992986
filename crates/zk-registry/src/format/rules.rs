//! What operators say about instances from beside them.

/// The content of one node that is a rule, as its format understands it.
#[derive(Debug, PartialEq)]
pub enum Rules {}
