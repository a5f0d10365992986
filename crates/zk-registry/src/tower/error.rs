//! The reasons for which a balanced call fails.

use std::fmt;

use super::BoxError;
use crate::balance::PickError;
use crate::error::Error;
use crate::instance::InstanceId;

/// The reason for which a call through a [`Balance`](super::Balance) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BalanceError {
    /// The client's own error: the request was handed over.
    Call(BoxError),
    /// Every instance was dialled, and none was reached. The request was handed to none of them.
    Dial {
        /// The instances, in the order in which they were tried, with the error of each.
        tried: Vec<(InstanceId, BoxError)>,
    },
    /// There was no instance to call, for as long as the call waited.
    Pick {
        /// The reason.
        why: PickError,
        /// The error for which the service cannot be read, if ZooKeeper or the registry said so.
        cause: Option<Error>,
    },
    /// There is no instance to call, and none will come: the registry was closed, or [`Follow`](super::Follow) was dropped.
    Unfollowed {
        /// The reason for which there is none.
        why: PickError,
    },
}

impl fmt::Display for BalanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "the call failed: {error}"),
            Self::Dial { tried } => {
                write!(f, "none of {} instances was reached", tried.len())?;
                for (at, (instance, error)) in tried.iter().enumerate() {
                    write!(f, "{} {instance}: {error}", if at == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            Self::Pick { why, cause: Some(cause) } => write!(f, "{why}: {cause}"),
            Self::Pick { why, cause: None } => why.fmt(f),
            Self::Unfollowed { why } => write!(f, "{why}, and the instances are followed no more"),
        }
    }
}

impl std::error::Error for BalanceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(&**error),
            Self::Dial { tried } => {
                tried.last().map(|(_, error)| &**error as &(dyn std::error::Error + 'static))
            }
            Self::Pick { cause: Some(cause), .. } => Some(cause),
            Self::Pick { why, cause: None } | Self::Unfollowed { why } => Some(why),
        }
    }
}
