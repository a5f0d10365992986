//! Wires that a passing message trips, once; and the list of links, so that a cut can be awaited.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::direction::Direction;
use super::frames;
use crate::fair_time::fair_timeout;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Any request of a client, pings and authentication apart.
    Any,
    /// A single create, of any kind.
    Create,
    /// A single delete.
    Delete,
    /// A list of the session's own nodes, which servers know since 3.6.
    Ephemerals,
    /// A transaction.
    Multi,
    /// A read of many nodes.
    MultiRead,
    /// A write of data.
    SetData,
}

impl Request {
    /// Operation numbers of the protocol: create 1, create2 15, createContainer 19, createTTL 21, and so on.
    pub(super) fn matches(self, message: &[u8]) -> bool {
        let (Some(xid), Some(operation)) = (frames::xid(message), frames::operation(message)) else {
            return false;
        };
        match self {
            // Requests that a client sends for itself carry negative numbers.
            Self::Any => xid >= 0,
            Self::Create => matches!(operation, 1 | 15 | 19 | 21),
            Self::Delete => operation == 2,
            Self::Ephemerals => operation == 103,
            Self::Multi => operation == 14,
            Self::MultiRead => operation == 22,
            Self::SetData => operation == 5,
        }
    }
}

/// A fault that waits for its message.
#[derive(Debug)]
pub struct Trip(oneshot::Receiver<()>);

impl Trip {
    /// Waits until the fault has happened.
    ///
    /// # Panics
    ///
    /// When it has not `within` that time, or was replaced by another.
    pub async fn sprung(self, within: Duration) {
        match fair_timeout(within, self.0).await {
            Some(Ok(())) => {}
            Some(Err(_)) => panic!("the fault was replaced by another before it happened"),
            None => panic!("the fault did not happen within {within:?}: its message never passed"),
        }
    }
}

/// The message that a fault waits for.
#[derive(Debug)]
pub(super) enum TripWire {
    Bytes { direction: Direction, left: u64 },
    Reply { request: Request, awaited: Option<(u64, i32)> },
}

/// The fate of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MessageFate {
    Pass,
    /// Only its first bytes pass, then the link is reset.
    Reset {
        pass: usize,
    },
}

#[derive(Debug, Default)]
pub(super) struct Trips(Mutex<TripState>);

#[derive(Debug, Default)]
struct TripState {
    wire: Option<(TripWire, oneshot::Sender<()>)>,
    /// The connections, each with the number of cuts before it began.
    links: BTreeMap<u64, u64>,
    next: u64,
}

impl Trips {
    /// Sets the wire; one that was set before is taken away.
    pub(super) fn set(&self, wire: TripWire) -> Trip {
        let (sprung, trip) = oneshot::channel();
        self.with(|state| state.wire = Some((wire, sprung)));
        Trip(trip)
    }

    pub(super) fn enter(&self, cuts: u64) -> u64 {
        self.with(|state| {
            state.next += 1;
            state.links.insert(state.next, cuts);
            state.next
        })
    }

    pub(super) fn leave(&self, link: u64) {
        self.with(|state| state.links.remove(&link));
    }

    /// How many links began before that cut.
    pub(super) fn older_than(&self, cut: u64) -> usize {
        self.with(|state| state.links.values().filter(|cuts| **cuts < cut).count())
    }

    /// Decides over one message (or piece of a byte stream) just before it is delivered.
    pub(super) fn judge(&self, link: u64, direction: Direction, message: &Bytes) -> MessageFate {
        self.with(|state| {
            let Some((wire, _)) = &mut state.wire else { return MessageFate::Pass };
            let fate = wire.judge(link, direction, message);
            if fate != MessageFate::Pass
                && let Some((_, sprung)) = state.wire.take()
            {
                // The test may have dropped its end: it does not care when.
                let _ = sprung.send(());
            }
            fate
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut TripState) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TripWire {
    fn judge(&mut self, link: u64, direction: Direction, message: &Bytes) -> MessageFate {
        match self {
            Self::Bytes { direction: watched, left } if *watched == direction => {
                let length = message.len() as u64;
                if length <= *left {
                    *left -= length;
                    return MessageFate::Pass;
                }
                // It is less than the message's length here.
                MessageFate::Reset { pass: usize::try_from(*left).unwrap_or(message.len()) }
            }
            Self::Reply { request, awaited: awaited @ None } if direction == Direction::ToServer => {
                if request.matches(message) {
                    *awaited = frames::xid(message).map(|xid| (link, xid));
                }
                MessageFate::Pass
            }
            Self::Reply { awaited: Some(awaited), .. } if direction == Direction::ToClient => {
                if frames::xid(message).is_some_and(|xid| *awaited == (link, xid)) {
                    MessageFate::Reset { pass: 0 }
                } else {
                    MessageFate::Pass
                }
            }
            Self::Bytes { .. } | Self::Reply { .. } => MessageFate::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(xid: i32, operation: i32) -> Bytes {
        [8_i32, xid, operation].iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    fn reply(xid: i32) -> Bytes {
        [16_i32, xid, 0, 0, 0].iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    #[test]
    fn only_the_reply_to_the_chosen_request_is_lost() {
        let trips = Trips::default();
        let _trip = trips.set(TripWire::Reply { request: Request::Create, awaited: None });
        for (link, direction, message) in [
            (1, Direction::ToServer, request(6, 4)),
            (1, Direction::ToServer, request(7, 15)),
            (1, Direction::ToServer, request(8, 15)),
            (1, Direction::ToClient, reply(6)),
            (1, Direction::ToClient, reply(-2)),
            (2, Direction::ToClient, reply(7)),
        ] {
            assert_eq!(trips.judge(link, direction, &message), MessageFate::Pass);
        }
        assert_eq!(trips.judge(1, Direction::ToClient, &reply(7)), MessageFate::Reset { pass: 0 });
        assert_eq!(trips.judge(1, Direction::ToClient, &reply(8)), MessageFate::Pass, "a wire trips once");
    }

    #[test]
    fn exactly_the_stated_number_of_bytes_passes() {
        let trips = Trips::default();
        let _trip = trips.set(TripWire::Bytes { direction: Direction::ToClient, left: 10 });
        let message = Bytes::from_static(b"sixsix");
        assert_eq!(trips.judge(1, Direction::ToServer, &message), MessageFate::Pass);
        assert_eq!(trips.judge(1, Direction::ToClient, &message), MessageFate::Pass);
        assert_eq!(trips.judge(1, Direction::ToClient, &message), MessageFate::Reset { pass: 4 });
    }
}
