//! The thin driver of a watch: one task per service feeds the pure [`View`] from one recursive watch, and publishes.
//!
//! It arms the watch again and reads everything after every reconnect, because events of the time between are lost; after
//! that each change costs one read, batched with what else is dirty. It never awaits user code.

use std::sync::Arc;

use futures_util::future::OptionFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::epoch::{Epoch, Need, Over, Replies, Step, lost_epoch};
use super::keeper::{Keeper, ViewSettings};
use super::requests::{is_about_the_request, read_all};
use super::snapshot_file::Stored;
use super::subscriptions::{Channel, Subscriptions};
use super::view::Batch;
use super::waiters::Waiters;
use crate::backoff::jittered;
use crate::resolve::Waiter;
use crate::session::{Link, Phase};
use crate::store::limits::MOST_PER_REQUEST;
use crate::store::{Fault, Node, Stat, Store};

/// Every so many audits read every child again.
pub(super) const FULL_AUDIT: u32 = 20;

/// The task behind the watches of one service. `run` it once.
pub(crate) struct Driver {
    keeper: Keeper,
    subscriptions: Arc<Subscriptions>,
    waiters: Waiters,
}

impl Driver {
    pub(crate) fn new(
        settings: ViewSettings,
        subscriptions: Arc<Subscriptions>,
        link: watch::Receiver<Link>,
        channel: Channel,
        waiters: mpsc::UnboundedReceiver<Waiter>,
    ) -> Self {
        let keeper = Keeper::new(settings, link, channel.snapshots);
        Self { keeper, subscriptions, waiters: Waiters::new(waiters) }
    }

    /// Keeps the view true until the registry is closed or the last watch is dropped.
    pub(crate) async fn run(mut self) {
        if let Some(file) = &self.keeper.settings.file
            && let Some(Stored { members, written }) = file.load().await
        {
            self.keeper.view.restore(members, written);
            self.keeper.publish();
        }
        loop {
            let over = match self.next_session().await {
                Ok((store, number)) => match self.begin(store, number).await {
                    Ok(epoch) => self.epoch(epoch).await,
                    Err(over) => over,
                },
                Err(over) => over,
            };
            self.keeper.lost();
            if matches!(over, Over::View) {
                break;
            }
        }
        self.forget();
        if let Some(file) = self.keeper.settings.file.take() {
            file.flush().await;
        }
    }

    /// Waits for a session that is connected.
    async fn next_session(&mut self) -> Result<(Arc<dyn Store>, u64), Over> {
        loop {
            let link = self.keeper.link.borrow_and_update().clone();
            match (link.phase, link.store) {
                (Phase::Closed, _) => return Err(Over::View),
                (Phase::Up, Some(store)) => return Ok((store, link.epoch)),
                _ => {}
            }
            let tick = OptionFuture::from(self.keeper.view.next_tick().map(sleep_until));
            let snapshots = self.keeper.snapshots().clone();
            tokio::select! {
                changed = self.keeper.link.changed() => changed.map_err(|_| Over::View)?,
                () = snapshots.closed() => self.unwatched()?,
                () = self.waiters.arrive() => {}
                Some(()) = tick => {
                    self.keeper.view.tick(Instant::now());
                    self.keeper.publish();
                }
            }
        }
    }

    /// Arms the watch of a new session, after the server caught up with what an earlier one had seen.
    async fn begin(&mut self, store: Arc<dyn Store>, number: u64) -> Result<Epoch, Over> {
        let mut backoff = Epoch::backoff();
        loop {
            let root = &self.keeper.settings.root;
            let (watch, sync) = (store.watch(root), store.sync(root));
            let armed = async { (watch.await, sync.await) };
            let (watch, sync) = tokio::select! {
                biased;
                over = lost_epoch(&mut self.keeper.link, number) => return Err(over),
                armed = armed => armed,
            };
            match (watch, sync) {
                (Ok(watch), Ok(())) => {
                    let audit_at = self.next_audit();
                    return Ok(Epoch::new(store, watch, number, audit_at, self.keeper.stagger()));
                }
                (watch, sync) => {
                    let fault = (watch.err(), sync.err());
                    debug!(root, ?fault, "arming the watch failed, trying again");
                    let delay = backoff.delay(&mut self.keeper.rng);
                    let snapshots = self.keeper.snapshots().clone();
                    tokio::select! {
                        biased;
                        over = lost_epoch(&mut self.keeper.link, number) => return Err(over),
                        () = snapshots.closed() => self.unwatched()?,
                        () = sleep(delay) => {}
                    }
                }
            }
        }
    }

