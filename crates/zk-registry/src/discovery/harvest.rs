//! What reads of a whole service brought, within bounds: a service may hold more than this process has memory.

use super::view;
use crate::options::RecordLimits;
use crate::store::{Fault, Node};

/// The children that were read so far, with what each read said.
#[derive(Debug)]
pub(super) struct Harvest {
    items: Vec<(String, Result<Node, Fault>)>,
    limits: RecordLimits,
    /// The bytes of the records.
    bytes: usize,
}

impl Harvest {
    /// Room for so many children.
    pub(super) fn new(children: usize, limits: RecordLimits) -> Self {
        Self { items: Vec::with_capacity(children), limits, bytes: 0 }
    }

    /// Takes up the answer to one request. Of a record no more is kept than tells that it is too large.
    pub(super) fn add(&mut self, names: &[String], nodes: Vec<Result<Node, Fault>>) {
        for (name, node) in names.iter().zip(nodes) {
            let node = view::bounded(node, self.limits.record);
            self.bytes += size(&node);
            self.items.push((name.clone(), node));
        }
        // Sorting for every request would cost more than the bound is worth.
        if self.bytes > self.limits.service.saturating_mul(2) {
            self.drop_youngest();
        }
    }

    /// All of it.
    pub(super) fn items(self) -> Vec<(String, Result<Node, Fault>)> {
        self.items
    }

    /// Drops the records of the youngest nodes until the others have no more bytes than may be kept. Such a child counts as
    /// not read.
    fn drop_youngest(&mut self) {
        let mut by_age: Vec<_> = self.items.iter_mut().filter(|(_, node)| node.is_ok()).collect();
        by_age.sort_unstable_by_key(|(_, node)| node.as_ref().map_or(0, |node| node.stat.czxid));
        self.bytes = 0;
        for (_, node) in by_age {
            if self.bytes + size(node) > self.limits.service {
                *node = Err(Fault::TooLarge);
            } else {
                self.bytes += size(node);
            }
        }
    }
}

fn size(node: &Result<Node, Fault>) -> usize {
    node.as_ref().map_or(0, |node| node.data.len())
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
            harvest.add(&[czxid.to_string()], vec![Ok(node)]);
            assert!(harvest.bytes <= 2_000);
            assert_eq!(harvest.bytes, harvest.items.iter().map(|(_, node)| size(node)).sum::<usize>());
        }
        let kept: Vec<_> = harvest.items().into_iter().filter(|(_, node)| node.is_ok()).collect();
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert!(kept.iter().all(|(_, node)| size(node) == 101), "no more than tells that it is too large");
        assert_eq!(names[names.len() - 9..], ["8", "7", "6", "5", "4", "3", "2", "1", "0"]);
    }
}
