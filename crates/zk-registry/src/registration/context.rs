//! What a registrar knows of its registry.

use std::sync::Arc;
use std::time::Duration;

use super::decision::Identity;
use super::holders::Holders;
use super::host;
use super::state::RegistrationState;
use crate::counters::{Census, Counters};
use crate::format::Format;
use crate::instance::BasePath;
use crate::options::{Acl, LONGEST_AUDIT, LONGEST_SESSION, Mixing, Options, Source};
use crate::session::Sessions;
use crate::store::limits::MOST_PER_REQUEST;

/// What a registrar needs to know of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) base: BasePath,
    pub(crate) format: Arc<dyn Format>,
    /// Where services stand; the first is `base` with `format`.
    pub(crate) sources: Arc<[Source]>,
    pub(crate) acl: Acl,
    pub(crate) mixing: Mixing,
    /// Over how many nodes registrations are spread; 1: nothing is looked at.
    pub(crate) shards: u16,
    /// The most bytes of a record.
    pub(crate) largest_record: usize,
    pub(crate) audit_interval: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) chroot_len: usize,
    /// How many registrations fill a transaction, which then goes out beside the round that is under way.
    pub(crate) full_transaction: usize,
    /// Where every jitter of this registry comes from.
    pub(crate) seed: u64,
    pub(crate) us: Arc<Identity>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) holders: Arc<Holders>,
    pub(crate) counters: Arc<Counters>,
    /// Where each registration stands.
    pub(crate) census: Arc<Census<RegistrationState>>,
}

impl Context {
    /// The context of a registry with these options. Each call has an incarnation of its own.
    pub(crate) fn new(options: &Options, chroot_len: usize, seed: u64) -> Self {
        Self {
            base: options.base.clone(),
            format: options.format.clone(),
            sources: options.sources().collect(),
            acl: options.acl,
            mixing: options.mixing,
            shards: options.shards,
            largest_record: options.record_limits.record,
            // Also what was refused must not overflow a clock.
            audit_interval: options.audit_interval.min(LONGEST_AUDIT),
            session_timeout: options.session_timeout.min(LONGEST_SESSION),
            chroot_len,
            // Every second schedule of the tests has more than one round under way at once.
            full_transaction: if cfg!(test) && seed.is_multiple_of(2) { 2 } else { MOST_PER_REQUEST },
            seed,
            us: Arc::new(Identity::new(host::identity())),
            sessions: Arc::new(Sessions::default()),
            holders: Arc::new(Holders::default()),
            counters: Arc::default(),
            census: Arc::default(),
        }
    }
}

/// What a path costs the transaction that closes its session: the server writes every path into it.
pub(crate) fn path_load(path: &str, chroot_len: usize) -> usize {
    path.len() + chroot_len + 4
}
