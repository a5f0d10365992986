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
        // Nothing stands there that clients could see drain, or ZooKeeper is not heard.
        let is_listed = matches!(
            &*registration.states().borrow(),
            RegistrationState::Registered { .. } | RegistrationState::Retrying { standing: Some(_), .. }
        );
        if is_listed && !self.notice.is_zero() {
            self.drain(&registration).await;
        }
        let withdrawn = registration.withdraw(self.within).await;
        if is_listed {
            sleep(self.linger).await;
        }
        withdrawn
    }

    /// Says that it drains, and waits until that is known. A format that cannot say so is no reason to wait.
    async fn drain(&self, registration: &Registration) {
        let draining = registration.update(|attributes| attributes.status = Status::Draining);
        match timeout(self.within, draining).await {
            Ok(Ok(_)) => sleep(self.notice).await,
            Ok(Err(error)) if error.kind() == ErrorKind::Invalid => {}
            Ok(Err(error)) => warn!(path = registration.path(), %error, "could not say that it drains"),
            Err(_) => {
                warn!(path = registration.path(), within = ?self.within, "could not say that it drains");
            }
        }
    }
}
