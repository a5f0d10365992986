//! The flags that say where ZooKeeper is and which service is meant, the same for every program of this project.
//!
//! [`RegistryArgs`] is what was typed, [`RegistryConfig`] what it means. Nothing here connects: the files that the flags
//! name are read, and that is all. No secret is ever part of an argument, of an error or of `Debug` output.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use zk_registry::format::{Curator, CuratorStrict, Format, Plain};
use zk_registry::{Acl, BasePath, ConnectString, Credentials, Options, ServiceName, Tls};

use crate::limits::MOST_TIME;

/// Where ZooKeeper is, who we are to it, and which service is meant.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "ZooKeeper")]
pub struct RegistryArgs {
    /// Where ZooKeeper is: comma-separated servers, then optionally the path that everything lives below
    #[arg(long, value_name = "HOST:PORT,..[/CHROOT]", env = "ZOOKEEPER", default_value = "127.0.0.1:2181")]
    pub zookeeper: ConnectString,

    /// The path below which services live
    #[arg(long, value_name = "PATH", default_value = "/services")]
    pub base: BasePath,

    /// The service's name
    #[arg(long, value_name = "NAME", default_value = "time")]
    pub service: ServiceName,

    /// How instances are written in ZooKeeper
    #[arg(long, value_enum, default_value_t = FormatName::Curator)]
    pub format: FormatName,

    /// How long a crashed process stays listed; the server may clamp it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = session_timeout)]
    pub session_timeout: Duration,

    /// A file whose first line is `digest user:password` or `sasl user:password`
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// PEM certificates of the authorities that sign ZooKeeper's; turns TLS on
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// PEM certificate chain to show to ZooKeeper
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,

    /// PEM private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Who may read and change what is created; all but `open` need --auth-file or --tls-cert
    #[arg(long, value_enum, default_value_t = AclName::Open)]
    pub acl: AclName,
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
    /// The word behind `options.format`.
    pub format: FormatName,
}

/// The formats that a program can be told to use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FormatName {
    /// What Apache Curator reads and writes, with weight, zone and metadata in a field of our own
    Curator,
    /// Curator's nine fields and nothing else, for very old readers
    CuratorStrict,
    /// The node's name is the address, its data is empty
    Plain,
}

/// Who may read and change what we create.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AclName {
    /// Only the identity of --auth-file or --tls-cert; readers need it too
    Creator,
    /// Everybody may do everything
    Open,
    /// The identity of --auth-file or --tls-cert may do everything, everybody else may read
    ReadOnly,
}

/// A wrong use of the command line: one line that names the flag and what is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageError(String);

impl RegistryArgs {
    /// Reads the files that the flags name and says what the flags mean.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not hold what its flag needs, or an ACL that needs credentials without any.
    pub fn resolve(self) -> Result<RegistryConfig, UsageError> {
        if self.acl != AclName::Open && self.auth_file.is_none() && self.tls_cert.is_none() {
            let word =
                self.acl.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            return Err(UsageError::new(
                "--acl",
                format!("{word} needs --auth-file or --tls-cert, whose identity it names"),
            ));
        }
        let mut options = Options::default();
        options.base = self.base;
        options.format = self.format.format();
        options.session_timeout = self.session_timeout;
        options.credentials = self.auth_file.as_deref().map(credentials).transpose()?.into_iter().collect();
        options.tls = match &self.tls_ca {
            None => None,
            Some(ca) => {
                let tls = Tls::new(pem("--tls-ca", ca)?);
                Some(match (&self.tls_cert, &self.tls_key) {
                    (Some(cert), Some(key)) => {
                        tls.with_identity(pem("--tls-cert", cert)?, pem("--tls-key", key)?)
                    }
                    _ => tls,
                })
            }
        };
        options.acl = match self.acl {
            AclName::Creator => Acl::Creator,
            AclName::Open => Acl::Open,
            AclName::ReadOnly => Acl::ReadOnly,
        };
        Ok(RegistryConfig { to: self.zookeeper, options, service: self.service, format: self.format })
    }
}

impl FormatName {
    /// The format of this name.
    pub fn format(self) -> Arc<dyn Format> {
        match self {
            Self::Curator => Arc::new(Curator),
            Self::CuratorStrict => Arc::new(CuratorStrict),
            Self::Plain => Arc::new(Plain),
        }
    }

    /// Whether a record of this format can carry weight, zone, metadata and that an instance is draining.
    pub fn carries_attributes(self) -> bool {
        self == Self::Curator
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Curator => "curator",
            Self::CuratorStrict => "curator-strict",
            Self::Plain => "plain",
        })
    }
}

impl UsageError {
    /// The complaint `what` about `flag`.
    pub fn new(flag: &str, what: impl fmt::Display) -> Self {
        Self(format!("{flag}: {what}"))
    }

    /// What the library says of options that cannot work, with the flag that they came from: its message begins with the
    /// option.
    pub fn from_registry(error: &zk_registry::Error) -> Self {
        let text = error.to_string();
        let (option, what) = text.split_once(": ").unwrap_or(("", &text));
        let flag = match option {
            "acl" => "--acl",
            "credentials" => "--auth-file",
            "session timeout" => "--session-timeout",
            "tls" | "tls authorities" => "--tls-ca",
            "tls identity" => "--tls-cert, --tls-key",
            "connect string" => "--zookeeper",
            _ => return Self::new("--zookeeper", text),
        };
        Self::new(flag, what)
    }

