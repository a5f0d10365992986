//! How large a request may be. ZooKeeper's answer to a larger one is to close the connection, which fails every
//! request of the session that is under way: so it is never sent.

use super::{Fault, Op};

/// What a server accepts by default (`jute.maxbuffer`, 0xfffff bytes), less a margin for what we do not count.
const MAX_REQUEST: usize = 1_000_000;

/// How many nodes one read, or how many operations one `multi`, names at most.
pub(crate) const PATHS_PER_READ: usize = 500;
/// How many bytes of paths and data one `multi` carries at most, where it could as well be two.
const BYTES_PER_MULTI: usize = 512 * 1024;

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

/// Splits `paths` into slices that fit one read, at most [`PATHS_PER_READ`] each.
pub(crate) fn reads(paths: &[String]) -> impl Iterator<Item = &[String]> {
    let mut left = paths;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |path: &&String| {
            size += cost(path, &[]);
            size <= MAX_REQUEST
        };
        // One that is too large alone is asked for all the same: the answer says so.
        let count = left.iter().take(PATHS_PER_READ).take_while(fits).count().max(1);
        let (now, later) = left.split_at_checked(count)?;
        left = later;
        Some(now)
    })
}

/// Splits what is to be written into parts that fit one `multi`, at most [`PATHS_PER_READ`] each. `at` gives the path and the
/// data of one.
pub(crate) fn writes<T>(items: Vec<T>, at: impl Fn(&T) -> (&str, &[u8])) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let (path, data) = at(&item);
        let size = cost(path, data);
        match parts.last_mut() {
            Some(part) if part.len() < PATHS_PER_READ && size <= room => {
                room -= size;
                part.push(item);
            }
            _ => {
                room = BYTES_PER_MULTI.saturating_sub(size);
                parts.push(vec![item]);
            }
        }
    }
    parts
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

    #[test]
    fn parts_are_bounded_by_count_and_by_bytes() {
        let lengths = |count: usize, size: usize| {
            let items = (0..count).map(|n| (format!("/s/{n}"), vec![0; size])).collect();
            let parts = writes(items, |(path, data)| (path, data));
            parts.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(1_200, 100), [500, 500, 200]);
        assert_eq!(lengths(5, 200_000), [2, 2, 1]);
        assert_eq!(lengths(2, 900_000), [1, 1]);
    }
}
