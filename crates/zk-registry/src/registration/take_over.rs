//! The transaction that replaces a node of an earlier session or process, fenced by its version.

use bytes::Bytes;

use crate::options::Acl;
use crate::store::limits;
use crate::store::{Kind, Op};

/// Versions after which a successor's begin anew.
const VERSIONS: i32 = 8;

/// The largest record that is ever sent to this path: one that also fits into the longest takeover. A larger request costs
/// the connection for everything in flight.
pub(crate) fn largest_record(path: &str) -> usize {
    // A delete, a create, and all sets but one.
    limits::most_data(path, VERSIONS as usize + 1)
}

/// One transaction that replaces a node without a gap for any reader, fenced by its version.
///
/// The successor ends at version (v + 1) mod 8, so that it never stands at a version which a recent predecessor may still
/// hold: a predecessor's late delete then answers `BadVersion` instead of removing the live successor. Only the last
/// operation carries the record; no reader sees what was before it.
pub(super) fn take_over(path: &str, data: &Bytes, version: i32, acl: Acl) -> Vec<Op> {
    let sets = version.wrapping_add(1).rem_euclid(VERSIONS);
    let data = |last: bool| if last { data.clone() } else { Bytes::new() };
    let path = || path.to_owned();
    let mut ops = vec![
        Op::Delete { path: path(), version: Some(version) },
        Op::Create { path: path(), data: data(sets == 0), kind: Kind::Ephemeral, acl },
    ];
    ops.extend((1..=sets).map(|set| Op::Set { path: path(), data: data(set == sets), version: None }));
    ops
}
