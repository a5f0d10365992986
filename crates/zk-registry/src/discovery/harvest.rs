//! What reads of a whole service brought, within bounds: a service may hold more than this process has memory.

use super::view::{self, Read};
use crate::options::RecordLimits;
use crate::store::{Fault, Node};

/// The form in which the name of one child and the answer about it are kept: raw, or decoded.
pub(super) trait Yield {
    /// The bytes of the record.
    fn size(&self) -> usize;

    /// The `czxid` of the node; `None`: it was not read.
    fn created(&self) -> Option<i64>;

    /// Makes it a child whose record is too large.
    fn drop_record(&mut self);
}

impl Yield for (String, Result<Node, Fault>) {
    fn size(&self) -> usize {
        self.1.as_ref().map_or(0, |node| node.data.len())
    }

    fn created(&self) -> Option<i64> {
        self.1.as_ref().ok().map(|node| node.stat.czxid)
    }

    fn drop_record(&mut self) {
        self.1 = Err(Fault::TooLarge);
    }
}

impl Yield for Read {
    fn size(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.1.as_ref().map_or(0, |node| node.data.len()),
            Self::Member(_, bytes) => *bytes,
        }
    }

    fn created(&self) -> Option<i64> {
        self.identity().map(|(czxid, _)| czxid)
    }

    fn drop_record(&mut self) {
        *self = Self::answer(self.name().to_owned(), Err(Fault::TooLarge));
    }
}

/// The children that were read so far.
#[derive(Debug)]
pub(super) struct Harvest<T> {
    items: Vec<T>,
    limits: RecordLimits,
    /// The bytes of the records.
    bytes: usize,
}

impl<T: Yield> Harvest<T> {
    /// Room for so many children.
    pub(super) fn new(children: usize, limits: RecordLimits) -> Self {
        Self { items: Vec::with_capacity(children), limits, bytes: 0 }
    }

    /// Takes up the answer to one request, each record as `read` makes it. Of a record no more is kept than tells that it is too
    /// large.
    pub(super) fn add(
        &mut self,
        names: impl IntoIterator<Item = String>,
        nodes: Vec<Result<Node, Fault>>,
        mut read: impl FnMut(String, Result<Node, Fault>) -> T,
    ) {
        for (name, node) in names.into_iter().zip(nodes) {
            let read = read(name, view::bounded(node, self.limits.record));
            self.bytes += read.size();
            self.items.push(read);
        }
        // Sorting for every request would cost more than the bound is worth.
        if self.bytes > self.limits.service.saturating_mul(2) {
            self.drop_youngest();
        }
    }

    /// All of it.
    pub(super) fn items(self) -> Vec<T> {
        self.items
    }

    /// Drops the records of the youngest nodes until the others have no more bytes than may be kept. Such a child counts as
    /// not read.
    fn drop_youngest(&mut self) {
        let mut by_age: Vec<_> = self.items.iter_mut().filter(|read| read.created().is_some()).collect();
        by_age.sort_unstable_by_key(|read| read.created());
        self.bytes = 0;
        for read in by_age {
            if self.bytes + read.size() > self.limits.service {
                read.drop_record();
            } else {
                self.bytes += read.size();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Stat;

    #[test]
    fn what_is_held_has_a_bound_and_the_oldest_nodes_stay() {
        let limits = RecordLimits::default().with_record(100).with_service(1_000);
        let mut harvest = Harvest::new(0, limits);
        for czxid in (0..100).rev() {
            let stat = Stat { czxid, ..Stat::default() };
            let node = Node { data: Bytes::from(vec![0; 500]), stat };
            harvest.add(vec![czxid.to_string()], vec![Ok(node)], |name, answer| (name, answer));
            assert!(harvest.bytes <= 2_000);
            assert_eq!(harvest.bytes, harvest.items.iter().map(Yield::size).sum::<usize>());
        }
        let kept = harvest.items().into_iter().filter(|(_, answer)| answer.is_ok());
        let kept: Vec<_> = kept.collect();
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert!(kept.iter().all(|read| read.size() == 101), "no more than tells that it is too large");
        assert_eq!(names[names.len() - 9..], ["8", "7", "6", "5", "4", "3", "2", "1", "0"]);
    }
}
