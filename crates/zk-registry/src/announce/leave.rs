//! The order in which a server leaves, and how long each step may take.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::error::ErrorKind;
use crate::instance::Status;
use crate::registration::{Registration, RegistrationState};
use crate::withdrawn::Withdrawn;

/// How a listener leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Leave {
    /// For how long it stays listed as draining, so that clients stop choosing it. Defaults to 300 milliseconds.
    pub notice: Duration,
    /// For how long it serves on once it is listed no more, for calls that were chosen before. Defaults to 500 milliseconds.
    pub linger: Duration,
    /// How long ZooKeeper has to acknowledge, for each of the two writes. Defaults to 3 seconds.
    pub within: Duration,
}

impl Default for Leave {
    fn default() -> Self {
        Self {
            notice: Duration::from_millis(300),
            linger: Duration::from_millis(500),
            within: Duration::from_secs(3),
        }
    }
}

impl Leave {
    /// Sets [`notice`](Self::notice).
    #[must_use]
    pub const fn with_notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }

    /// Sets [`linger`](Self::linger).
    #[must_use]
    pub const fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets [`within`](Self::within).
    #[must_use]
    pub const fn with_within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    pub(super) async fn withdraw(self, registration: Registration) -> Withdrawn {
        let is_listed = is_listed(&registration.states().borrow());
        if is_listed
            && !self.notice.is_zero()
            && let Err(why) = self.drain(&registration).await
        {
            warn!(path = registration.path(), "could not say that it drains: {why}");
        }
        let withdrawn = registration.withdraw(self.within).await;
        if is_listed {
            sleep(self.linger).await;
        }
        withdrawn
    }

    /// Says that it drains, and waits until that is known. A format that cannot say so is no reason to wait.
    async fn drain(&self, registration: &Registration) -> Result<(), String> {
        let draining = registration.update(|attributes| attributes.status = Status::Draining);
        match timeout(self.within, draining).await {
            Ok(Ok(_)) => {
                sleep(self.notice).await;
                Ok(())
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Invalid => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(match &*registration.states().borrow() {
                // ZooKeeper answers, and refuses: a quota is used up, or its access control forbids it.
                RegistrationState::Retrying { cause, .. } => cause.to_string(),
                _ => format!("ZooKeeper does not answer within {:?}", self.within),
            }),
        }
    }
}

/// Whether a node stands there that clients could see drain, and ZooKeeper is heard.
fn is_listed(state: &RegistrationState) -> bool {
    // An update of the node may have been refused; the node stands all the same.
    matches!(
        state,
        RegistrationState::Registered { .. } | RegistrationState::Retrying { standing: Some(_), .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::ServiceName;
    use crate::snapshot::Zxid;

    #[test]
    fn readers_are_told_of_the_end_also_while_an_update_is_refused() {
        let cause = "".parse::<ServiceName>().unwrap_err();
        let refused = |standing| RegistrationState::Retrying { cause: cause.clone(), standing };
        assert!(is_listed(&RegistrationState::Registered { zxid: Zxid(7) }));
        assert!(is_listed(&refused(Some(Zxid(7)))));
        assert!(!is_listed(&refused(None)));
        assert!(!is_listed(&RegistrationState::Suspended { zxid: Zxid(7) }), "ZooKeeper is not heard");
        assert!(!is_listed(&RegistrationState::Pending));
    }
}
