//! One read of many nodes, by as large requests as their records allow.

use std::collections::VecDeque;

use super::harvest::{Harvest, Yield};
use super::portion::Portion;
use crate::options::RecordLimits;
use crate::store::{Fault, Node, Store, limits};

/// What reads of the nodes of these names said, as `read` makes it of a name and an answer. `path` makes a path of a name.
pub(super) async fn read<T: Yield>(
    store: &dyn Store,
    names: &[String],
    path: impl Fn(&String) -> String,
    limits: RecordLimits,
    mut read: impl FnMut(String, Result<Node, Fault>) -> T,
) -> Result<Vec<T>, Fault> {
    let mut portion = Portion::new();
    let mut harvest = Harvest::new(names.len(), limits);
    let (mut left, mut in_flight) = (names, VecDeque::new());
    loop {
        while in_flight.len() < portion.in_flight() && !left.is_empty() {
            let (chunk, later) = left.split_at(portion.count().min(left.len()));
            left = later;
            let paths: Vec<_> = chunk.iter().map(&path).collect();
            let mut chunk = chunk;
            // Long names make a request too large, whatever the records are.
            for paths in limits::reads(&paths) {
                let (these, others) = chunk.split_at(paths.len());
                chunk = others;
                in_flight.push_back((these, store.read(paths)));
            }
        }
        let Some((chunk, reply)) = in_flight.pop_front() else { return Ok(harvest.items()) };
        let nodes = reply.await?;
        portion.answered(&nodes);
        harvest.add(chunk.iter().cloned(), nodes, &mut read);
    }
}
