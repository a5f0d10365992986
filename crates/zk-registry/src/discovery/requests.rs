//! What a view's driver asks of the server, and what the answers mean for the next question.

use std::collections::VecDeque;
use std::pin::pin;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::driver::{Driver, Epoch, Over, lost_epoch};
use crate::backoff::jittered;
use crate::discovery::view::Batch;
use crate::store::limits::MOST_PER_REQUEST;
use crate::store::{Fault, Node, Reply, Stat};

/// How many such requests are under way at once.
const IN_FLIGHT: usize = 8;
/// Every so many audits read every child again.
pub(super) const FULL_AUDIT: u32 = 20;

impl Driver {
    /// Arms the watch if need be, and reads everything.
    pub(super) async fn resync(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        epoch.resync = false;
        let asked = Instant::now();
        self.view.begin_resync(asked);
        match self.read_all(epoch).await? {
            Ok(batch) => {
                epoch.backoff.reset();
                epoch.chunk = MOST_PER_REQUEST;
                (epoch.parent, epoch.agreed_at) = (batch.parent, asked);
                let changed = self.view.listed(batch, Instant::now());
                self.tell(&changed);
                if epoch.connected && !epoch.resync {
                    self.view.live();
                }
                self.publish();
            }
            Err(fault) => {
                if matches!(fault, Fault::NoAuth) {
                    warn!(
                        root = self.settings.root,
                        "the service may not be listed with our identity, trying on"
                    );
                } else {
                    debug!(root = self.settings.root, ?fault, "reading the service failed, trying again");
                }
                self.view.failed();
                self.publish();
                epoch.resync = true;
                epoch.chunk = (epoch.chunk / 2).max(1);
                epoch.hold = Some(Instant::now() + epoch.backoff.delay(&mut self.rng));
            }
        }
        Ok(())
    }

    async fn read_all(&mut self, epoch: &mut Epoch) -> Result<Result<Batch, Fault>, Over> {
        if !epoch.armed {
            let rearmed = epoch.store.rearm(&self.settings.root);
            if let Err(fault) = self.answer(epoch, rearmed).await? {
                return Ok(Err(fault));
            }
            epoch.armed = true;
        }
        let list = epoch.store.list(&self.settings.root);
        let (names, parent) = match self.answer(epoch, list).await? {
            Ok((names, parent)) => (names, Some(parent)),
            Err(Fault::NoNode) => (Vec::new(), None),
            Err(fault) => return Ok(Err(fault)),
        };
        let mut items = Vec::with_capacity(names.len());
        let mut chunks = names.chunks(epoch.chunk);
        let mut in_flight = VecDeque::new();
        loop {
            while in_flight.len() < IN_FLIGHT
                && let Some(chunk) = chunks.next()
            {
                in_flight.push_back((chunk, epoch.store.read(&self.paths(chunk))));
            }
            let Some((chunk, reply)) = in_flight.pop_front() else { break };
            let nodes = match self.answer(epoch, reply).await? {
                Ok(nodes) => nodes,
                Err(fault) if is_about_the_request(&fault) => match self.read_apart(epoch, chunk).await? {
                    Ok(nodes) => nodes,
                    Err(fault) => return Ok(Err(fault)),
                },
                Err(fault) => return Ok(Err(fault)),
            };
            items.extend(chunk.iter().cloned().zip(nodes));
        }
        // Another connection than the one the watch was armed on may have served some of it.
        Ok(Ok(Batch { items, parent, gapless: epoch.connected && !epoch.resync }))
    }

