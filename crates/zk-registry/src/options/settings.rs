//! What a configuration file or the environment says of a registry: plain data, judged when it is resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::secret_files::{credentials, pem, warn_if_exposed};
use super::source_settings::SourceSettings;
use super::words::{invalid, word};
use super::{Acl, Chroot, ConnectString, Mixing, Options, Suspicion, Tls};
use crate::error::Error;

/// A part of a program's configuration: where ZooKeeper is and how the registry behaves. What is left out is as in
/// [`Options`].
///
/// The names are in kebab-case, durations are text such as `10s`, and a field with another name is an error. A secret stands in
/// a file of its own and never here.
///
/// ```toml
/// zookeeper = "zk1:2181,zk2:2181/prod"
/// session-timeout = "10s"
/// further = [{ base = "/dubbo", format = "dubbo:version=1.0.0" }]
/// acl = "read-only"
/// auth-file = "/etc/app/zookeeper.auth"
/// tls = { ca = "/etc/app/ca.pem", cert = "/etc/app/app.pem", key = "/etc/app/app.key" }
/// ```
///
/// ```
/// use zk_registry::Settings;
///
/// let settings: Settings = serde_json::from_str(r#"{ "zookeeper": "zk1:2181/prod", "session-timeout": "15s" }"#)?;
/// let (_to, options) = settings.resolve()?;
/// assert_eq!(options.session_timeout.as_secs(), 15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Settings {
    /// The connect string. Defaults to `127.0.0.1:2181`.
    pub zookeeper: Option<String>,
    /// The path below which services live.
    pub base: Option<String>,
    /// The name of the format, as [`format::named`](crate::format::named) takes it.
    pub format: Option<String>,
    /// Further places where the instances of each service stand: [`Options::further`].
    pub further: Vec<SourceSettings>,
    /// Whether a registration may stand beside instances whose readers would be broken by it: `refuse` or `allow`.
    pub mixing: Option<String>,
    /// Over how many nodes the instances of each service are spread that are registered: [`Options::shards`].
    pub shards: Option<u16>,
    /// The session timeout to ask for.
    #[serde(deserialize_with = "duration")]
    pub session_timeout: Option<Duration>,
    /// `open`, `read-only` or `creator`.
    pub acl: Option<String>,
    /// A file whose first line is `digest user:password` or `sasl user:password`.
    pub auth_file: Option<PathBuf>,
    /// The files for TLS to ZooKeeper.
    pub tls: Option<TlsSettings>,
    /// How often registrations and views are compared with ZooKeeper.
    #[serde(deserialize_with = "duration")]
    pub audit_interval: Option<Duration>,
    /// A directory for snapshot files.
    pub snapshot_dir: Option<PathBuf>,
    /// `keep` or `forget`.
    pub suspicion: Option<String>,
    /// `expect` or `create`.
    pub chroot: Option<String>,
}

