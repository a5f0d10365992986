//! How to reach ZooKeeper, and how a registry behaves: the connect string and the options.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::path::BasePath;

/// Where ZooKeeper is: `host:port,host:port/chroot`, as every ZooKeeper client takes it.
///
/// The port defaults to 2181, blanks around commas are trimmed, IPv6 addresses stand in brackets, and each host may be
/// prefixed with `tcp://` or `tls://`.
#[derive(Clone, Eq, PartialEq)]
pub struct ConnectString {
    pub(crate) hosts: Vec<Host>,
    pub(crate) chroot: Option<String>,
}

/// One server of a connect string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
    /// `None`: TLS if the options carry it.
    pub(crate) tls: Option<bool>,
}

/// How a registry behaves. Every field has a default that suits a service in production.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The path below which services live. Defaults to `/services`.
    pub base: BasePath,
    /// How records are written and read. Defaults to [`format::Curator`](crate::format::Curator).
    pub format: Arc<dyn Format>,
    /// The session timeout asked for: how long a crashed instance stays listed. The server may clamp it (usually to
    /// 2 to 20 of its ticks). Defaults to 10 seconds.
    pub session_timeout: Duration,
    /// Who we are to ZooKeeper. Defaults to nobody.
    pub credentials: Vec<Credentials>,
    /// TLS towards ZooKeeper. Defaults to none.
    pub tls: Option<Tls>,
    /// Who may read and change what we create. Defaults to [`Acl::Open`].
    pub acl: Acl,
    /// Whether a chroot that does not exist is created. Defaults to [`Chroot::Expect`].
    pub chroot: Chroot,
    /// Where the background tasks run: on this runtime, or on one thread of our own named `zk-registry`. Defaults to
    /// our own thread, so that a caller's blocking code cannot cost the session.
    pub runtime: Option<tokio::runtime::Handle>,
    /// How often registrations and views are compared with ZooKeeper (jittered by a quarter). Defaults to 30 seconds.
    pub audit_interval: Duration,
    /// What a view does when most instances vanish at once without having drained. Defaults to
    /// [`Suspicion::Keep`].
    pub suspicion: Suspicion,
    /// A directory for snapshot files, one per service, so that a client can start while ZooKeeper is down. Defaults to
    /// none.
    pub snapshot_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base: BasePath::default(),
            format: Arc::new(crate::format::Curator),
            session_timeout: Duration::from_secs(10),
            credentials: Vec::new(),
            tls: None,
            acl: Acl::Open,
            chroot: Chroot::Expect,
            runtime: None,
            audit_interval: Duration::from_secs(30),
            suspicion: Suspicion::Keep,
            snapshot_dir: None,
        }
    }
}

/// Who may read and change the nodes that we create.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Acl {
    /// Only our own identity: readers need it too. Needs credentials.
    Creator,
    /// Everybody may do everything: anyone who reaches ZooKeeper can redirect traffic.
    #[default]
    Open,
    /// Our own identity may do everything, everybody else may read. Needs credentials.
    ReadOnly,
}

/// Whether a chroot that does not exist is created.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Chroot {
    /// It is created, persistent, with the ACL of everything else.
    Create,
    /// It must be there.
    #[default]
    Expect,
}

/// What a view does when most instances vanish at once without having drained.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Suspicion {
    /// They are forgotten at once.
    Forget,
    /// They are kept apart for a while, as suspects.
    #[default]
    Keep,
}

/// Who we are to ZooKeeper. `Debug` never shows a password.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Credentials {
    /// The `digest` scheme.
    Digest {
        /// The user's name.
        user: String,
        /// The password, sent as it is: use TLS.
        password: String,
    },
    /// SASL with DIGEST-MD5.
    Sasl {
        /// The user's name.
        user: String,
        /// The password; never sent, proved.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, user) = match self {
            Self::Digest { user, .. } => ("Digest", user),
            Self::Sasl { user, .. } => ("Sasl", user),
        };
        f.debug_struct(scheme).field("user", user).finish_non_exhaustive()
    }
}

/// TLS towards ZooKeeper, as PEM text: whom we trust and, if asked, who we are. Needs the feature `tls`.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tls {
    /// The certificates of the authorities that may sign the servers'.
    pub ca_pem: String,
    /// Our certificate chain and our private key.
    pub identity_pem: Option<(String, String)>,
}

impl Tls {
    /// Trusts these authorities (PEM) and shows no certificate of our own.
    pub fn new(ca_pem: impl Into<String>) -> Self {
        Self { ca_pem: ca_pem.into(), identity_pem: None }
    }

    /// Shows this certificate chain (PEM), proved by this private key (PEM).
    #[must_use]
    pub fn with_identity(mut self, certificate_pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        self.identity_pem = Some((certificate_pem.into(), key_pem.into()));
        self
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("identity", &self.identity_pem.is_some()).finish_non_exhaustive()
    }
}

impl FromStr for ConnectString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => (&text[..at], Some(text[at..].to_owned())),
            None => (text, None),
        };
        let hosts = hosts
            .split(',')
            .map(|host| {
                let (name, port) = host.trim().rsplit_once(':')?;
                Some(Host { name: name.to_owned(), port: port.parse().ok()?, tls: None })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("connect string {text:?}")))?;
        Ok(Self { hosts, chroot })
    }
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, host) in self.hosts.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", host.name, host.port)?;
        }
        f.write_str(self.chroot.as_deref().unwrap_or(""))
    }
}

impl fmt::Debug for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
