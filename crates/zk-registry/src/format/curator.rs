//! Curator's JSON.

/// Curator's JSON with our own fields under one extra key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Curator;

/// Exactly Curator's nine fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct CuratorStrict;
