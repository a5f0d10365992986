//! How the program ends: the exit codes are part of its interface.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use zk_registry::cli::UsageError;
use zk_registry::{ConnectString, Error, ErrorKind, ServiceName};

/// How a run ended, as its caller sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// It is so, or it is done.
    Yes = 0,
    /// It is not so: nothing is there, something differs, a change was refused. Also when the output could not be written.
    No = 1,
    /// The command line was wrong; nothing was touched. `doctor` ends so when something is broken.
    Usage = 2,
    /// ZooKeeper was not reached, or does not let us read.
    Unreachable = 3,
    /// What was waited for did not come in time.
    TimedOut = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a run ended before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A signal came first.
    Interrupted,
    /// There is nothing to show.
    Nothing(String),
    /// There is no such node.
    NotThere { service: ServiceName, node: String, others: Vec<String> },
    /// ZooKeeper was not reached in time.
    NotReached { to: ConnectString, within: Duration, cause: Option<Error> },
    /// A change that was refused, and why.
    Refused(String),
    /// What the library says.
    Registry(Error),
    /// What was waited for did not come in time.
    TimedOut(String),
    /// The command line was wrong.
    Usage(UsageError),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Nothing(_) | Self::Refused(_) | Self::NotThere { .. } => Exit::No,
            Self::Registry(error) => match error.kind() {
                ErrorKind::Conflict => Exit::No,
                ErrorKind::Invalid => Exit::Usage,
                _ => Exit::Unreachable,
            },
            Self::Interrupted | Self::NotReached { .. } => Exit::Unreachable,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Usage(_) => Exit::Usage,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::NotThere { service, node, others } => {
                write!(f, "{service} has no node {node}")?;
                match others.as_slice() {
                    [] => f.write_str("; it has none at all"),
                    some => write!(f, "; it has {}", some.join(", ")),
                }
            }
            Self::NotReached { to, within, cause } => {
                write!(f, "ZooKeeper was not reached at {to} within {within:?}")?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            Self::Nothing(why) | Self::Refused(why) | Self::TimedOut(why) => f.write_str(why),
            Self::Registry(error) => error.fmt(f),
            Self::Usage(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Invalid {
            Self::Usage(UsageError::from_registry(&error))
        } else {
            Self::Registry(error)
        }
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}
