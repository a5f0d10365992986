//! Notifications to the service manager that listens on `NOTIFY_SOCKET`, such as systemd, and the sockets that it hands over.
//!
//! Without a listener nothing is sent. A message that cannot be sent is a debug line: the service is more important.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// The service can be used; also ends a reload.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "the service manager is not told of the reload"),
    }
}

/// One line for people.
pub(crate) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The service is leaving, which may take this long.
pub(crate) fn stopping(within: Duration) {
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within)]);
}

/// Says twice in each period of the watchdog that the runtime still runs tasks; never, where nobody has asked for it.
pub(crate) async fn feed_watchdog() -> std::convert::Infallible {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = interval(period / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager cannot be told");
    }
}

/// Whether the service manager has handed over sockets to this process.
pub(crate) fn hands_over_sockets() -> bool {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    is_ours && number("LISTEN_FDS").is_some_and(|count| count > 0)
}

/// The listening sockets that the service manager has handed over, in its order; none without one. To be called once, before
/// any other thread is started: it changes the environment.
///
/// # Errors
///
/// A socket that does not listen on TCP.
pub fn sockets() -> io::Result<Vec<TcpListener>> {
    if !hands_over_sockets() {
        return Ok(Vec::new());
    }
    let mut passed = listenfd::ListenFd::from_env();
    (0..passed.len()).filter_map(|n| passed.take_tcp_listener(n).transpose()).collect()
}
