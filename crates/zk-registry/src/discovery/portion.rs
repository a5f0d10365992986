//! How many children one request reads: as many as their records allow, and fewer after a refusal.

use crate::store::limits::MOST_PER_REQUEST;
use crate::store::{Fault, Node};

/// The children in the first request of a service, whose records may have any size.
const FIRST: usize = 32;
/// The bytes of records that one answer should carry.
const BYTES: usize = 1 << 20;
/// How many requests are under way at once.
const IN_FLIGHT: usize = 8;
/// The most that one request reads compared with the one before: large records may follow small ones.
const GROWTH: usize = 4;

/// How many children one request reads.
#[derive(Debug)]
pub(super) struct Portion {
    count: usize,
    /// Whether an answer has told how large the records are.
    is_known: bool,
}

impl Portion {
    pub(super) fn new() -> Self {
        Self { count: FIRST, is_known: false }
    }

    /// The children in the next request: at least one.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many requests are under way at once: one, until an answer has told how large the records are.
    pub(super) fn in_flight(&self) -> usize {
        if self.is_known { IN_FLIGHT } else { 1 }
    }

    /// A request was answered with these nodes.
    pub(super) fn answered(&mut self, nodes: &[Result<Node, Fault>]) {
        let bytes: usize = nodes.iter().flatten().map(|node| node.data.len()).sum();
        let fit = (BYTES * nodes.len().max(1) / bytes.max(1)).clamp(1, MOST_PER_REQUEST);
        // A request for few says little about the others.
        if nodes.len() >= self.count || fit < self.count {
            self.count = fit.min(self.count * GROWTH);
        }
        self.is_known = true;
    }

    /// A request was refused for what it asked, perhaps for its size.
    pub(super) fn refused(&mut self) {
        self.count = (self.count / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Stat;

    fn nodes(count: usize, size: usize) -> Vec<Result<Node, Fault>> {
        let node = Node { data: Bytes::from(vec![0; size]), stat: Stat::default() };
        vec![Ok(node); count]
    }

    #[test]
    fn small_records_are_read_by_ever_larger_requests_and_large_ones_a_few_at_a_time() {
        let mut portion = Portion::new();
        let mut counts = Vec::new();
        for size in [100, 100, 100, 1_000_000, 100] {
            counts.push(portion.count());
            portion.answered(&nodes(portion.count(), size));
        }
        assert_eq!(counts, [32, 128, 500, 500, 1]);
        assert_eq!(portion.count(), 4);
    }

    #[test]
    fn one_small_record_says_nothing_about_the_others_but_one_large_one_does() {
        let mut portion = Portion::new();
        portion.answered(&nodes(1, 100));
        assert_eq!(portion.count(), 32);
        portion.answered(&nodes(1, 1_000_000));
        assert_eq!(portion.count(), 1);
    }

    #[test]
    fn a_refusal_halves_the_next_request_down_to_one() {
        let mut portion = Portion::new();
        for expected in [16, 8, 4, 2, 1, 1] {
            portion.refused();
            assert_eq!(portion.count(), expected);
        }
        portion.answered(&nodes(1, 10));
        assert_eq!(portion.count(), 4);
    }
}
