//! The flags that say where ZooKeeper is and how services are written in it, the same for every program of this project.
//!
//! [`ClusterArgs`] is what was typed, [`ClusterConfig`] what it means. Nothing here connects: the files that the flags
//! name are read, and that is all. No secret is ever part of an argument, of an error or of `Debug` output.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::cli::{AclName, FormatName, SecretFiles, UsageError, duration};
use crate::format::Curator;
use crate::{BasePath, ConnectString, Credentials, Options, Secrets, Source};

/// Where ZooKeeper is, who we are to it, and how services are written there.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "ZooKeeper")]
pub struct ClusterArgs {
    /// Where ZooKeeper is: comma-separated servers, then optionally the path that everything lives below
    #[arg(long, value_name = "HOST:PORT,..[/CHROOT]", env = "ZOOKEEPER", default_value = "127.0.0.1:2181")]
    pub zookeeper: ConnectString,

    /// The path below which services live; with several formats one for all of them, or one for each, in order
    #[arg(long, value_name = "PATH", default_value = "/services")]
    pub base: Vec<BasePath>,

    /// How instances are written in ZooKeeper: armeria, curator, curator-strict, dubbo, dubbo-app (read only), kitex, kratos,
    /// motan, nerve, plain, serverset or spring; some have parameters, as in `dubbo:group=g,version=1.0.0,protocol=tri`. Given
    /// several times: instances stand, and are looked for, in each of them; the first one counts most
    #[arg(long, value_name = "FORMAT", default_value = "curator")]
    pub format: Vec<FormatName>,

    /// How long a crashed process stays listed; the server may clamp it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = session_timeout)]
    pub session_timeout: Duration,

    /// A file whose first line is `digest user:password` or `sasl user:password`
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// PEM certificates of the authorities that sign ZooKeeper's, and their revocation lists if any; turns TLS on
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// PEM certificate chain to show to ZooKeeper; needs --tls-ca and --tls-key
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// PEM private key of --tls-cert
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Who may read and change what is created; all but `open` need --auth-file or --tls-cert
    #[arg(long, value_enum, default_value_t = AclName::Open)]
    pub acl: AclName,
}

/// What [`ClusterArgs`] mean: ready to open a registry with.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where ZooKeeper is.
    pub to: ConnectString,
    /// How the registry behaves.
    pub options: Options,
    /// The words behind the formats of `options`, in their order.
    pub formats: Vec<FormatName>,
}

impl ClusterArgs {
    /// Reads the files that the flags name and says what the flags mean.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not hold what its flag needs, or an ACL that needs credentials without any.
    pub fn resolve(self) -> Result<ClusterConfig, UsageError> {
        if self.acl != AclName::Open && self.auth_file.is_none() && self.tls_cert.is_none() {
            let what = format!("{} needs --auth-file or --tls-cert, whose identity it names", self.acl);
            return Err(UsageError::new("--acl", what));
        }
        if self.tls_cert.is_some() && (self.tls_ca.is_none() || self.tls_key.is_none()) {
            return Err(UsageError::new("--tls-cert", "needs --tls-ca and --tls-key"));
        }
        if self.tls_key.is_some() && self.tls_cert.is_none() {
            return Err(UsageError::new("--tls-key", "needs --tls-cert"));
        }
        let files = self.secret_files();
        let secrets = files.read()?;
        files.warn_if_exposed(&secrets);
        let Secrets { credentials, tls } = secrets;
        if tls.is_none() && credentials.iter().any(|one| matches!(one, Credentials::Digest { .. })) {
            warn!(
                "--auth-file: `digest` sends the password as it is, and there is no TLS; use --tls-ca, or `sasl`"
            );
        }
        let mut sources = self.sources()?.into_iter();
        let first = sources.next().unwrap_or_else(|| Source::new(BasePath::default(), Arc::new(Curator)));
        let options = Options {
            base: first.base,
            format: first.format,
            further: sources.collect(),
            session_timeout: self.session_timeout,
            credentials,
            tls,
            // Without files there is nothing to read anew.
            secrets: Some(files).filter(|files| *files != SecretFiles::default()).map(SecretFiles::source),
            acl: self.acl.acl(),
            ..Options::default()
        };
        Ok(ClusterConfig { to: self.zookeeper, options, formats: self.format })
    }

