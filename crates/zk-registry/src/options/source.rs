//! Where services live and how they are written: a base path and a format.

use std::sync::Arc;

use crate::format::Format;
use crate::instance::BasePath;

/// A further place where the instances of a service stand, in a format of its own: see [`Options::further`](super::Options::further).
///
/// ```
/// use zk_registry::{Options, Source, format};
///
/// let dubbo = Source::new("/dubbo".parse()?, format::named("dubbo:version=1.0.0")?);
/// let options = Options::default().with_source(dubbo);
/// assert_eq!(options.further.len(), 1);
/// # Ok::<(), zk_registry::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Source {
    /// The path below which services live.
    pub base: BasePath,
    /// How records are written and read.
    pub format: Arc<dyn Format>,
    /// Whether it is written, too. Defaults to [`SourceUse::ReadAndWrite`].
    pub usage: SourceUse,
}

/// What a [`Source`] is used for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SourceUse {
    /// Instances are looked for there.
    Read,
    /// Registrations stand there, too.
    #[default]
    ReadAndWrite,
}

impl Source {
    /// Services below this path, written and read like this.
    pub fn new(base: BasePath, format: Arc<dyn Format>) -> Self {
        Self { base, format, usage: SourceUse::default() }
    }

    /// Sets what it is used for.
    #[must_use]
    pub fn with_usage(mut self, usage: SourceUse) -> Self {
        self.usage = usage;
        self
    }
}
