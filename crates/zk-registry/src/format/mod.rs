//! How an instance is written in ZooKeeper, and read back.
//!
//! A format is chosen per registry: [`Curator`] (the default), [`Spring`], [`CuratorStrict`] for fleets with very old readers, and
//! [`Plain`] for the program of 2016, whose node names are addresses. Records are private: what leaves this module is an
//! [`Instance`](crate::Instance).

mod curator;
mod fields;
mod jackson;
mod named;
mod plain;
mod rules;
pub(crate) mod sealed;
mod spring;

use std::fmt;

pub use self::curator::{Curator, CuratorStrict};
pub use self::named::named;
pub use self::plain::Plain;
pub use self::spring::Spring;

/// A way to write instances into ZooKeeper. Sealed until 1.0.
pub trait Format: fmt::Debug + Send + Sync + sealed::Codec {
    /// The word that selects this format in configuration, as [`named()`] takes it.
    fn name(&self) -> &'static str;
}

#[cfg(test)]
mod tests;
