//! How large a request may be. ZooKeeper's answer to a larger one is to close the connection, which fails every
//! request of the session that is under way: so it is never sent.

use super::{Fault, Op};

/// The most nodes that one request reads, and the most operations that one transaction carries.
pub(crate) const MOST_PER_REQUEST: usize = 500;

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

/// Splits paths into slices that one request can read: at most [`MOST_PER_REQUEST`] each, and no larger than a server takes.
pub(crate) fn reads(paths: &[String]) -> impl Iterator<Item = &[String]> {
    batches(paths, MAX_REQUEST, |path| cost(path, &[]))
}

/// Splits creates into slices that one transaction can carry: at most [`MOST_PER_REQUEST`] each, and no larger than half of
/// what a server takes. `create` gives the path and the data of one.
pub(crate) fn creates<T>(items: &[T], create: impl Fn(&T) -> (&str, &[u8])) -> impl Iterator<Item = &[T]> {
    batches(items, MAX_REQUEST / 2, move |item| {
        let (path, data) = create(item);
        cost(path, data)
    })
}

/// Splits items into slices of at most `room` bytes. An item that is larger alone has a slice of its own: the answer says so.
fn batches<T>(items: &[T], room: usize, cost: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut left = items;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |item: &&T| {
            size += cost(item);
            size <= room
        };
        let count = left.iter().take(MOST_PER_REQUEST).take_while(fits).count().max(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes<T>(batches: impl Iterator<Item = impl AsRef<[T]>>) -> Vec<usize> {
        batches.map(|batch| batch.as_ref().len()).collect()
    }

    #[test]
    fn a_request_carries_at_most_so_many_and_so_much() {
        let paths = |count: usize, length: usize| vec!["p".repeat(length); count];
        assert_eq!(sizes(reads(&paths(1_200, 10))), [500, 500, 200]);
        assert_eq!(sizes(reads(&paths(3, 400_000))), [2, 1]);
        assert_eq!(sizes(reads(&paths(2, 2 * MAX_REQUEST))), [1, 1], "the answer says that it is too large");
        let records = vec![vec![0; 200_000]; 5];
        assert_eq!(sizes(creates(&records, |record| ("/p", record))), [2, 2, 1]);
    }
}