    /// Reads children that could not be read with one request: in ever smaller parts, until the culprit fails alone.
    async fn read_apart(
        &mut self,
        epoch: &mut Epoch,
        names: &[String],
    ) -> Result<Result<Vec<Result<Node, Fault>>, Fault>, Over> {
        let mut nodes = Vec::with_capacity(names.len());
        let (one, other) = names.split_at(names.len() / 2);
        let mut parts = vec![other, one];
        while let Some(part) = parts.pop() {
            let reply = epoch.store.read(&self.paths(part));
            match self.answer(epoch, reply).await? {
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

    /// Reads what is dirty; the parent comes last and says whether anything is missing.
    pub(super) async fn read_marks(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let names = self.view.take_marks(MOST_PER_REQUEST);
        let mut paths = self.paths(&names);
        paths.push(self.settings.root.clone());
        let read = epoch.store.read(&paths);
        match self.answer(epoch, read).await? {
            Ok(mut nodes) => {
                let parent = nodes.pop();
                let parent = self.parent(epoch, parent);
                let items = names.into_iter().zip(nodes).collect();
                let batch = Batch { items, parent, gapless: epoch.connected && !epoch.resync };
                let changed = self.view.loaded(batch, Instant::now());
                self.tell(&changed);
                self.compare(epoch);
            }
            Err(fault) => {
                debug!(root = self.settings.root, ?fault, "reading what changed failed, trying again");
                // The marks are lost with the request: only a resync can do without them.
                self.view.failed();
                epoch.resync = true;
                epoch.hold = Some(Instant::now() + epoch.backoff.delay(&mut self.rng));
            }
        }
        Ok(())
    }

    /// Every mark up to what is waited for is queued once this is answered.
    pub(super) async fn barrier(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let sync = epoch.store.sync(&self.settings.root);
        let read = epoch.store.read(std::slice::from_ref(&self.settings.root));
        let (synced, read) = (self.answer(epoch, sync).await?, self.answer(epoch, read).await?);
        let (Ok(()), Ok(mut nodes)) = (synced, read) else {
            epoch.hold = Some(Instant::now() + epoch.backoff.delay(&mut self.rng));
            return Ok(());
        };
        epoch.backoff.reset();
        let parent = self.parent(epoch, nodes.pop());
        if epoch.connected && !epoch.resync {
            self.view.loaded(Batch { items: Vec::new(), parent, gapless: true }, Instant::now());
            let barrier = self.view.barrier();
            for (_, passes) in &mut self.wishes {
                passes.get_or_insert(barrier);
            }
        }
        self.compare(epoch);
        Ok(())
    }

    /// Compares the service with what is known; now and then reads everything.
    pub(super) async fn audit(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        epoch.audits += 1;
        epoch.audit_at = Instant::now() + jittered(self.settings.audit_interval, &mut self.rng);
        if epoch.audits.is_multiple_of(FULL_AUDIT) {
            epoch.resync = true;
            return Ok(());
        }
        self.look(epoch).await?;
        // Nobody is told of what he may not read: one that went and one that came leave the count as it was.
        let now = Instant::now();
        for name in self.view.unreadable() {
            self.view.mark(&name, now);
        }
        Ok(())
    }

    /// Compares the service's own node with what is known.
    pub(super) async fn look(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        epoch.look = false;
        let before = epoch.parent;
        let read = epoch.store.read(std::slice::from_ref(&self.settings.root));
        match self.answer(epoch, read).await? {
            Ok(mut nodes) => {
                epoch.backoff.reset();
                let parent = self.parent(epoch, nodes.pop());
                let pzxid = |stat: Option<Stat>| stat.map(|stat| stat.pzxid);
                // A change that the parent shows and no mark has told of was missed.
                if !self.view.is_dirty() && !epoch.resync && pzxid(before) != pzxid(parent) {
                    info!(root = self.settings.root, "a change was found that no event told of");
                    self.doubt(epoch);
                }
                self.compare(epoch);
            }
            Err(fault) => {
                debug!(root = self.settings.root, ?fault, "looking at the service failed, trying again");
                epoch.look = true;
                epoch.hold = Some(Instant::now() + epoch.backoff.delay(&mut self.rng));
            }
        }
        Ok(())
    }

    /// Awaits a reply while hearing the watch, so that a lost connection is told at once. So is that nothing is answered:
    /// where only the way to the server is dead, its events go on to come until it has given up the session.
    async fn answer<T>(&mut self, epoch: &mut Epoch, reply: Reply<T>) -> Result<Result<T, Fault>, Over> {
        let mut reply = reply;
        let asked = Instant::now();
        let mut overdue = pin!(sleep_until(asked + epoch.store.connection_timeout()));
        let mut is_overdue = false;
        loop {
            tokio::select! {
                biased;
                event = epoch.watch.next() => self.hear(epoch, event)?,
                over = lost_epoch(&mut self.link, epoch.number) => return Err(over),
                answer = &mut reply => {
                    self.received_at = Some(Instant::now());
                    // Whatever was sent before the reply is queued by now.
                    self.hear_queued(epoch)?;
                    return Ok(answer);
                }
                () = overdue.as_mut(), if !is_overdue => {
                    (is_overdue, epoch.unanswered) = (true, true);
                    self.view.lost(asked);
                    self.publish();
                }
            }
        }
    }

    /// What a read of the service's own node says.
    fn parent(&mut self, epoch: &mut Epoch, answer: Option<Result<Node, Fault>>) -> Option<Stat> {
        let parent = match answer {
            Some(Ok(node)) => Some(node.stat),
            Some(Err(Fault::NoNode)) => None,
            // It may not be read any more; whether it may be listed, only listing it tells.
            _ => return epoch.parent,
        };
        let created = |stat: Option<Stat>| stat.map(|stat| stat.czxid);
        if created(parent) != created(epoch.parent) {
            // Another node of this name, whose children need not have been those of the last one.
            self.doubt(epoch);
        }
        epoch.parent = parent;
        parent
    }

    /// With nothing left to read, the view must have as many children as the parent says.
    fn compare(&mut self, epoch: &mut Epoch) {
        let says = epoch.parent.map_or(0, |parent| parent.children as usize);
        if self.view.is_dirty() || epoch.resync {
            return;
        }
        if says == self.view.children() {
            epoch.agreed_at = Instant::now();
        } else {
            debug!(root = self.settings.root, says, known = self.view.children(), "children are missing");
            self.doubt(epoch);
        }
    }

    /// Something is missing of which no event told: it may be so since the last time that everything agreed.
    fn doubt(&mut self, epoch: &mut Epoch) {
        epoch.resync = true;
        self.view.doubt(epoch.agreed_at);
    }

    /// Whoever registered one of these children wants to know.
    fn tell(&self, changed: &[String]) {
        for path in self.paths(changed) {
            (self.settings.changed)(&path);
        }
    }

    fn paths(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|name| format!("{}/{name}", self.settings.root)).collect()
    }
}

/// Whether a request failed for what it asked, rather than for want of a connection: it would fail again.
fn is_about_the_request(fault: &Fault) -> bool {
    !matches!(fault, Fault::Ambiguous(_) | Fault::AuthFailed | Fault::Over | Fault::Unimplemented)
}
