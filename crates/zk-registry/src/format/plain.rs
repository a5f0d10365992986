//! Node names that are addresses, and no data.

/// Node names that are addresses, and no data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;