    /// One session, from the armed watch to its end.
    async fn epoch(&mut self, mut epoch: Epoch) -> Over {
        loop {
            if let Err(over) = self.keeper.hear_queued(&mut epoch) {
                return over;
            }
            self.waiters.answer(&self.keeper.view);
            let view = &self.keeper.view;
            let step = epoch.next_step(view.is_dirty(), self.waiters.want_barrier(view), Instant::now());
            let done = match step {
                Some(Step::Resync) => self.resync(&mut epoch).await,
                Some(Step::ReadMarks) => self.read_marks(&mut epoch).await,
                Some(Step::Barrier) => self.barrier(&mut epoch).await,
                Some(Step::Audit) => self.audit(&mut epoch).await,
                Some(Step::Look) => self.look(&mut epoch).await,
                None => self.idle(&mut epoch).await,
            };
            if let Err(over) = done {
                return over;
            }
            if epoch.replies == Replies::Overdue && epoch.is_gapless() {
                epoch.replies = Replies::Timely;
                self.keeper.view.live();
            }
            self.keeper.publish_if_due();
        }
    }

    /// Waits until there is something to do.
    async fn idle(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let publication = self.keeper.view.has_news().then(|| self.keeper.next_publication());
        // While the connection is lost nothing can be asked, so that only the view's own times count.
        let request = epoch.is_connected().then(|| epoch.hold.unwrap_or(epoch.audit_at));
        let wake = [request, publication, self.keeper.view.next_tick()].into_iter().flatten().min();
        let wake = OptionFuture::from(wake.map(sleep_until));
        let snapshots = self.keeper.snapshots().clone();
        tokio::select! {
            biased;
            event = epoch.watch.next() => self.keeper.hear(epoch, event)?,
            over = lost_epoch(&mut self.keeper.link, epoch.number) => return Err(over),
            () = self.waiters.arrive() => {}
            () = snapshots.closed() => self.unwatched()?,
            Some(()) = wake => {
                let now = Instant::now();
                epoch.hold = epoch.hold.filter(|hold| *hold > now);
                self.keeper.view.tick(now);
            }
        }
        Ok(())
    }

    /// Reads everything, and arms the watch if need be.
    async fn resync(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        epoch.need = Need::Nothing;
        let asked = Instant::now();
        self.keeper.view.begin_resync(asked);
        match read_all(&mut self.keeper, epoch).await? {
            Ok(batch) => {
                epoch.backoff.reset();
                epoch.chunk = MOST_PER_REQUEST;
                (epoch.parent, epoch.agreed_at) = (batch.parent, asked);
                let changed = self.keeper.view.listed(batch, Instant::now());
                self.keeper.tell(&changed);
                if epoch.is_gapless() {
                    self.keeper.view.live();
                }
                self.keeper.publish();
            }
            Err(fault) => {
                let root = &self.keeper.settings.root;
                if matches!(fault, Fault::NoAuth) {
                    warn!(root, "the service may not be listed with our identity, trying on");
                } else {
                    debug!(root, ?fault, "reading the service failed, trying again");
                }
                self.keeper.view.failed();
                self.keeper.publish();
                if is_about_the_request(&fault) {
                    epoch.chunk = (epoch.chunk / 2).max(1);
                }
                epoch.need = Need::Everything;
                self.hold(epoch);
            }
        }
        Ok(())
    }

    /// Reads what is dirty; the parent comes last and says whether anything is missing.
    async fn read_marks(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let names = self.keeper.view.take_marks(MOST_PER_REQUEST);
        let mut paths = self.keeper.paths(&names);
        paths.push(self.keeper.settings.root.clone());
        let read = epoch.store.read(&paths);
        match self.keeper.answer(epoch, read).await? {
            Ok(mut nodes) => {
                let parent = nodes.pop();
                let parent = self.parent(epoch, parent);
                let items = names.into_iter().zip(nodes).collect();
                let batch = Batch { items, parent, gapless: epoch.is_gapless() };
                let changed = self.keeper.view.loaded(batch, Instant::now());
                self.keeper.tell(&changed);
                self.compare(epoch);
            }
            Err(fault) => {
                debug!(root = self.keeper.settings.root, ?fault, "reading what changed failed, trying again");
                // The marks are lost with the request: only a resync can do without them.
                self.keeper.view.failed();
                epoch.need = Need::Everything;
                self.hold(epoch);
            }
        }
        Ok(())
    }

