//! How large a request may be. ZooKeeper's answer to a larger one is to close the connection, which fails every
//! request of the session that is under way: so it is never sent.

use super::{Fault, Op};

/// What a server accepts by default (`jute.maxbuffer`, 0xfffff bytes), less a margin for what we do not count.
const MAX_REQUEST: usize = 1_000_000;

/// What the head of a request, or of one operation in a `multi`, takes besides paths and data: numbers, lengths, and the
/// longest ACL that we use.
const OVERHEAD: usize = 128;

pub(super) fn check_data(path: &str, data: &[u8]) -> Result<(), Fault> {
    check(cost(path, data))
}

pub(super) fn check_multi(ops: &[Op]) -> Result<(), Fault> {
    check(
        ops.iter()
            .map(|op| match op {
                Op::Create { path, data, .. } | Op::Set { path, data, .. } => cost(path, data),
                Op::Delete { path, .. } => cost(path, &[]),
            })
            .sum(),
    )
}

pub(super) fn check_read(paths: &[String]) -> Result<(), Fault> {
    check(paths.iter().map(|path| cost(path, &[])).sum())
}

/// The most data that one request may carry which names the path so many times.
pub(crate) fn most_data(path: &str, times: usize) -> usize {
    MAX_REQUEST.saturating_sub(times * cost(path, &[]))
}

/// The same paths in requests that are taken, each of at most so many.
pub(crate) fn reads(paths: &[String], most: usize) -> impl Iterator<Item = &[String]> {
    let mut left = paths;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |path: &&String| {
            size += cost(path, &[]);
            size <= MAX_REQUEST
        };
        // One that is too large alone is asked for all the same: the answer says so.
        let count = left.iter().take(most).take_while(fits).count().max(1);
        let (now, later) = left.split_at_checked(count)?;
        left = later;
        Some(now)
    })
}

fn cost(path: &str, data: &[u8]) -> usize {
    path.len() + data.len() + OVERHEAD
}

fn check(size: usize) -> Result<(), Fault> {
    if size > MAX_REQUEST { Err(Fault::TooLarge) } else { Ok(()) }
}
