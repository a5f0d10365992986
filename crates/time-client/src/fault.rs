//! What can go wrong, as diagnoses that an operator can act on: with one attempt, and with a whole query.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use zk_registry::balance::{GiveUp, Outcome, PickError};
use zk_registry::{DialRefused, InstanceId, ServiceName};

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
    /// This machine could not dial, for want of descriptors, ports or memory: no fault of the instance.
    Local(io::Error),
    /// The dial policy refuses every address of the instance.
    NotAllowed(DialRefused),
    /// The instance said that it cannot.
    Refused(String),
    /// It was connected, but the answer did not come in time.
    Silent(Duration),
}

impl Fault {
    /// The fault of a dial that failed.
    pub(crate) fn of_dial(error: io::Error) -> Self {
        const LOCAL: [Errno; 6] = [
            Errno::EADDRINUSE,
            Errno::EADDRNOTAVAIL,
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ENOBUFS,
            Errno::ENOMEM,
        ];
        let errno = error.raw_os_error().map(Errno::from_raw);
        if errno.is_some_and(|errno| LOCAL.contains(&errno)) { Self::Local(error) } else { Self::Dial(error) }
    }

    /// The outcome that a balancer is told. [`Outcome::Cancelled`] for a fault of this machine, which says nothing of the
    /// instance.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Local(_) => Outcome::Cancelled,
            Self::Dial(_) | Self::DialTimeout(_) | Self::NotAllowed(_) => Outcome::Unreachable,
            Self::Refused(_) => Outcome::Refused,
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
            Self::Local(error) => write!(f, "this machine cannot dial: {}", reason(error)),
            Self::NotAllowed(refused) => write!(f, "cannot be connected to: {refused}"),
            Self::Refused(what) => write!(f, "refused: {what}"),
            Self::Silent(after) => write!(f, "did not answer within {after:.0?}"),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Dial(error) | Self::Io(error) | Self::Local(error) => Some(error),
            Self::NotAllowed(refused) => Some(refused),
            _ => None,
        }
    }
}

/// An attempt that failed: which instance, and why.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The instance that was asked.
    pub instance: InstanceId,
    /// The address that was dialled, as host and port.
    pub address: String,
    /// What happened.
    pub fault: Fault,
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.instance)?;
        if self.address != self.instance.as_str() {
            write!(f, " at {}", self.address)?;
        }
        write!(f, " {}", self.fault)
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
        /// Whether there is none, it is not known yet, or it was not known for a while.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_no_fault_of_the_instance() {
        for errno in [Errno::EMFILE, Errno::EADDRNOTAVAIL] {
            let fault = Fault::of_dial(io::Error::from_raw_os_error(errno as i32));
            assert!(matches!(fault, Fault::Local(_)), "{fault:?}");
            assert_eq!(fault.outcome(), Outcome::Cancelled);
        }
        let refused = Fault::of_dial(io::Error::from_raw_os_error(Errno::ECONNREFUSED as i32));
        assert_eq!(refused.outcome(), Outcome::Unreachable);
    }

    #[test]
    fn a_failed_attempt_names_the_address_where_the_id_does_not() {
        let attempt = |id: &str| FailedAttempt {
            instance: id.parse().unwrap(),
            address: "10.0.0.1:8897".to_owned(),
            fault: Fault::Closed,
        };
        assert!(attempt("a-7").to_string().starts_with("a-7 at 10.0.0.1:8897 closed"));
        assert!(attempt("10.0.0.1:8897").to_string().starts_with("10.0.0.1:8897 closed"));
    }
}
