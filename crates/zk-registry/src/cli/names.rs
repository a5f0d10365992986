//! The words by which a format and an ACL are chosen on a command line.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;

use crate::Acl;
use crate::format::{Curator, CuratorStrict, Format, Plain, Spring};

/// The formats that a program can be told to use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FormatName {
    /// What Apache Curator reads and writes, with weight, zone and metadata in a field of our own
    Curator,
    /// Curator's nine fields and nothing else, for very old readers
    CuratorStrict,
    /// The node's name is the address, its data is empty
    Plain,
    /// What Spring Cloud Zookeeper reads and writes, from 2.0 on
    Spring,
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
    pub fn format(self) -> Arc<dyn Format> {
        match self {
            Self::Curator => Arc::new(Curator),
            Self::CuratorStrict => Arc::new(CuratorStrict),
            Self::Plain => Arc::new(Plain),
            Self::Spring => Arc::new(Spring),
        }
    }

    /// Whether a record of this format can carry weight, zone, metadata and that an instance is draining.
    pub fn carries_attributes(self) -> bool {
        matches!(self, Self::Curator | Self::Spring)
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Curator => "curator",
            Self::CuratorStrict => "curator-strict",
            Self::Plain => "plain",
            Self::Spring => "spring",
        })
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
