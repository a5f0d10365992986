//! Whether a session is with another ZooKeeper than the last one: one that was built anew, with lower zxids.

use super::epoch::{Epoch, Over};
use super::keeper::Keeper;
use super::view::Batch;
use crate::store::{Fault, Node};

/// Whether the first listing of a session shows zxids below those that the last one had: those of a ZooKeeper only grow.
pub(super) async fn is_another_zookeeper(
    keeper: &mut Keeper,
    epoch: &mut Epoch,
    last_root: Option<i64>,
    batch: &Batch,
) -> Result<bool, Over> {
    let watermark = keeper.view.watermark().0;
    if watermark == 0 {
        return Ok(false);
    }
    if let Some(parent) = batch.parent {
        // A node that was created again has a zxid of its own, above everything before.
        let replaced = last_root.is_some_and(|last| last != parent.czxid);
        let is_whole = batch.items.iter().all(|read| read.identity().is_some());
        return Ok((replaced && parent.czxid <= watermark) || (is_whole && batch.reach().0 < watermark));
    }
    // The service's node went: its parent, or the next node above that is there, shows when.
    let root = &keeper.settings.root;
    let above: Vec<String> = std::iter::successors(root.rsplit_once('/'), |(path, _)| path.rsplit_once('/'))
        .map(|(path, _)| if path.is_empty() { "/".to_owned() } else { path.to_owned() })
        .collect();
    let read = epoch.store.read(&above);
    let Ok(nodes) = keeper.answer(epoch, read).await? else { return Ok(false) };
    Ok(latest_change(&nodes).is_some_and(|latest| latest < watermark))
}

/// The latest zxid that the nodes above a service's node show, the root last. `None` when it cannot be known: one could not be
/// read, or the root itself does not exist, which is a chroot that was deleted.
fn latest_change(above: &[Result<Node, Fault>]) -> Option<i64> {
    let zxid = |answer: &Result<Node, Fault>| match answer {
        Ok(node) => Some(node.stat.pzxid),
        Err(Fault::NoNode) => Some(0),
        Err(_) => None,
    };
    let root = above.last()?.as_ref().ok()?.stat.pzxid;
    above.iter().map(zxid).try_fold(root, |latest, zxid| Some(latest.max(zxid?)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Stat;

    #[test]
    fn a_chroot_that_was_deleted_is_no_other_zookeeper() {
        let node = |pzxid| Ok(Node { data: Bytes::new(), stat: Stat { pzxid, ..Stat::default() } });
        assert_eq!(latest_change(&[Err(Fault::NoNode), node(7), node(5)]), Some(7));
        assert_eq!(latest_change(&[Err(Fault::NoNode), Err(Fault::NoNode), node(5)]), Some(5));
        assert_eq!(latest_change(&[node(7), Err(Fault::NoAuth), node(5)]), None);
        assert_eq!(latest_change(&[Err(Fault::NoNode), Err(Fault::NoNode)]), None);
        assert_eq!(latest_change(&[]), None);
    }
}
