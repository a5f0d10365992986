//! How to reach ZooKeeper, and how a registry behaves: the connect string and the options.
//!
//! Everything is judged before anything is sent. PEM text is only looked at by the store, which knows the TLS library.

mod connect_string;
#[cfg(any(feature = "clap", feature = "serde"))]
pub(crate) mod secret_files;
mod secrets;
mod security;
#[cfg(feature = "serde")]
mod settings;
mod source;
#[cfg(feature = "serde")]
mod source_settings;
#[cfg(feature = "serde")]
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::connect_string::ConnectString;
pub(crate) use self::connect_string::Host;
pub use self::secrets::{SecretSource, Secrets};
pub use self::security::{Acl, Credentials, Tls};
#[cfg(feature = "serde")]
pub use self::settings::{Settings, TlsSettings};
pub use self::source::{Source, SourceUse};
#[cfg(feature = "serde")]
pub use self::source_settings::SourceSettings;

use crate::error::{Error, ErrorKind};
use crate::format::sealed::Sharding;
use crate::format::{Format, shards};
use crate::instance::BasePath;

/// How a registry behaves. Every field has a default that suits a service in production.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The path below which services live. Defaults to `/services`.
    pub base: BasePath,
    /// How records are written and read. Defaults to [`format::Curator`](crate::format::Curator).
    pub format: Arc<dyn Format>,
    /// Further places where the instances of each service stand, after `base` and `format`, which come first. Defaults to none.
    ///
    /// With it a fleet moves from one format to another: readers read both, writers write both for a while. A service is read
    /// from all of them as one [`Snapshot`](crate::Snapshot): instances of one host and port are one member, as the first source
    /// that has it states it; it drains if any source says so, and is gone once it is gone from all. Weights are brought to a
    /// common unit, 100 for an instance of ours with weight 1. A snapshot is as fresh as the least fresh source; its
    /// [`watermark`](crate::Snapshot::watermark) is the lowest, and [`wait_for`](crate::ServiceWatch::wait_for) waits for every
    /// source. A service whose name one of the formats cannot have cannot be watched.
    pub further: Vec<Source>,
    /// The session timeout asked for: how long a crashed instance stays listed. The server may clamp it (usually to
    /// 2 to 20 of its ticks). Defaults to 10 seconds.
    pub session_timeout: Duration,
    /// The identities shown to ZooKeeper. Defaults to none.
    pub credentials: Vec<Credentials>,
    /// TLS towards ZooKeeper. Defaults to none.
    pub tls: Option<Tls>,
    /// Gives `credentials` and `tls` anew before each connection, so that they can be renewed without an end of the
    /// session. Defaults to none: they stay as they are.
    pub secrets: Option<SecretSource>,
    /// Who may read and change what we create. Defaults to [`Acl::Open`].
    pub acl: Acl,
    /// Whether a chroot that does not exist is created. Defaults to [`Chroot::Expect`].
    pub chroot: Chroot,
    /// Whether a registration may stand beside instances of another fleet whose readers would be broken by it. Defaults to
    /// [`Mixing::Refuse`].
    pub mixing: Mixing,
    /// Over how many nodes the instances of each service are spread that this registry registers, 1 to 1,024, with the format `curator`
    /// alone. Defaults to 1: they stand below the service's own node, and nothing else is written there.
    ///
    /// With more, a registration first looks at the service's own node. Its data are the marker that names the number: where
    /// there is none, or a lower number, ours is written, guarded by the version that was seen; a higher number holds, and a warning
    /// says so. Data of somebody else are left alone, with a warning, and the service stays as it is. The instance then stands in
    /// the shard that its id belongs to, and moves, within an audit interval, when the number changes: it is listed all the while.
    ///
    /// Readers of this library need no option: they follow the marker, and read the service's own node and every shard that may have
    /// an instance as one service. An id that stands twice is the younger node's. Readers of others, Curator's among them, see
    /// nothing of what stands in shards; `docs/formats/curator.md` has the bytes.
    pub shards: u16,
    /// Where the background tasks run: on this runtime, or on one thread of our own named `zk-registry`. Defaults to
    /// our own thread, so that a caller's blocking code cannot cost the session.
    pub runtime: Option<tokio::runtime::Handle>,
    /// How often registrations and views are compared with ZooKeeper (jittered by a quarter). Defaults to 30 seconds.
    pub audit_interval: Duration,
    /// What a view does when most instances vanish at once without having drained. Defaults to
    /// [`Suspicion::Keep`].
    pub suspicion: Suspicion,
    /// How large the records of a service may be. Defaults to 256 KiB for one and 256 MiB for all.
    pub record_limits: RecordLimits,
    /// A directory for snapshot files, one per service, so that a client can start while ZooKeeper is down. Defaults to
    /// none.
    ///
    /// A directory that does not exist is created for this user alone (mode 0700), and so are the files (0600): they hold
    /// what an ACL of ZooKeeper may hide from others. A directory or a file that another user can write or, but for root,
    /// owns is neither read nor written; one warning says so, and everything else works without it. A file names its
    /// ZooKeeper by the servers of the connect string, in any order, and the chroot, and is read with no other: several
    /// ZooKeepers may share a directory, and after a change of the connect string a program starts from nothing. On
    /// systems other than Unix no access right is set or looked at.
    pub snapshot_dir: Option<PathBuf>,
}

