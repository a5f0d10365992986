//! The names of services and instances, and ZooKeeper's rules for them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// The name of a service: one or more path segments, as in `time` or `com/example/time`.
///
/// Refused: empty segments, `.`, `..`, control, surrogate-range and private-use characters.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            let message =
                format!("service name {name:?}: {why}; use names like `time` or `com/example/time`");
            Error::new(ErrorKind::Invalid, message)
        };
        if name.len() > 1 && (name.starts_with('/') || name.ends_with('/')) {
            return Err(refuse("a name neither begins nor ends with `/`"));
        }
        for segment in name.split('/') {
            check_segment(segment).map_err(refuse)?;
        }
        Ok(Self(name.into()))
    }
}

/// The name of one instance within its service; one path segment, by default its address (`host:port`).
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// A name that was not checked: for saying what could not be used.
    pub(crate) fn unchecked(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as it stands in ZooKeeper.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::Invalid, format!("instance id {id:?}: {why}")));
        match check_segment(id) {
            Err(why) => refuse(why),
            Ok(()) if id.contains('/') => refuse("must not contain `/`"),
            Ok(()) => Ok(Self(id.into())),
        }
    }
}

/// The name of an instance's node: one path segment, chosen by the format. The formats so far name it by the instance's id;
/// others number their nodes, or write data into the name.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name as it stands in ZooKeeper.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of an instance that is named like its node.
    pub fn to_id(&self) -> InstanceId {
        InstanceId(self.0.clone())
    }
}

impl From<InstanceId> for NodeName {
    fn from(id: InstanceId) -> Self {
        Self(id.0)
    }
}

impl FromStr for NodeName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        name.parse().map(|id: InstanceId| id.into())
    }
}

macro_rules! name_traits {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_traits!(ServiceName);

name_traits!(InstanceId);
name_traits!(NodeName);

/// ZooKeeper's own rules for a path segment, and why one breaks them.
pub(crate) fn check_segment(segment: &str) -> Result<(), &'static str> {
    let forbidden = |c: char| matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
    match segment {
        "" => Err("a segment is empty"),
        "." | ".." => Err("`.` and `..` cannot be a segment"),
        // Nearly every segment is this, and a name can have a whole url: without a way out of it, the loop takes many bytes at once.
        _ if segment.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) => Ok(()),
        _ if segment.chars().any(forbidden) => {
            Err("control, private-use and special characters cannot be part of a ZooKeeper path")
        }
        // UTF-16 writes them as two surrogates, and ZooKeeper refuses either.
        _ if segment.chars().any(|c| c > '\u{ffff}') => {
            Err("characters beyond U+FFFF, such as emoji, cannot be part of a ZooKeeper path")
        }
        _ => Ok(()),
    }
}
