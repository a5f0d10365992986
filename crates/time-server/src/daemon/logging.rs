//! The log: its format, and a filter that can be changed while it is written.

use std::fmt;
use std::io;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt as lines, reload};
use zk_registry::cli::{UsageError, wants_colours};

use crate::daemon::args::LogFormat;

/// The filter of this process's log.
#[derive(Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Begins to log, once in a process.
    ///
    /// # Errors
    ///
    /// Directives that are none, or a journald that cannot be reached.
    pub fn start(format: LogFormat, directives: &str) -> Result<Self, UsageError> {
        let (filter, handle) = reload::Layer::new(parsed(directives)?);
        let text = lines::layer().with_ansi(wants_colours(&io::stderr()));
        // It would be said with `eprintln!`, which panics where standard error is gone or its disk is full.
        let text = text.with_writer(io::stderr).log_internal_errors(false);
        let layer = match format {
            LogFormat::Journald => journald()?,
            LogFormat::Json => text.json().flatten_event(true).boxed(),
            LogFormat::Text => text.boxed(),
        };
        // Fails where the program that embeds us logs already: then its log is the one.
        let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
        Ok(Self(handle))
    }

    /// Logs by these directives from now on.
    ///
    /// # Errors
    ///
    /// Directives that are none.
    pub fn set(&self, directives: &str) -> Result<(), UsageError> {
        let filter = parsed(directives)?;
        self.0.reload(filter).map_err(|error| UsageError::new("--log-filter", error))
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").finish_non_exhaustive()
    }
}

fn parsed(directives: &str) -> Result<EnvFilter, UsageError> {
    EnvFilter::try_new(directives).map_err(|error| UsageError::new("--log-filter", error))
}

type Boxed<S> = Box<dyn tracing_subscriber::Layer<S> + Send + Sync>;

fn journald<S>() -> Result<Boxed<S>, UsageError>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    #[cfg(unix)]
    {
        let layer = tracing_journald::layer().map_err(|error| {
            UsageError::new("--log-format", format!("journald cannot be reached ({error}); use text or json"))
        })?;
        Ok(layer.with_syslog_identifier("time-server".to_owned()).with_field_prefix(None).boxed())
    }
    #[cfg(not(unix))]
    Err(UsageError::new("--log-format", "there is no journald here; use text or json"))
}
