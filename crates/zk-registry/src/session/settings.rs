//! What a session is opened with.

use std::time::Duration;

use crate::options::{Acl, Chroot, Credentials, Options};

/// The options that concern a session.
#[derive(Debug)]
pub(crate) struct SessionSettings {
    pub(crate) session_timeout: Duration,
    pub(crate) acl: Acl,
    pub(crate) chroot: Chroot,
    /// The schemes under which the server must know us.
    pub(crate) schemes: Vec<&'static str>,
}

impl From<&Options> for SessionSettings {
    fn from(options: &Options) -> Self {
        let scheme = |credentials: &Credentials| match credentials {
            Credentials::Digest { .. } => "digest",
            Credentials::Sasl { .. } => "sasl",
        };
        Self {
            session_timeout: options.session_timeout,
            acl: options.acl,
            chroot: options.chroot,
            schemes: options.credentials.iter().map(scheme).collect(),
        }
    }
}
