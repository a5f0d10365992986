//! What the memory store can be made to do, as values.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Fault;
use crate::options::Acl;

/// What becomes of a request that is under way when its connection is cut. Either way the client learns nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// A write is committed this long after the cut, or just before the next transaction or `sync` of any session, if
    /// that is earlier: until then a client that has reconnected reads the state before it. A read is lost.
    Delayed(Duration),
    Executed,
    Lost,
    /// As the seed has it. Of several requests the first ones are executed, as TCP would have it.
    Random,
}

/// What a cluster has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Sessions that were opened.
    pub(crate) connects: u64,
    /// Events that reached a client.
    pub(crate) events: u64,
    /// Requests that were served and change nothing.
    pub(crate) reads: u64,
    /// Transactions of sessions.
    pub(crate) transactions: u64,
    /// Operations in them.
    pub(crate) writes: u64,
}

/// The owner of a node that is written past all sessions. By default none: persistent, open to all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Foreign<'a> {
    /// The owner of an ephemeral node; 0 makes it persistent.
    pub(crate) session: i64,
    pub(crate) user: Option<&'a str>,
    pub(crate) acl: Acl,
}

/// What requests are answered with, unexecuted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) fault: Fault,
    /// `None`: one request alone.
    pub(super) until: Option<Instant>,
}

/// The refusal of a request at this time, if there is one. Once it is over it is forgotten.
pub(super) fn refused(refusal: &mut Option<Refusal>, now: Instant) -> Option<Fault> {
    match refusal {
        Some(Refusal { fault, until: Some(until) }) if now < *until => Some(fault.clone()),
        Some(Refusal { until: None, .. }) => refusal.take().map(|refusal| refusal.fault),
        _ => {
            *refusal = None;
            None
        }
    }
}
