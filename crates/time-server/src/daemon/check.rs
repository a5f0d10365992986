//! Judging a configuration without connecting to anything.

use std::fmt::Write as _;

use zk_registry::Registry;
use zk_registry::cli::UsageError;

use crate::daemon::advertise::plan;
use crate::daemon::args::Args;
use crate::daemon::config::Config;

/// Says in one line what a server of these arguments would do.
///
/// Reads the files that the arguments name; listens on nothing, and connects to nothing.
///
/// # Errors
///
/// A flag with a value that is refused, or a file that cannot be read or parsed; the error names it and what is accepted.
pub fn check(args: Args) -> Result<String, UsageError> {
    let config = Config::try_from(args)?;
    plan(&config.listen, &config.advertise, config.pod_ip)?;
    let registry = &config.registry;
    Registry::check(&registry.to, &registry.options).map_err(|error| UsageError::from_registry(&error))?;
    let listeners: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    let further = registry.options.further.iter().map(|source| &source.base);
    let bases = std::iter::once(&registry.options.base).chain(further).zip(&registry.formats);
    let places: Vec<_> = bases.map(|(base, format)| format!("below {base} (format {format})")).collect();
    let mut line = format!(
        "would register {} as service {} {} of ZooKeeper {}",
        listeners.join(", "),
        registry.service,
        places.join(" and "),
        registry.to,
    );
    if let Some(admin) = &config.admin {
        // Writing to a string does not fail.
        let _ = write!(line, ", admin endpoint on {admin}");
    }
    Ok(line)
}
