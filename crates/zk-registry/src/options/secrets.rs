//! Credentials and certificates that change while a registry is open.

use std::fmt;
use std::sync::Arc;

use super::{Credentials, Tls};

/// Who we are to ZooKeeper and whom we trust, as a source gives it anew. `Debug` shows no secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Secrets {
    /// The identities shown to ZooKeeper.
    pub credentials: Vec<Credentials>,
    /// TLS towards ZooKeeper.
    pub tls: Option<Tls>,
}

/// Gives [`Secrets`] anew: a certificate of 24 hours is renewed in its file, and the registry goes on with it.
///
/// It is asked before each session is opened, and while a connection is lost: certificates are used from the next
/// handshake on, without a new session. Credentials are those of the session that they were given for; changed ones are
/// used from the next session on. What cannot be used, such as a key that is not the certificate's because only one of two
/// files was written so far, is logged, and the last good secrets stay.
#[derive(Clone)]
pub struct SecretSource(Arc<Read>);

type Read = dyn Fn() -> Result<Secrets, String> + Send + Sync;

impl SecretSource {
    /// A source that calls `read`, which may block for as long as a connection may take; it runs on a thread of its own.
    /// An error is a line for the log, without a secret in it.
    pub fn new(read: impl Fn() -> Result<Secrets, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The secrets of now.
    ///
    /// # Errors
    ///
    /// Why there are none, in one line.
    pub fn read(&self) -> Result<Secrets, String> {
        (self.0)()
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretSource").finish_non_exhaustive()
    }
}
