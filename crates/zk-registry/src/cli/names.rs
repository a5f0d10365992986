//! The words by which a format and an ACL are chosen on a command line.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use clap::ValueEnum;

use crate::Acl;
use crate::error::{Error, ErrorKind};
use crate::format::sealed::{Amendment, Drain, Owner, Place};
use crate::format::{Curator, Format, NAMES, named};
use crate::instance::{Instance, ServiceName, Status};

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
    /// [`ErrorKind::Invalid`], with the reason why it cannot.
    pub fn check(&self, service: &ServiceName, instance: &Instance) -> Result<(), Error> {
        let owner = Owner { host: None, incarnation: uuid::Uuid::nil() };
        let id = instance.id()?;
        let place = Place { service, id: &id, owner: &owner, registered: SystemTime::UNIX_EPOCH };
        self.format.record(&place, instance).map(drop)
    }

    /// Whether others than its owner can drain an instance in this format, and bring it back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`], with the reason why only the owner can, and the formats in which others can.
    pub fn check_drain(&self) -> Result<(), Error> {
        self.check_amendment(Amendment::Status(Status::Draining, None))
    }

    /// Whether others than its owner can change the weight of an instance in this format.
    ///
    /// # Errors
    ///
    /// As [`check_drain`](Self::check_drain).
    pub fn check_weight(&self) -> Result<(), Error> {
        self.check_amendment(Amendment::Weight(NonZeroU16::MIN))
    }

    fn check_amendment(&self, amendment: Amendment<'_>) -> Result<(), Error> {
        let Some(why) = self.format.unamendable(amendment) else { return Ok(()) };
        let can = |name: &&str| named(name).is_ok_and(|format| format.unamendable(amendment).is_none());
        let accepted: Vec<_> = NAMES.into_iter().filter(can).collect();
        let message = format!("format {self}: {why}; it can be done in {}", accepted.join(", "));
        Err(Error::new(ErrorKind::Invalid, message))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_in_which_only_the_owner_can_drain_or_weigh_is_refused_with_those_in_which_others_can() {
        let format = |name: &str| name.parse::<FormatName>().unwrap();
        let can = |check: fn(&FormatName) -> Result<(), Error>| {
            NAMES.into_iter().filter(|name| check(&format(name)).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(can(FormatName::check_drain), ["curator", "dubbo", "spring"]);
        assert_eq!(can(FormatName::check_weight), ["curator", "dubbo", "kitex", "kratos", "motan", "spring"]);
        for (name, why) in [
            ("dubbo-app:mapping=/dubbo/mapping", "only read"),
            ("dubbo:group=*", "name them"),
            ("curator-strict", "cannot say that an instance is draining"),
        ] {
            let refused = format(name).check_drain().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            let said = refused.to_string();
            assert!(said.starts_with(&format!("format {name}: ")) && said.contains(why), "{said}");
            assert!(said.ends_with("; it can be done in curator, dubbo, spring"), "{said}");
        }
    }
}