    /// Every mark up to what is waited for is queued once this is answered.
    async fn barrier(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let root = &self.keeper.settings.root;
        let sync = epoch.store.sync(root);
        let read = epoch.store.read(std::slice::from_ref(root));
        let synced = self.keeper.answer(epoch, sync).await?;
        let read = self.keeper.answer(epoch, read).await?;
        let (Ok(()), Ok(mut nodes)) = (synced, read) else {
            self.hold(epoch);
            return Ok(());
        };
        epoch.backoff.reset();
        let parent = self.parent(epoch, nodes.pop());
        if epoch.is_gapless() {
            self.keeper.view.loaded(Batch { items: Vec::new(), parent, gapless: true }, Instant::now());
            self.waiters.set_barrier(self.keeper.view.barrier());
        }
        self.compare(epoch);
        Ok(())
    }

    /// Compares the service with what is known; now and then reads everything.
    async fn audit(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        epoch.audits += 1;
        epoch.audit_at = self.next_audit();
        if epoch.audits.is_multiple_of(FULL_AUDIT) {
            epoch.need = Need::Everything;
            return Ok(());
        }
        self.look(epoch).await?;
        // No events come for unreadable nodes, and a swap keeps the child count: re-read them.
        let now = Instant::now();
        for name in self.keeper.view.unreadable() {
            self.keeper.view.mark(&name, now);
        }
        Ok(())
    }

    fn next_audit(&mut self) -> Instant {
        Instant::now() + jittered(self.keeper.settings.audit_interval, &mut self.keeper.rng)
    }

    /// Compares the service's own node with what is known.
    async fn look(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        if epoch.need == Need::Parent {
            epoch.need = Need::Nothing;
        }
        let before = epoch.parent;
        let root = &self.keeper.settings.root;
        let read = epoch.store.read(std::slice::from_ref(root));
        match self.keeper.answer(epoch, read).await? {
            Ok(mut nodes) => {
                epoch.backoff.reset();
                let parent = self.parent(epoch, nodes.pop());
                let pzxid = |stat: Option<Stat>| stat.map(|stat| stat.pzxid);
                // A change that the parent shows and no mark has told of was missed.
                if !self.keeper.view.is_dirty()
                    && epoch.need != Need::Everything
                    && pzxid(before) != pzxid(parent)
                {
                    info!(root = self.keeper.settings.root, "a change was found that no event told of");
                    self.doubt(epoch);
                }
                self.compare(epoch);
            }
            Err(fault) => {
                debug!(
                    root = self.keeper.settings.root,
                    ?fault,
                    "looking at the service failed, trying again"
                );
                epoch.need = epoch.need.max(Need::Parent);
                self.hold(epoch);
            }
        }
        Ok(())
    }

    /// Asks nothing for a while: a request failed.
    fn hold(&mut self, epoch: &mut Epoch) {
        epoch.hold = Some(Instant::now() + epoch.backoff.delay(&mut self.keeper.rng));
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
        let known = self.keeper.view.children();
        if self.keeper.view.is_dirty() || epoch.need == Need::Everything {
            return;
        }
        if says == known {
            epoch.agreed_at = Instant::now();
        } else {
            debug!(root = self.keeper.settings.root, says, known, "children are missing");
            self.doubt(epoch);
        }
    }

    /// Something is missing of which no event told: it may be so since the last time that everything agreed.
    fn doubt(&mut self, epoch: &mut Epoch) {
        epoch.need = Need::Everything;
        self.keeper.view.doubt(epoch.agreed_at);
    }

    fn unwatched(&self) -> Result<(), Over> {
        let unwatched = self.subscriptions.forget_unwatched(&self.keeper.settings.service);
        if unwatched { Err(Over::View) } else { Ok(()) }
    }

    fn forget(&self) {
        self.subscriptions.forget(&self.keeper.settings.service, self.keeper.snapshots());
    }
}

impl Drop for Driver {
    /// A view that does not run, or runs no more, must not be waited for.
    fn drop(&mut self) {
        self.forget();
    }
}
