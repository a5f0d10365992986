//! The words by which a format and an ACL are chosen on a command line.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use clap::ValueEnum;

use crate::Acl;
use crate::error::Error;
use crate::format::sealed::{Drain, Owner, Place};
use crate::format::{Curator, Format, named};
use crate::instance::{Instance, ServiceName};

/// A format by its word, with its parameters if it has any: `dubbo:group=g,version=1.0.0`.
#[derive(Clone, Debug)]
pub struct FormatName {
    word: String,
    format: Arc<dyn Format>,
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

impl FormatName {
    /// The format of this name.
    pub fn format(&self) -> Arc<dyn Format> {
        self.format.clone()
    }

    /// Whether an instance can be seen to be draining in this format.
    pub fn carries_status(&self) -> bool {
        self.format.carries().drain != Drain::Remove
    }

    /// Whether this format can write an instance of that service.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), with the reason why it cannot.
    pub fn check(&self, service: &ServiceName, instance: &Instance) -> Result<(), Error> {
        let owner = Owner { host: None, incarnation: uuid::Uuid::nil() };
        let id = instance.id()?;
        let place = Place { service, id: &id, owner: &owner, registered: SystemTime::UNIX_EPOCH };
        self.format.record(&place, instance).map(drop)
    }
}

impl Default for FormatName {
    /// `curator`.
    fn default() -> Self {
        Self { word: Curator.name().to_owned(), format: Arc::new(Curator) }
    }
}

impl FromStr for FormatName {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Ok(Self { word: word.to_owned(), format: named(word)? })
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word)
    }
}

impl AclName {
    /// The ACL of this name.
    pub fn acl(self) -> Acl {
        match self {
            Self::Creator => Acl::Creator,
            Self::Open => Acl::Open,
            Self::ReadOnly => Acl::ReadOnly,
        }
    }
}

impl fmt::Display for AclName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creator => "creator",
            Self::Open => "open",
            Self::ReadOnly => "read-only",
        })
    }
}
