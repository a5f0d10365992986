//! The requests that read a whole service, and their answers as one batch.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::epoch::{Epoch, Line, Over};
use super::harvest::Harvest;
use super::keeper::Keeper;
use super::view::Batch;
use crate::store::{Fault, Listing, Node};

/// Arms the watch if need be, lists the service unless that was done over the same connection, and reads every child.
pub(super) async fn read_all(
    keeper: &mut Keeper,
    epoch: &mut Epoch,
    listed: Option<Listing>,
) -> Result<Result<Batch, Fault>, Over> {
    if epoch.line == Line::Unarmed {
        let armed = epoch.store.rearm(&keeper.settings.root);
        // From here on, not from the reply on: a connection that comes meanwhile, and makes it `Unarmed` again, counts.
        epoch.line = Line::Armed;
        if let Err(fault) = keeper.answer(epoch, armed).await? {
            if epoch.line == Line::Armed {
                epoch.line = Line::Unarmed;
            }
            return Ok(Err(fault));
        }
    }
    let listing = match listed {
        Some(listing) => listing,
        None => {
            let list = epoch.store.list(&keeper.settings.root);
            keeper.answer(epoch, list).await?
        }
    };
    let (names, parent) = match listing {
        Ok((names, parent)) => (names, Some(parent)),
        Err(Fault::NoNode) => (Vec::new(), None),
        Err(fault) => return Ok(Err(fault)),
    };
    let mut harvest = Harvest::new(names.len(), keeper.settings.record_limits);
    let mut left = names.into_iter();
    let mut in_flight = VecDeque::new();
    loop {
        while in_flight.len() < keeper.portion.in_flight() && left.len() > 0 {
            let chunk: Vec<_> = left.by_ref().take(keeper.portion.count()).collect();
            let read = epoch.store.read(&keeper.paths(&chunk));
            in_flight.push_back((chunk, Instant::now(), read));
        }
        let Some((chunk, sent, reply)) = in_flight.pop_front() else { break };
        let nodes = match keeper.answer_to(epoch, reply, sent).await? {
            Ok(nodes) => {
                keeper.portion.answered(&nodes);
                nodes
            }
            Err(fault) if is_about_the_request(&fault) => {
                keeper.portion.refused();
                match read_apart(keeper, epoch, &chunk).await? {
                    Ok(nodes) => nodes,
                    Err(fault) => return Ok(Err(fault)),
                }
            }
            Err(fault) => return Ok(Err(fault)),
        };
        // While the server works on the next ones.
        harvest.add(chunk, nodes, |name, answer| keeper.view.decode_ahead(name, answer));
    }
    // Another connection than the one the watch was armed on may have served some of it.
    Ok(Ok(Batch { items: harvest.items(), parent, gapless: epoch.is_gapless() }))
}

/// Reads children that could not be read with one request: in ever smaller parts, until the culprit fails alone.
async fn read_apart(
    keeper: &mut Keeper,
    epoch: &mut Epoch,
    names: &[String],
) -> Result<Result<Vec<Result<Node, Fault>>, Fault>, Over> {
    let mut nodes = Vec::with_capacity(names.len());
    let (one, other) = names.split_at(names.len() / 2);
    let mut parts = vec![other, one];
    while let Some(part) = parts.pop() {
        let reply = epoch.store.read(&keeper.paths(part));
        match keeper.answer(epoch, reply).await? {
            Ok(answers) => nodes.extend(answers),
            Err(fault) if !is_about_the_request(&fault) => return Ok(Err(fault)),
            Err(fault) if part.len() <= 1 => nodes.extend(part.iter().map(|_| Err(fault.clone()))),
            Err(_) => {
                let (one, other) = part.split_at(part.len() / 2);
                parts.extend([other, one]);
            }
        }
    }
    Ok(Ok(nodes))
}

/// Whether a request failed for what it asked, rather than for want of a connection: it would fail again.
pub(super) fn is_about_the_request(fault: &Fault) -> bool {
    !matches!(fault, Fault::Ambiguous(_) | Fault::AuthFailed | Fault::Over | Fault::Unimplemented)
}
