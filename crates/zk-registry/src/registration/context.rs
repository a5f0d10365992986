//! What a registrar knows of its registry.

use std::sync::Arc;
use std::time::Duration;

use super::decision::Identity;
use super::holders::Holders;
use crate::format::Format;
use crate::instance::BasePath;
use crate::options::Acl;
use crate::session::Sessions;

/// What a registrar needs to know of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) base: BasePath,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) acl: Acl,
    pub(crate) audit_interval: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) chroot_len: usize,
    /// Where every jitter of this registry comes from.
    pub(crate) seed: u64,
    pub(crate) us: Arc<Identity>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) holders: Arc<Holders>,
}

/// What a path costs the transaction that closes its session: the server writes every path into it.
pub(crate) fn path_load(path: &str, chroot_len: usize) -> usize {
    path.len() + chroot_len + 4
}
