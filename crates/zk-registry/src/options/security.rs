//! Who we are to ZooKeeper, whom we trust, and who may read and change what we create.

use std::fmt;

use crate::error::{Error, ErrorKind};

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

impl Credentials {
    /// ZooKeeper takes `user:password` and cuts at the first colon.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let (Self::Digest { user, .. } | Self::Sasl { user, .. }) = self;
        if user.is_empty() || user.contains(':') {
            // Not shown: what stands behind a colon may be the password.
            return Err(Error::new(ErrorKind::Invalid, "credentials: use a user's name without a colon"));
        }
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, user) = match self {
            Self::Digest { user, .. } => ("Digest", user),
            Self::Sasl { user, .. } => ("Sasl", user),
        };
        let user = user.split(':').next().unwrap_or_default();
        f.debug_struct(scheme).field("user", &user).finish_non_exhaustive()
    }
}

/// TLS towards ZooKeeper, as PEM text: whom we trust and, if asked, who we are. Needs the feature `tls`.
///
/// Certificate revocation lists (`-----BEGIN X509 CRL-----`) may stand beside the authorities. Once there is one, each
/// authority of a server's chain needs one: a certificate whose state no list tells is refused, as a revoked one is. A list
/// that is out of date still counts; nothing is fetched.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tls {
    /// The certificates of the authorities that may sign the servers', and their revocation lists if any.
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