    /// Each format with its base.
    fn sources(&self) -> Result<Vec<Source>, UsageError> {
        let (bases, formats) = (self.base.len(), self.format.len());
        if bases != 1 && bases != formats {
            let what = format!("{bases} paths for {formats} formats; state one, or one for each, in order");
            return Err(UsageError::new("--base", what));
        }
        let bases = self.base.iter().cycle().cloned();
        let sources = self.format.iter().zip(bases);
        Ok(sources.map(|(format, base)| Source::new(base, format.format())).collect())
    }

    /// The files that are read again before each connection.
    pub fn secret_files(&self) -> SecretFiles {
        SecretFiles {
            auth: self.auth_file.clone(),
            ca: self.tls_ca.clone(),
            certificate: self.tls_cert.clone(),
            key: self.tls_key.clone(),
        }
    }
}

fn session_timeout(text: &str) -> Result<Duration, String> {
    const ACCEPTED: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(3600);
    duration(text)
        .ok()
        .filter(|timeout| ACCEPTED.contains(timeout))
        .ok_or_else(|| "use a duration from 100ms to 1h, such as 10s".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;
    use crate::cli::secret_files::tests::logged;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    fn resolve(words: &[&str]) -> Result<ClusterConfig, UsageError> {
        let program = Program::try_parse_from([&["program"], words].concat());
        program.map_err(|error| UsageError::from_clap(&error))?.cluster.resolve()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.options.base.to_string(), "/services");
        assert_eq!(config.options.session_timeout, Duration::from_secs(10));
        assert_eq!(config.options.format.name(), "curator");
    }

    #[test]
    fn the_flags_of_the_2016_layout_are_accepted() {
        let config = resolve(&["--base", "/", "--format", "plain"]).unwrap();
        assert_eq!(config.options.format.name(), "plain");
    }

    #[test]
    fn several_formats_have_one_base_or_one_each() {
        let sources = |words: &[&str]| {
            let Options { base, format, further, .. } = resolve(words).unwrap().options;
            let mut all = vec![format!("{base} {}", format.name())];
            all.extend(further.iter().map(|source| format!("{} {}", source.base, source.format.name())));
            all
        };
        let both = ["--format", "spring", "--format", "dubbo:group=g"];
        assert_eq!(sources(&both), ["/services spring", "/services dubbo"]);
        let bases = [&both[..], &["--base", "/a", "--base", "/b"]].concat();
        assert_eq!(sources(&bases), ["/a spring", "/b dubbo"]);
        let message = resolve(&["--base", "/a", "--base", "/b"]).unwrap_err().to_string();
        assert!(message.starts_with("--base: 2 paths for 1 formats"), "{message}");
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_the_flag() {
        for (flag, bad) in [
            ("--zookeeper", "127.0.0.1:none"),
            ("--base", "services"),
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
            let registry = crate::Registry::open(config.to, config.options);
            let connection = registry.connection();
            let crate::ConnectionState::Failed(error) = &*connection.borrow() else {
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
    fn a_password_that_is_sent_as_it_is_without_tls_is_warned_of() {
        let (digest, sasl) = (file("digest alice:s3cret"), file("sasl alice:s3cret"));
        let pem = file("-----BEGIN CERTIFICATE-----\n");
        let [digest, sasl, pem] = [&digest, &sasl, &pem].map(|file| file.path().to_str().unwrap());
        for (words, warned) in [
            (vec!["--auth-file", digest], true),
            (vec!["--auth-file", digest, "--tls-ca", pem], false),
            (vec!["--auth-file", sasl], false),
        ] {
            let log = logged(|| drop(resolve(&words).unwrap()));
            assert_eq!(log.contains("there is no TLS"), warned, "{words:?}: {log}");
        }
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