impl Options {
    /// Sets the path below which services live.
    #[must_use]
    pub fn with_base(mut self, base: BasePath) -> Self {
        self.base = base;
        self
    }

    /// Sets how records are written and read, as [`format::named`](crate::format::named) gives it.
    #[must_use]
    pub fn with_format(mut self, format: Arc<dyn Format>) -> Self {
        self.format = format;
        self
    }

    /// Adds a further place where the instances of each service stand.
    #[must_use]
    pub fn with_source(mut self, source: Source) -> Self {
        self.further.push(source);
        self
    }

    /// Sets the session timeout to ask for.
    #[must_use]
    pub fn with_session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Adds one identity.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials.push(credentials);
        self
    }

    /// Turns on TLS towards ZooKeeper.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the source that gives credentials and TLS anew; what the options hold is used until it is asked.
    #[must_use]
    pub fn with_secrets(mut self, source: SecretSource) -> Self {
        self.secrets = Some(source);
        self
    }

    /// Sets who may read and change what we create.
    #[must_use]
    pub fn with_acl(mut self, acl: Acl) -> Self {
        self.acl = acl;
        self
    }

    /// Sets whether a chroot that does not exist is created.
    #[must_use]
    pub fn with_chroot(mut self, chroot: Chroot) -> Self {
        self.chroot = chroot;
        self
    }

    /// Sets whether a registration may stand beside instances whose readers would be broken by it.
    #[must_use]
    pub fn with_mixing(mut self, mixing: Mixing) -> Self {
        self.mixing = mixing;
        self
    }

    /// Sets over how many nodes the instances of each service are spread that this registry registers.
    #[must_use]
    pub fn with_shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    /// Runs the background tasks on this runtime instead of a thread of our own.
    #[must_use]
    pub fn with_runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Sets how often registrations and views are compared with ZooKeeper.
    #[must_use]
    pub fn with_audit_interval(mut self, interval: Duration) -> Self {
        self.audit_interval = interval;
        self
    }

    /// Sets what a view does when most instances vanish at once.
    #[must_use]
    pub fn with_suspicion(mut self, suspicion: Suspicion) -> Self {
        self.suspicion = suspicion;
        self
    }

    /// Sets how large the records of a service may be.
    #[must_use]
    pub fn with_record_limits(mut self, limits: RecordLimits) -> Self {
        self.record_limits = limits;
        self
    }

    /// Sets the directory for snapshot files.
    #[must_use]
    pub fn with_snapshot_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.snapshot_dir = Some(dir.into());
        self
    }

    /// Refuses what cannot work, whatever ZooKeeper says: an error of kind `Invalid` that names the option.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Invalid, message));
        if self.session_timeout < SHORTEST_SESSION || self.session_timeout > LONGEST_SESSION {
            return refuse("session timeout: use 10 milliseconds to 24 days");
        }
        if self.audit_interval.is_zero() || self.audit_interval > LONGEST_AUDIT {
            return refuse("audit interval: use a duration above zero, of at most one day");
        }
        if self.record_limits.record == 0 || self.record_limits.service < self.record_limits.record {
            return refuse("record limits: use at least 1 byte for one, and no less for all of a service");
        }
        if self.acl != Acl::Open && !self.has_identity() {
            return refuse("acl: creator and read-only need credentials or a TLS certificate of our own");
        }
        if self.tls.is_some() && !cfg!(feature = "tls") {
            return refuse("tls: this build lacks the feature `tls`");
        }
        if !(1..=shards::MOST).contains(&self.shards) {
            return refuse("shards: use 1 to 1024");
        }
        if self.shards > 1 && self.format.sharding() != Sharding::ReadAndWrite {
            let message = format!("shards: format {} cannot have any; use curator", self.format.name());
            return refuse(&message);
        }
        self.check_sources()?;
        self.credentials.iter().try_for_each(Credentials::validate)
    }

    /// Where services are read, and registrations stand: `base` and `format` first.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> {
        let first = Source::new(self.base.clone(), self.format.clone());
        std::iter::once(first).chain(self.further.iter().cloned())
    }

    /// One source twice would read every instance twice, and write it to one node.
    fn check_sources(&self) -> Result<(), Error> {
        let mut seen = Vec::new();
        for source in self.sources() {
            let this = (source.base.to_string(), format!("{:?}", source.format));
            if seen.contains(&this) {
                let message = format!("format: {} below {} is named twice", source.format.name(), this.0);
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            seen.push(this);
        }
        Ok(())
    }

    /// Whether the server can know us by something else than our IP address.
    fn has_identity(&self) -> bool {
        !self.credentials.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.identity_pem.is_some())
    }
}

