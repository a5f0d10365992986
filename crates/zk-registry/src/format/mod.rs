//! How an instance is written in ZooKeeper, and read back.
//!
//! A format is chosen per registry: [`Curator`] (the default), [`CuratorStrict`] for fleets with very old readers, [`Plain`] for
//! the program of 2016, whose node names are addresses, and the dialects of other fleets. [`named()`] takes the word of each, and
//! its parameters. Records are private: what leaves this module is an [`Instance`](crate::Instance).
//!
//! Weights have units: an instance of ours with weight 1 is written with the weight that an instance without one has in the
//! dialect, and a snapshot states the weights as they stand in ZooKeeper.

mod armeria;
mod curator;
mod digits;
mod dubbo;
mod dubbo_app;
mod fields;
mod jackson;
mod kitex;
mod kratos;
mod motan;
mod named;
mod nerve;
mod parameters;
mod percent;
mod plain;
mod readers;
mod rules;
pub(crate) mod sealed;
mod serverset;
pub(crate) mod shards;
mod spring;

use std::fmt;

pub use self::armeria::Armeria;
pub use self::curator::{Curator, CuratorStrict};
pub use self::dubbo::Dubbo;
pub use self::dubbo_app::DubboApp;
pub use self::kitex::Kitex;
pub use self::kratos::Kratos;
pub use self::motan::Motan;
pub use self::named::{NAMES, named};
pub use self::nerve::Nerve;
pub use self::plain::Plain;
pub(crate) use self::readers::Readers;
pub use self::serverset::ServerSet;
pub use self::spring::Spring;

/// A way to write instances into ZooKeeper. Sealed until 1.0.
pub trait Format: fmt::Debug + Send + Sync + sealed::Codec {
    /// The word that selects this format in configuration, as [`named()`] takes it.
    fn name(&self) -> &'static str;
}

#[cfg(test)]
mod tests;
