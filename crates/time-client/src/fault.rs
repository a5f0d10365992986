//! What can go wrong, as diagnoses that somebody can act on: with one attempt, and with a whole query.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use zk_registry::balance::{GiveUp, Outcome, PickError};
use zk_registry::{InstanceId, ServiceName};

/// Why one attempt at one instance failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The connection was closed before the answer.
    Closed,
    /// No connection could be made.
    Dial(io::Error),
    /// No connection was made in time.
    DialTimeout(Duration),
    /// The instance answered, but nothing that answers the request.
    Garbage(String),
    /// The connection broke before the answer.
    Io(io::Error),
    /// The instance said that it cannot.
    Refused(String),
    /// It was connected, but the answer did not come in time.
    Silent(Duration),
}

impl Fault {
    /// What a balancer should learn from it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Dial(_) | Self::DialTimeout(_) | Self::Refused(_) => Outcome::Refused,
            Self::Closed | Self::Garbage(_) | Self::Io(_) | Self::Silent(_) => Outcome::Failure,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Garbage(error.to_string()),
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed the connection without an answer"),
            Self::Dial(error) => write!(f, "cannot be connected to: {}", reason(error)),
            Self::DialTimeout(after) => write!(f, "cannot be connected to within {after:.0?}"),
            Self::Garbage(what) => write!(f, "answered {what}"),
            Self::Io(error) => write!(f, "the connection broke: {}", reason(error)),
            Self::Refused(what) => write!(f, "refused: {what}"),
            Self::Silent(after) => write!(f, "did not answer within {after:.0?}"),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Dial(error) | Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// An attempt that failed: which instance, and why.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The instance that was asked.
    pub instance: InstanceId,
    /// What happened.
    pub fault: Fault,
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.instance, self.fault)
    }
}

/// Why a query got no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum AskError {
    /// The time for the query was over before an attempt could succeed.
    Deadline {
        /// How long the query might take.
        within: Duration,
        /// The attempts that failed meanwhile.
        failed: Vec<FailedAttempt>,
    },
    /// Every attempt that was allowed failed.
    Exhausted {
        /// The attempts.
        failed: Vec<FailedAttempt>,
        /// Why there was none more.
        why: GiveUp,
    },
    /// There was no instance to ask.
    Nothing {
        /// The service.
        service: ServiceName,
        /// Whether there is none, nobody knows yet, or nobody has known for a while.
        why: PickError,
        /// Attempts that had failed before.
        failed: Vec<FailedAttempt>,
    },
}

impl AskError {
    /// The attempts that failed, in their order.
    pub fn failed(&self) -> &[FailedAttempt] {
        match self {
            Self::Deadline { failed, .. } | Self::Exhausted { failed, .. } | Self::Nothing { failed, .. } => {
                failed
            }
        }
    }

    /// The diagnosis as one word, for counting and for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "deadline",
            Self::Exhausted { .. } => "exhausted",
            Self::Nothing { why: PickError::Pending, .. } => "pending",
            Self::Nothing { why: PickError::Stale { .. }, .. } => "stale",
            Self::Nothing { .. } => "no-instance",
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { within, .. } => write!(f, "no answer within {within:?}")?,
            Self::Exhausted { failed, why } => {
                let plural = if failed.len() == 1 { "" } else { "s" };
                write!(f, "no answer after {} attempt{plural}, {why}", failed.len())?;
            }
            Self::Nothing { service, why, .. } => write!(f, "no instance of {service} to ask: {why}")?,
        }
        for (n, attempt) in self.failed().iter().enumerate() {
            write!(f, "{} {attempt}", if n == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl Error for AskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failed().last().map(|attempt| &attempt.fault as &(dyn Error + 'static))
    }
}

/// The operating system's words without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}
