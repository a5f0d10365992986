//! The flags that say where ZooKeeper is and which service in it is meant.

use super::{ClusterArgs, FormatName, UsageError};
use crate::{ConnectString, Options, ServiceName};

/// Where ZooKeeper is, who we are to it, and which service is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct RegistryArgs {
    /// Where ZooKeeper is.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// The service's name
    #[arg(long, value_name = "NAME", default_value = "time", help_heading = "ZooKeeper")]
    pub service: ServiceName,
}

/// What [`RegistryArgs`] mean: ready to open a registry with.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Where ZooKeeper is.
    pub to: ConnectString,
    /// How the registry behaves.
    pub options: Options,
    /// Which service is meant.
    pub service: ServiceName,
    /// The words behind the formats of `options`, in their order.
    pub formats: Vec<FormatName>,
}

impl RegistryArgs {
    /// Reads the files that the flags name and says what the flags mean.
    ///
    /// # Errors
    ///
    /// As [`ClusterArgs::resolve`].
    pub fn resolve(self) -> Result<RegistryConfig, UsageError> {
        let cluster = self.cluster.resolve()?;
        let (to, options, formats) = (cluster.to, cluster.options, cluster.formats);
        Ok(RegistryConfig { to, options, service: self.service, formats })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        registry: RegistryArgs,
    }

    fn parse(words: &[&str]) -> Result<Program, UsageError> {
        let program = Program::try_parse_from([&["program"], words].concat());
        program.map_err(|error| UsageError::from_clap(&error))
    }

    #[test]
    fn the_service_is_time_unless_it_is_named() {
        assert_eq!(parse(&[]).unwrap().registry.resolve().unwrap().service.as_str(), "time");
        let words = ["--base", "/", "--service", "go_servers", "--format", "plain"];
        let config = parse(&words).unwrap().registry.resolve().unwrap();
        assert_eq!((config.service.as_str(), config.options.format.name()), ("go_servers", "plain"));
    }

    #[test]
    fn a_wrong_name_is_one_line_that_names_the_flag() {
        let message = parse(&["--service", "a//b"]).unwrap_err().to_string();
        assert!(message.contains("--service") && message.lines().count() == 1, "{message}");
    }
}
