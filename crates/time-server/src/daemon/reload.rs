//! Reading the configuration again while the server runs.
//!
//! What differs between the file of then and the file of now is applied, and nothing else: a weight or a status that an
//! operator wrote to the node stays. A file that cannot be used changes nothing.

use std::ffi::OsString;

use tokio::sync::watch;
use tracing::{error, info, warn};
use zk_registry::cli::UsageError;
use zk_registry::{Attributes, Registry, Secrets};

use crate::daemon::config::Config;
use crate::daemon::load::{Loaded, NotLoaded};
use crate::daemon::logging::LogFilter;
use crate::daemon::metrics::{Metrics, Reloaded};
use crate::daemon::secrets_in_use::SecretsInUse;
use crate::daemon::service_manager;

/// Applies a configuration that has changed. Made by [`Daemon::reload`](crate::daemon::Daemon::reload).
#[derive(Debug)]
pub struct Reload {
    pub(crate) words: Vec<OsString>,
    pub(crate) loaded: Loaded,
    pub(crate) filter: LogFilter,
    pub(crate) attributes: watch::Sender<Attributes>,
    pub(crate) secrets: SecretsInUse,
    pub(crate) metrics: Metrics,
}

impl Reload {
    /// Whether there is a file to read again.
    pub fn has_file(&self) -> bool {
        self.loaded.has_file()
    }

    /// Reads the configuration and the files that it names again, applies each changed key that can be changed in place, and
    /// logs the others. A configuration that is refused changes nothing. Blocks for as long as the files take to read.
    pub fn reload(&mut self) {
        service_manager::reloading();
        match self.read() {
            Ok((loaded, config)) => self.apply(loaded, config),
            Err(why) => {
                self.metrics.count_reload(Reloaded::Refused);
                error!(%why, "the configuration cannot be used; the old one stays");
            }
        }
        service_manager::ready();
    }

    fn read(&self) -> Result<(Loaded, Config), UsageError> {
        let loaded = Loaded::from_words(&self.words).map_err(|error| match error {
            NotLoaded::Answer(answer) => UsageError::from_clap(&answer),
            NotLoaded::Usage(error) => error,
        })?;
        let config = Config::try_from(loaded.cli.serve.clone()).and_then(|config| {
            let registry = &config.registry;
            let checked = Registry::check(&registry.to, &registry.options);
            checked.map(|()| config).map_err(|error| UsageError::from_registry(&error))
        });
        match config {
            Ok(config) => Ok((loaded, config)),
            Err(error) => Err(loaded.locate(error)),
        }
    }

    fn apply(&mut self, loaded: Loaded, config: Config) {
        let changed = loaded.differences(&self.loaded);
        let (now, later): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|flag| RELOADED.contains(&flag.as_str()));
        self.attributes.send_if_modified(|attributes| {
            let old = attributes.clone();
            // Their status is no part of the file.
            attributes.weight = config.attributes.weight;
            attributes.zone = config.attributes.zone;
            attributes.metadata = config.attributes.metadata;
            *attributes != old
        });
        if let Err(error) = self.filter.set(&loaded.cli.serve.log_filter) {
            warn!(%error, "the log filter stays as it was");
        }
        let (credentials, tls) = (config.registry.options.credentials, config.registry.options.tls);
        self.secrets.set(loaded.cli.serve.registry.cluster.secret_files(), &Secrets { credentials, tls });
        self.loaded = loaded;
        self.metrics.count_reload(Reloaded::Applied);
        info!(changed = now.join(", "), "the configuration was read again");
        if !later.is_empty() {
            warn!(changed = later.join(", "), "these need a restart");
        }
    }
}

/// The flags whose change is applied to a running server.
const RELOADED: [&str; 8] =
    ["auth-file", "log-filter", "metadata", "tls-ca", "tls-cert", "tls-key", "weight", "zone"];