/// The files for TLS to ZooKeeper.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct TlsSettings {
    /// A PEM file with the authorities that may sign the servers' certificates.
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate chain; needs `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file with our private key; needs `cert`.
    pub key: Option<PathBuf>,
}

impl Settings {
    /// The settings in the environment: `ZK_REGISTRY_SESSION_TIMEOUT` with the prefix `ZK_REGISTRY` is `session-timeout`, and
    /// `ZK_REGISTRY_TLS_CA` is `ca` of `tls`. `ZK_REGISTRY_FURTHER_1_BASE` is `base` of one of `further`, in the order of the numbers.
    /// `ZOOKEEPER`, without a prefix, is the connect string if there is none with it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): a variable with the prefix that means nothing, or one with a value that cannot be used; it is
    /// named.
    pub fn from_env(prefix: &str) -> Result<Self, Error> {
        // A variable that is no text has no name that counts, or a value that is refused with it.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Self::from_variables(prefix, variables)
    }

    /// The settings among these variables, as [`from_env`](Self::from_env) reads them.
    ///
    /// # Errors
    ///
    /// As those of [`from_env`](Self::from_env).
    pub fn from_variables(
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let (mut settings, mut short, mut further) = (Self::default(), None, BTreeMap::new());
        for (variable, value) in variables {
            if let Some(name) = variable.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) {
                let set = match name.strip_prefix("FURTHER_") {
                    Some(numbered) => SourceSettings::set(&mut further, numbered, value),
                    None => settings.set(name, value),
                };
                set.map_err(|why| invalid(&variable, why))?;
            } else if variable == "ZOOKEEPER" {
                short = Some(value);
            }
        }
        settings.zookeeper = settings.zookeeper.or(short);
        settings.further = further.into_values().collect();
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let mut tls = self.tls.take().unwrap_or_default();
        match name {
            "ZOOKEEPER" => self.zookeeper = Some(value),
            "BASE" => self.base = Some(value),
            "FORMAT" => self.format = Some(value),
            "MIXING" => self.mixing = Some(value),
            "SHARDS" => {
                self.shards = Some(value.parse().map_err(|_| "use a number from 1 to 1024".to_owned())?);
            }
            "SESSION_TIMEOUT" => self.session_timeout = Some(parse_duration(&value)?),
            "ACL" => self.acl = Some(value),
            "AUTH_FILE" => self.auth_file = Some(value.into()),
            "TLS_CA" => tls.ca = Some(value.into()),
            "TLS_CERT" => tls.cert = Some(value.into()),
            "TLS_KEY" => tls.key = Some(value.into()),
            "AUDIT_INTERVAL" => self.audit_interval = Some(parse_duration(&value)?),
            "SNAPSHOT_DIR" => self.snapshot_dir = Some(value.into()),
            "SUSPICION" => self.suspicion = Some(value),
            "CHROOT" => self.chroot = Some(value),
            _ => return Err("there is no such setting".to_owned()),
        }
        self.tls = Some(tls).filter(|tls| *tls != TlsSettings::default());
        Ok(())
    }

    /// Reads the files that are named, and says what [`Registry::open`](crate::Registry::open) takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), with the setting's name and what is accepted. Never repeats what a file with a secret holds.
    pub fn resolve(self) -> Result<(ConnectString, Options), Error> {
        let to = self.zookeeper.as_deref().unwrap_or("127.0.0.1:2181");
        let to = to.parse().map_err(|error: Error| invalid("zookeeper", error))?;
        let mut options = Options::default();
        if let Some(base) = self.base {
            options.base = base.parse().map_err(|error: Error| invalid("base", error))?;
        }
        if let Some(format) = self.format {
            options.format = crate::format::named(&format).map_err(|error| invalid("format", error))?;
        }
        for (number, source) in self.further.into_iter().enumerate() {
            let source =
                source.resolve(&options).map_err(|why| invalid(&format!("further[{number}]"), why))?;
            options.further.push(source);
        }
        options.mixing =
            word("mixing", self.mixing, &[("refuse", Mixing::Refuse), ("allow", Mixing::Allow)])?;
        if let Some(shards) = self.shards {
            options.shards = shards;
        }
        if let Some(timeout) = self.session_timeout {
            options.session_timeout = timeout;
        }
        if let Some(interval) = self.audit_interval {
            options.audit_interval = interval;
        }
        options.snapshot_dir = self.snapshot_dir;
        options.acl = word(
            "acl",
            self.acl,
            &[("open", Acl::Open), ("read-only", Acl::ReadOnly), ("creator", Acl::Creator)],
        )?;
        options.suspicion =
            word("suspicion", self.suspicion, &[("keep", Suspicion::Keep), ("forget", Suspicion::Forget)])?;
        options.chroot =
            word("chroot", self.chroot, &[("expect", Chroot::Expect), ("create", Chroot::Create)])?;
        if let Some(file) = self.auth_file {
            warn_if_exposed("auth-file", &file);
            options.credentials.push(credentials(&file).map_err(|why| invalid("auth-file", why))?);
        }
        options.tls = self.tls.map(TlsSettings::read).transpose()?;
        options.validate()?;
        Ok((to, options))
    }
}

impl TlsSettings {
    fn read(self) -> Result<Tls, Error> {
        let file = |option, file: PathBuf| {
            let text = pem(&file).map_err(|why| invalid(option, why))?;
            if text.contains("PRIVATE KEY") {
                warn_if_exposed(option, &file);
            }
            Ok::<_, Error>(text)
        };
        let Some(ca) = self.ca else {
            return Err(invalid("tls.ca", "name a PEM file with the authorities that are trusted"));
        };
        let tls = Tls::new(file("tls.ca", ca)?);
        match (self.cert, self.key) {
            (Some(cert), Some(key)) => Ok(tls.with_identity(file("tls.cert", cert)?, file("tls.key", key)?)),
            (None, None) => Ok(tls),
            _ => Err(invalid("tls", "cert and key go together")),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "use a duration such as 500ms, 10s or 1m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::options::SourceUse;

    fn refusal(settings: Settings) -> String {
        let error = settings.resolve().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    fn parsed(json: &str) -> Result<Settings, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn variables(given: &[(&str, &str)]) -> Result<Settings, Error> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_variables("ZK_REGISTRY", given)
    }

    #[test]
    fn nothing_set_means_the_defaults() {
        let (_, options) = Settings::default().resolve().unwrap();
        assert_eq!(format!("{options:?}"), format!("{:?}", Options::default()));
    }

    #[test]
    fn a_file_and_the_environment_say_the_same() {
        let file = parsed(
            r#"{ "zookeeper": "zk1:2181/prod", "base": "/fleet", "format": "plain", "session-timeout": "15s",
                 "audit-interval": "1m", "suspicion": "forget", "chroot": "create", "snapshot-dir": "/var/lib/app",
                 "acl": "open", "tls": { "ca": "/ca.pem" }, "mixing": "allow",
                 "further": [{ "base": "/dubbo", "format": "dubbo:version=1" }, { "format": "spring", "usage": "read" }] }"#,
        )
        .unwrap();
        let environment = variables(&[
            ("ZK_REGISTRY_ZOOKEEPER", "zk1:2181/prod"),
            ("ZK_REGISTRY_BASE", "/fleet"),
            ("ZK_REGISTRY_FORMAT", "plain"),
            ("ZK_REGISTRY_SESSION_TIMEOUT", "15s"),
            ("ZK_REGISTRY_AUDIT_INTERVAL", "1m"),
            ("ZK_REGISTRY_SUSPICION", "forget"),
            ("ZK_REGISTRY_CHROOT", "create"),
            ("ZK_REGISTRY_SNAPSHOT_DIR", "/var/lib/app"),
            ("ZK_REGISTRY_ACL", "open"),
            ("ZK_REGISTRY_TLS_CA", "/ca.pem"),
            ("ZK_REGISTRY_MIXING", "allow"),
            ("ZK_REGISTRY_FURTHER_10_FORMAT", "spring"),
            ("ZK_REGISTRY_FURTHER_10_USAGE", "read"),
            ("ZK_REGISTRY_FURTHER_2_BASE", "/dubbo"),
            ("ZK_REGISTRY_FURTHER_2_FORMAT", "dubbo:version=1"),
            ("ZOOKEEPER", "elsewhere:2181"),
            ("HOME", "/root"),
        ]);
        assert_eq!(file, environment.unwrap());
        let (_, options) = Settings { tls: None, ..file }.resolve().unwrap();
        assert_eq!((options.session_timeout, options.format.name()), (Duration::from_secs(15), "plain"));
        assert_eq!((options.suspicion, options.chroot), (Suspicion::Forget, Chroot::Create));
        assert_eq!(options.mixing, Mixing::Allow);
        let sources: Vec<_> = (options.sources())
            .map(|source| (source.base.to_string(), source.format.name(), source.usage))
            .collect();
        let (both, read) = (SourceUse::ReadAndWrite, SourceUse::Read);
        let is = |base: &str, format, usage| (base.to_owned(), format, usage);
        assert_eq!(
            sources,
            [is("/fleet", "plain", both), is("/dubbo", "dubbo", both), is("/fleet", "spring", read)]
        );
        assert_eq!(variables(&[("ZOOKEEPER", "zk:1")]).unwrap().zookeeper.as_deref(), Some("zk:1"));
    }

    #[test]
    fn a_number_of_shards_is_a_setting_and_a_variable() {
        let file = parsed(r#"{ "shards": 8 }"#).unwrap();
        assert_eq!(file, variables(&[("ZK_REGISTRY_SHARDS", "8")]).unwrap());
        assert_eq!(file.resolve().unwrap().1.shards, 8);
        let error = variables(&[("ZK_REGISTRY_SHARDS", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("ZK_REGISTRY_SHARDS") && error.contains("1 to 1024"), "{error}");
    }

    #[test]
    fn what_is_unknown_or_wrong_is_named() {
        assert!(
            parsed(r#"{ "session_timeout": "15s" }"#).unwrap_err().to_string().contains("session_timeout")
        );
        assert!(parsed(r#"{ "password": "s3cret" }"#).unwrap_err().to_string().contains("unknown field"));
        assert!(parsed(r#"{ "session-timeout": 15 }"#).is_err());
        assert!(parsed(r#"{ "session-timeout": "15 parsecs" }"#).is_err());
        let error = variables(&[("ZK_REGISTRY_SESION_TIMEOUT", "15s")]).unwrap_err().to_string();
        assert!(error.starts_with("ZK_REGISTRY_SESION_TIMEOUT"), "{error}");
        for wrong in ["FURTHER_1", "FURTHER_1_PATH", "FURTHER_x_BASE", "FURTHER__BASE", "FURTHER_BASE"] {
            let variable = format!("ZK_REGISTRY_{wrong}");
            let error = variables(&[(&variable, "/x")]).unwrap_err().to_string();
            assert!(error.starts_with(&variable), "{error}");
        }
        assert!(parsed(r#"{ "further": [{ "path": "/x" }] }"#).unwrap_err().to_string().contains("path"));
        let error = variables(&[("ZK_REGISTRY_AUDIT_INTERVAL", "often")]).unwrap_err().to_string();
        assert!(error.starts_with("ZK_REGISTRY_AUDIT_INTERVAL"), "{error}");
        for (json, named) in [
            (r#"{ "zookeeper": "" }"#, "zookeeper"),
            (r#"{ "base": "x" }"#, "base"),
            (r#"{ "format": "xml" }"#, "format"),
            (r#"{ "mixing": "yes" }"#, "mixing: use one of refuse, allow"),
            (r#"{ "further": [{ "base": "x" }] }"#, "further[0]: base"),
            (r#"{ "further": [{ "base": "/x" }, { "format": "xml" }] }"#, "further[1]: format"),
            (r#"{ "further": [{ "base": "/x", "usage": "write" }] }"#, "further[0]: usage: use one of read"),
            (r#"{ "further": [{}] }"#, "format: curator below /services is named twice"),
            (r#"{ "acl": "closed" }"#, "acl: use one of open, read-only, creator"),
            (r#"{ "acl": "creator" }"#, "acl"),
            (r#"{ "chroot": "yes" }"#, "chroot"),
            (r#"{ "suspicion": "no" }"#, "suspicion"),
            (r#"{ "session-timeout": "0s" }"#, "session timeout"),
            (r#"{ "shards": 0 }"#, "shards: use 1 to 1024"),
            (r#"{ "shards": 2, "format": "plain" }"#, "shards: format plain"),
            (r#"{ "auth-file": "/does/not/exist" }"#, "auth-file: /does/not/exist"),
            (r#"{ "tls": {} }"#, "tls.ca"),
            (r#"{ "tls": { "ca": "/does/not/exist" } }"#, "tls.ca: /does/not/exist"),
        ] {
            let refusal = refusal(parsed(json).unwrap());
            assert!(refusal.starts_with(named), "{refusal}");
        }
    }

    #[test]
    fn a_secret_stands_in_its_own_file_and_is_never_shown() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "digest alice:s3cret\n").unwrap();
        let settings = Settings { auth_file: Some(secret.path().to_owned()), ..Settings::default() };
        let (_, options) = settings.clone().resolve().unwrap();
        assert_eq!(options.credentials.len(), 1);
        std::fs::write(secret.path(), "digest:s3cret\n").unwrap();
        assert!(!format!("{settings:?} {}", refusal(settings.clone())).contains("s3cret"));
    }
}
