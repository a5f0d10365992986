//! How much of a service is kept: the records of the oldest nodes, so that junk cannot push out an instance that was there.

use std::sync::Arc;

use super::child::Other;
use crate::snapshot::Member;

/// What an instance takes besides its texts.
const OVERHEAD: usize = 256;

/// The bytes that an instance counts with: its id, host, zone and metadata, and 256 for everything else.
pub(super) fn size(member: &Member) -> usize {
    let instance = &member.instance;
    let metadata: usize = instance.metadata().iter().map(|(key, value)| key.len() + value.len()).sum();
    OVERHEAD
        + member.id.as_str().len()
        + instance.host().len()
        + instance.zone().map_or(0, str::len)
        + metadata
}

/// The bytes that these instances count with.
pub(super) fn total<'a>(members: impl Iterator<Item = &'a Arc<Member>>) -> usize {
    members.map(|member| size(member)).sum()
}

/// The youngest of these instances, as many as have to go for the others to fit into `most` bytes; and all that are younger
/// than the oldest that waits for room.
pub(super) fn overflow<'a>(
    members: impl Iterator<Item = &'a Arc<Member>>,
    most: usize,
    waiting: Option<i64>,
) -> Vec<Arc<Member>> {
    let mut by_age: Vec<_> = members.collect();
    by_age.sort_unstable_by_key(|member| member.created);
    let mut used = 0;
    let fits = |member: &&Arc<Member>| {
        used += size(member);
        used <= most && waiting.is_none_or(|waiting| member.created.0 < waiting)
    };
    let kept = by_age.iter().copied().take_while(fits).count();
    by_age.split_off(kept).into_iter().cloned().collect()
}

/// An instance that finds no room, as a child that is rejected.
pub(super) fn rejected(name: &str, member: &Member, most: usize) -> Other {
    let identity = Some((member.created.0, member.modified.0));
    let reason = format!("the older instances of this service fill {most} bytes, the most that is kept");
    Other { room: Some(size(member)), ..Other::rejected(name, identity, reason) }
}