    /// The essence of an error of clap in one line: its first paragraph, without the word "error".
    ///
    /// Not for help and version, which clap also reports as errors.
    pub fn from_clap(error: &clap::Error) -> Self {
        let text = error.to_string();
        let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let line = lines.join(" ");
        Self(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Parses a duration as people write them, such as `500ms`, `10s` or `1m 30s`; a bare `0` needs no unit. At most 100
/// years, so that it can be added to any moment.
///
/// # Errors
///
/// What is accepted, for clap to put behind the flag's name.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = humantime::parse_duration(text).ok().filter(|duration| *duration <= MOST_TIME);
    parsed.ok_or_else(|| "use a duration such as 500ms, 10s or 1m, at most 100 years".to_owned())
}

fn session_timeout(text: &str) -> Result<Duration, String> {
    const ACCEPTED: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(3600);
    duration(text)
        .ok()
        .filter(|timeout| ACCEPTED.contains(timeout))
        .ok_or_else(|| "use a duration from 100ms to 1h, such as 10s".to_owned())
}

/// Who the first line of the file says we are. Errors never repeat what the file holds.
fn credentials(file: &Path) -> Result<Credentials, UsageError> {
    let text = read("--auth-file", file)?;
    let line = text.lines().next().unwrap_or_default().trim();
    let parsed = line.split_once(' ').and_then(|(scheme, identity)| {
        let (user, password) = identity.trim_start().split_once(':')?;
        let (user, password) = (user.to_owned(), password.to_owned());
        match scheme {
            _ if user.is_empty() => None,
            "digest" => Some(Credentials::Digest { user, password }),
            "sasl" => Some(Credentials::Sasl { user, password }),
            _ => None,
        }
    });
    parsed.ok_or_else(|| {
        let accepted = "the first line must be `digest user:password` or `sasl user:password`";
        UsageError::new("--auth-file", format!("{}: {accepted}", file.display()))
    })
}

fn pem(flag: &str, file: &Path) -> Result<String, UsageError> {
    let text = read(flag, file)?;
    if text.contains("-----BEGIN ") {
        Ok(text)
    } else {
        Err(UsageError::new(flag, format!("{}: must be a PEM file (`-----BEGIN ...`)", file.display())))
    }
}

fn read(flag: &str, file: &Path) -> Result<String, UsageError> {
    fs::read_to_string(file).map_err(|error| {
        UsageError::new(flag, format!("{}: must be a readable text file ({error})", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        registry: RegistryArgs,
    }

    fn resolve(words: &[&str]) -> Result<RegistryConfig, UsageError> {
        let program = Program::try_parse_from([&["program"], words].concat());
        program.map_err(|error| UsageError::from_clap(&error))?.registry.resolve()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.service.as_str(), "time");
        assert_eq!(config.options.base.to_string(), "/services");
        assert_eq!(config.options.session_timeout, Duration::from_secs(10));
        assert_eq!(config.options.format.name(), "curator");
    }

    #[test]
    fn the_flags_of_the_2016_layout_are_accepted() {
        let config = resolve(&["--base", "/", "--service", "go_servers", "--format", "plain"]).unwrap();
        assert_eq!(config.options.format.name(), "plain");
        assert_eq!(config.service.as_str(), "go_servers");
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_the_flag() {
        for (flag, bad) in [
            ("--zookeeper", "127.0.0.1:none"),
            ("--base", "services"),
            ("--service", "a//b"),
            ("--format", "json"),
            ("--session-timeout", "ten"),
            ("--session-timeout", "0"),
            ("--acl", "mine"),
            ("--acl", "creator"),
            ("--auth-file", "/nonexistent/file"),
            ("--tls-ca", "/nonexistent/file"),
        ] {
            let message = resolve(&[flag, bad]).unwrap_err().to_string();
            assert!(message.contains(flag), "{flag} {bad}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn options_that_cannot_work_name_their_flag() {
        let complaint = |words: &[&str]| {
            let config = resolve(words).unwrap();
            let registry = zk_registry::Registry::open(config.to, config.options);
            let connection = registry.connection();
            let zk_registry::ConnectionState::Failed(error) = &*connection.borrow() else {
                panic!("{registry:?}");
            };
            UsageError::from_registry(error).to_string()
        };
        let no_pem = file("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n");
        let no_pem = no_pem.path().to_str().unwrap();
        for (flag, words) in
            [("--tls-ca: ", vec!["--zookeeper", "tls://zk:2281"]), ("--tls-ca: ", vec!["--tls-ca", no_pem])]
        {
            let message = complaint(&words);
            assert!(message.starts_with(flag), "{words:?}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn a_certificate_is_an_identity_too() {
        let pem = file("-----BEGIN CERTIFICATE-----\n");
        let pem = pem.path().to_str().unwrap();
        for acl in ["creator", "read-only"] {
            resolve(&["--acl", acl, "--tls-ca", pem, "--tls-cert", pem, "--tls-key", pem]).unwrap();
            let message = resolve(&["--acl", acl, "--tls-ca", pem]).unwrap_err().to_string();
            assert!(message.contains("--auth-file") && message.contains("--tls-cert"), "{message}");
        }
    }

    #[test]
    fn a_duration_can_be_added_to_any_moment() {
        assert_eq!(duration("100years"), Ok(MOST_TIME));
        for too_much in ["18446744073709551615s", "584542046090years", "101years"] {
            assert!(duration(too_much).is_err(), "{too_much}");
        }
        assert!(std::time::Instant::now().checked_add(MOST_TIME).is_some());
    }

    #[test]
    fn no_secret_shows_in_errors_or_debug_output() {
        let good = file("digest alice:s3cret\n");
        let args = ["--acl", "creator", "--auth-file", good.path().to_str().unwrap()];
        let config = resolve(&args).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert!(format!("{config:?}").contains("alice"));

        for bad in ["s3cret", "plain alice:s3cret", "digest s3cret", "digest :s3cret"] {
            let bad = file(bad);
            let error = resolve(&["--auth-file", bad.path().to_str().unwrap()]).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }
}