/// A server's tick is never that short; it would clamp the timeout anyway.
const SHORTEST_SESSION: Duration = Duration::from_millis(10);
/// ZooKeeper carries the timeout as a positive 32-bit number of milliseconds.
pub(crate) const LONGEST_SESSION: Duration = Duration::from_millis(i32::MAX as u64);

/// What waits longer for its mistakes to be found might as well not look; and a clock can add it without a thought.
pub(crate) const LONGEST_AUDIT: Duration = Duration::from_secs(86_400);

impl Default for Options {
    fn default() -> Self {
        Self {
            base: BasePath::default(),
            format: Arc::new(crate::format::Curator),
            further: Vec::new(),
            session_timeout: Duration::from_secs(10),
            credentials: Vec::new(),
            tls: None,
            secrets: None,
            acl: Acl::Open,
            chroot: Chroot::Expect,
            mixing: Mixing::Refuse,
            shards: 1,
            runtime: None,
            audit_interval: Duration::from_secs(30),
            suspicion: Suspicion::Keep,
            record_limits: RecordLimits::default(),
            snapshot_dir: None,
        }
    }
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

/// Whether a registration may stand beside instances of another fleet whose readers would be broken by it: a record of Curator's
/// without Dubbo's payload costs Dubbo's readers every instance of the application.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mixing {
    /// It may.
    Allow,
    /// It fails. Before the first registration in a directory three of its children are read; one with more than 1,000 children
    /// is not looked at.
    #[default]
    Refuse,
}

/// What a view does when most instances vanish at once without having drained: at least three sessions, and at least half of
/// all that owned instances, within 2 seconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Suspicion {
    /// They are forgotten at once.
    Forget,
    /// They are kept apart as [suspects](crate::Snapshot::suspects), until they are back, for two session timeouts at most.
    #[default]
    Keep,
}

