//! From a request to its reply: all that the service does, without any I/O.

use std::sync::Arc;

use jiff::Timestamp;

use crate::daemon::clock::Clock;
use crate::daemon::metrics::Asked;
use crate::protocol::{Reply, Request};

/// Answers one request that was received at `received` on a listener whose address `listener` tells.
///
/// `now` is told the time of receipt: requests that were read at once are told the same, and a batch costs one look at the
/// clock. For the others the clock is read here, that is directly before the reply is encoded: what a batch of pipelined
/// replies adds to the time between a `sync` reply's last stamp and the socket is the encoding of the replies behind it.
pub(crate) fn answer(
    request: Request,
    received: Timestamp,
    listener: impl FnOnce() -> Arc<str>,
    clock: &dyn Clock,
) -> Reply {
    match request {
        Request::Now => Reply::Now(received),
        Request::Sync { t1 } => Reply::Sync { t1, t2: since_epoch(received), t3: since_epoch(clock.now()) },
        Request::Timestamp => Reply::Timestamp { listener: listener(), time: clock.now() },
    }
}

/// The counter of a request.
pub(crate) fn asked(request: Request) -> Asked {
    match request {
        Request::Now => Asked::Now,
        Request::Sync { .. } => Asked::Sync,
        Request::Timestamp => Asked::Timestamp,
    }
}

/// Nanoseconds since the epoch; 0 for a clock that is set before it.
fn since_epoch(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Stopped(i64);

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0).unwrap()
        }
    }

    #[test]
    fn a_sync_reply_carries_the_time_of_receipt_and_the_time_now() {
        let received = Timestamp::from_second(10).unwrap();
        let reply = answer(Request::Sync { t1: 5 }, received, || "a".into(), &Stopped(11));
        assert_eq!(reply, Reply::Sync { t1: 5, t2: 10_000_000_000, t3: 11_000_000_000 });
    }

    #[test]
    fn now_is_when_the_request_was_received() {
        let received = Timestamp::from_second(10).unwrap();
        assert_eq!(answer(Request::Now, received, || "a".into(), &Stopped(11)), Reply::Now(received));
    }

    #[test]
    fn a_clock_before_the_epoch_is_told_as_the_epoch() {
        let reply = answer(Request::Sync { t1: 0 }, Timestamp::MIN, || "a".into(), &Stopped(-1));
        assert_eq!(reply, Reply::Sync { t1: 0, t2: 0, t3: 0 });
    }
}