/// How large the records of a service may be. Without limits, a client that may write to the service's directory could fill
/// the memory of every reader.
///
/// What exceeds a limit is [rejected](crate::Snapshot::rejected) by readers, and its neighbours are listed all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RecordLimits {
    /// The most bytes of one record. Registering a larger one fails with `TooLarge`; an instance whose record grows past
    /// it stays listed with the last one that did not. Defaults to 256 KiB.
    pub record: usize,
    /// The most bytes that a view keeps of a service: ids, hosts, zones and metadata, and 256 bytes for each instance.
    /// The instances with the oldest nodes are kept. Defaults to 256 MiB.
    pub service: usize,
}

impl RecordLimits {
    /// Sets the most bytes of one record.
    #[must_use]
    pub fn with_record(mut self, bytes: usize) -> Self {
        self.record = bytes;
        self
    }

    /// Sets the most bytes that a view keeps of a service.
    #[must_use]
    pub fn with_service(mut self, bytes: usize) -> Self {
        self.service = bytes;
        self
    }
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { record: 256 << 10, service: 256 << 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: Options) -> String {
        let error = options.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    fn digest(user: &str) -> Credentials {
        Credentials::Digest { user: user.into(), password: "hush".into() }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(Options::default().validate().is_ok());
    }

    #[test]
    fn an_option_that_cannot_work_is_named() {
        let options = Options::default;
        assert!(refusal(options().with_session_timeout(Duration::ZERO)).starts_with("session timeout"));
        assert!(refusal(options().with_session_timeout(Duration::MAX)).starts_with("session timeout"));
        assert!(refusal(options().with_audit_interval(Duration::ZERO)).starts_with("audit interval"));
        assert!(refusal(options().with_audit_interval(Duration::MAX)).starts_with("audit interval"));
        for shards in [0, 1_025] {
            assert_eq!(refusal(options().with_shards(shards)), "shards: use 1 to 1024");
        }
        for format in crate::format::NAMES.iter().filter(|name| **name != "curator") {
            let Ok(format) = crate::format::named(format) else { continue };
            let refusal = refusal(options().with_format(format).with_shards(2));
            assert!(refusal.starts_with("shards: format"), "{refusal}");
        }
        assert!(options().with_shards(1_024).validate().is_ok());
        let limits = RecordLimits::default;
        assert!(refusal(options().with_record_limits(limits().with_record(0))).starts_with("record limits"));
        assert!(refusal(options().with_record_limits(limits().with_service(1))).starts_with("record limits"));
        assert!(refusal(options().with_acl(Acl::Creator)).starts_with("acl"));
        assert!(refusal(options().with_acl(Acl::ReadOnly)).starts_with("acl"));
        assert!(refusal(options().with_credentials(digest("a:b"))).starts_with("credentials"));
        assert!(refusal(options().with_credentials(digest(""))).starts_with("credentials"));
    }

    #[test]
    fn a_narrow_acl_needs_an_identity() {
        let options = Options::default().with_acl(Acl::Creator);
        assert!(options.clone().with_credentials(digest("fleet")).validate().is_ok());
        let certificate = options.with_tls(Tls::new("ca").with_identity("certificate", "key"));
        assert_eq!(certificate.validate().is_ok(), cfg!(feature = "tls"));
    }

    #[test]
    fn debug_never_shows_a_secret() {
        let options = Options::default()
            .with_credentials(digest("fleet"))
            .with_tls(Tls::new("ca").with_identity("certificate", "hush"));
        let shown = format!("{options:?}");
        assert!(shown.contains("fleet") && !shown.contains("hush"), "{shown}");
        // A password given as part of the user name must not appear in a log.
        let mistaken = Options::default().with_credentials(digest("fleet:hush"));
        let shown = format!("{mistaken:?} {}", refusal(mistaken.clone()));
        assert!(shown.contains("fleet") && !shown.contains("hush"), "{shown}");
    }
}
