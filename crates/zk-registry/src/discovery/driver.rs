//! The thin driver of a watch: one task per service feeds the pure [`View`](super::view::View) from one recursive watch, and publishes.
//!
//! It arms the watch again and reads everything after every reconnect, because events of the time between are lost; after
//! that each change costs one read, batched with what else is dirty. It never awaits user code.

use std::sync::Arc;

use futures_util::future::{FutureExt as _, OptionFuture, TryFutureExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::epoch::{Epoch, Line, Listed, Need, Over, Replies, Step, Sweep, lost_epoch};
use super::keeper::{Keeper, ViewSettings};
use super::pace::{Pace, SUSPICIOUS};
use super::rebuilt::is_another_zookeeper;
use super::requests::{is_about_the_request, read_all};
use super::subscriptions::Outlet;
use super::view::{Batch, Read};
use super::waiters::Waiters;
use crate::backoff::jittered;
use crate::format::shards::{LONGEST_MARKER, Marker};
use crate::session::{Link, Phase};
use crate::snapshot::Zxid;
use crate::store::{Fault, Listing, Node, Reply, Stat, Store, Watch};

/// Every so many audits read every child again.
pub(super) const FULL_AUDIT: u32 = 20;

/// The task behind the watches of one service. `run` it once.
pub(crate) struct Driver {
    keeper: Keeper,
    waiters: Waiters,
    /// The czxid of the service's node when the last session ended.
    last_root: Option<i64>,
    /// The service's node, by czxid and mzxid, whose data were last looked at for a marker.
    marked: Option<(i64, i64)>,
}

impl Driver {
    pub(crate) fn new(
        settings: ViewSettings,
        link: watch::Receiver<Link>,
        Outlet { channel, waiters, subscriptions }: Outlet,
    ) -> Self {
        let keeper = Keeper::new(settings, subscriptions, link, channel.snapshots);
        Self { keeper, waiters: Waiters::new(waiters), last_root: None, marked: None }
    }

    /// Keeps the view true until the registry is closed or the last watch is dropped.
    pub(crate) async fn run(mut self) {
        if let Some(file) = &self.keeper.settings.file
            && let Some(stored) = file.load().await
        {
            self.keeper.view.restore(stored);
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
        self.keeper.forget();
        if let Some(file) = self.keeper.settings.file.take() {
            file.flush().await;
        }
    }

    /// Waits for a session that can be asked.
    async fn next_session(&mut self) -> Result<(Arc<dyn Store>, u64), Over> {
        loop {
            let link = self.keeper.link.borrow_and_update().clone();
            match (link.phase, link.store, link.refused) {
                (Phase::Closed, ..) => return Err(Over::View),
                (Phase::Greeting | Phase::Up, Some(store), _) => return Ok((store, link.epoch)),
                (.., Some(refused)) => {
                    self.keeper.view.hindered(refused);
                    self.keeper.publish();
                }
                _ => {}
            }
            let wake = OptionFuture::from(self.keeper.next_wake().map(sleep_until));
            let snapshots = self.keeper.snapshots().clone();
            tokio::select! {
                changed = self.keeper.link.changed() => changed.map_err(|_| Over::View)?,
                () = snapshots.closed() => self.keeper.check_watched()?,
                () = self.waiters.arrive() => {}
                Some(()) = wake => self.keeper.pass_time(),
            }
        }
    }

    /// Arms the watch of a new session, whose server has caught up with what an earlier one had seen: that is what a
    /// connection is greeted with.
    async fn begin(&mut self, store: Arc<dyn Store>, number: u64) -> Result<Epoch, Over> {
        let mut pace = Pace::new();
        loop {
            let greetings = self.keeper.link.borrow().greetings;
            let begin_at = self.keeper.resync_at();
            let root = &self.keeper.settings.root;
            let (asked, armed) = (Instant::now(), arm(&*store, root, begin_at));
            let snapshots = self.keeper.snapshots().clone();
            let armed = tokio::select! {
                biased;
                over = lost_epoch(&mut self.keeper.link, number) => return Err(over),
                () = snapshots.closed() => {
                    self.keeper.check_watched()?;
                    continue;
                }
                armed = armed => armed,
            };
            match armed {
                Ok((watch, listing)) => {
                    self.greeted(number, greetings).await?;
                    let audit_at = self.next_audit();
                    let mut epoch = Epoch::new(store, watch, number, audit_at, begin_at);
                    if let Some(listing) = listing {
                        self.keeper.view.begin_resync(asked);
                        epoch.listed = Some(Listed { asked, listing });
                    }
                    // Events may have come while the answer lay about.
                    self.keeper.hear_since(&mut epoch, asked)?;
                    return Ok(epoch);
                }
                Err(fault) => {
                    debug!(root, ?fault, "arming the watch failed, trying again");
                    if is_about_the_request(&fault) {
                        self.keeper.hindered(&fault);
                        self.keeper.publish();
                    }
                    pace.failed(&mut self.keeper.rng);
                    let again = pace.until(Instant::now()).unwrap_or_else(Instant::now);
                    tokio::select! {
                        biased;
                        over = lost_epoch(&mut self.keeper.link, number) => return Err(over),
                        () = snapshots.closed() => self.keeper.check_watched()?,
                        () = sleep_until(again) => {}
                    }
                }
            }
        }
    }

    /// Waits until the session is up by this greeting. A listing that was sent behind a greeting that failed may be older than the
    /// last view of an earlier session.
    async fn greeted(&mut self, number: u64, greetings: u64) -> Result<(), Over> {
        loop {
            {
                let link = self.keeper.link.borrow_and_update();
                match link.phase {
                    Phase::Closed => return Err(Over::View),
                    _ if (link.epoch, link.greetings) != (number, greetings) => return Err(Over::Epoch),
                    Phase::Connecting => return Err(Over::Epoch),
                    Phase::Greeting => {}
                    Phase::Suspended { .. } | Phase::Up => return Ok(()),
                }
            }
            let snapshots = self.keeper.snapshots().clone();
            tokio::select! {
                biased;
                changed = self.keeper.link.changed() => changed.map_err(|_| Over::View)?,
                () = snapshots.closed() => self.keeper.check_watched()?,
            }
        }
    }

    /// One session, from the armed watch to its end.
    async fn epoch(&mut self, mut epoch: Epoch) -> Over {
        let over = loop {
            if let Err(over) = self.turn(&mut epoch).await {
                break over;
            }
        };
        self.last_root = match epoch.parent {
            // It may be another one by now.
            _ if epoch.parent_due.is_some() => None,
            Some(parent) => Some(parent.czxid),
            None => self.last_root,
        };
        over
    }

    /// Does what is to be done next, or waits until there is something.
    async fn turn(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        self.keeper.hear_queued(epoch)?;
        self.keeper.check_watched()?;
        let now = Instant::now();
        let view = &self.keeper.view;
        self.waiters.answer(view);
        if epoch.need == Need::Everything && self.waiters.want_more(view) {
            epoch.reads.hurry();
        }
        let step = epoch.next_step(view.is_dirty(), self.waiters.want_barrier(view, now), now);
        match step {
            Some(Step::Resync) => self.resync(epoch).await,
            Some(Step::List) => self.list(epoch).await,
            Some(Step::Sweep) => self.sweep(epoch).await,
            Some(Step::ReadMarks) => self.read_marks(epoch).await,
            Some(Step::Barrier) => self.barrier(epoch).await,
            Some(Step::Audit) => self.audit(epoch).await,
            Some(Step::Look) => self.look(epoch).await,
            None => self.idle(epoch).await,
        }?;
        epoch.last = step;
        if epoch.replies == Replies::Overdue && epoch.is_gapless() {
            epoch.replies = Replies::Timely;
            self.keeper.view.live();
        }
        self.keeper.pass_time();
        Ok(())
    }

    /// Waits until there is something to do.
    async fn idle(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let wake = [epoch.next_turn(Instant::now()), self.keeper.next_wake()].into_iter().flatten().min();
        let wake = OptionFuture::from(wake.map(sleep_until));
        let snapshots = self.keeper.snapshots().clone();
        tokio::select! {
            biased;
            event = epoch.watch.next() => self.keeper.hear(epoch, event, Instant::now())?,
            over = lost_epoch(&mut self.keeper.link, epoch.number) => return Err(over),
            () = self.waiters.arrive() => {}
            () = snapshots.closed() => self.keeper.check_watched()?,
            Some(()) = wake => {}
        }
        Ok(())
    }

    /// Reads everything, and arms the watch if need be.
    async fn resync(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        (epoch.need, epoch.sweep) = (Need::Nothing, None);
        // It counts only over the connection on which it was asked for.
        let listed = epoch.listed.take().filter(|_| epoch.line == Line::Armed);
        let asked = listed.as_ref().map_or_else(Instant::now, |listed| listed.asked);
        if listed.is_none() {
            self.keeper.view.begin_resync(asked);
        }
        match read_all(&mut self.keeper, epoch, listed.map(|listed| listed.listing)).await? {
            Ok(batch) => {
                if epoch.parent.is_none()
                    && is_another_zookeeper(&mut self.keeper, epoch, self.last_root, &batch).await?
                {
                    info!(root = self.keeper.settings.root, "ZooKeeper was built anew, starting over");
                    self.keeper.view.start_over();
                }
                if let Err(fault) = self.look_for_marker(epoch, batch.parent).await? {
                    self.reading_failed(epoch, &fault);
                    return Ok(());
                }
                epoch.reads.succeeded();
                self.keeper.settings.counters.resyncs.add(1);
                epoch.saw_parent(batch.parent);
                epoch.agreed_at = asked;
                let changed = self.keeper.view.listed(batch, Instant::now());
                self.keeper.tell(&changed);
                if epoch.is_gapless() {
                    self.keeper.view.live();
                }
                self.keeper.publish();
            }
            Err(fault) => self.reading_failed(epoch, &fault),
        }
        Ok(())
    }

    /// What is missing was not read: everything has to be, after a while.
    fn reading_failed(&mut self, epoch: &mut Epoch, fault: &Fault) {
        if is_about_the_request(fault) {
            self.keeper.portion.refused();
            self.keeper.hindered(fault);
        }
        let heard = self.keeper.heard_until();
        self.keeper.view.failed(heard);
        self.keeper.publish();
        (epoch.need, epoch.sweep) = (Need::Everything, None);
        let failures = epoch.reads.failed(&mut self.keeper.rng);
        let (root, at_once) = (&self.keeper.settings.root, self.keeper.portion.count());
        if failures == SUSPICIOUS {
            warn!(root, ?fault, at_once, "reading the service failed several times in a row, trying on");
        } else {
            debug!(root, ?fault, at_once, "reading the service failed, trying again");
        }
    }

    /// Lists the service: who came and who went is known with the answer. Every child is read again in a sweep, or, in an audit
    /// that is none of the contents, those that no event tells of.
    async fn list(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let cause = std::mem::replace(&mut epoch.need, Need::Nothing);
        let doubts = cause == Need::Doubt || !epoch.is_gapless();
        epoch.sweep = None;
        let asked = Instant::now();
        let list = epoch.store.list(&self.keeper.settings.root);
        let listed = self.keeper.answer(epoch, list).await?;
        let (names, parent) = match listed {
            // Another connection than the one that the watch was armed on: everything will be read.
            Ok(_) | Err(Fault::NoNode) if !epoch.is_armed() => return Ok(()),
            Ok((names, parent)) => (names, Some(parent)),
            Err(Fault::NoNode) => (Vec::new(), None),
            Err(fault) if doubts => {
                self.reading_failed(epoch, &fault);
                return Ok(());
            }
            Err(fault) => {
                debug!(root = self.keeper.settings.root, ?fault, "listing the service failed, trying again");
                epoch.need = epoch.need.max(Need::Audit);
                epoch.checks.failed(&mut self.keeper.rng);
                return Ok(());
            }
        };
        epoch.checks.succeeded();
        epoch.saw_parent(parent);
        if self.look_for_marker(epoch, parent).await?.is_err() {
            epoch.need = epoch.need.max(Need::Parent);
        }
        let changed = self.keeper.view.reconcile(&names, Instant::now());
        self.keeper.tell(&changed);
        let cause = if doubts { Need::Doubt } else { Need::Audit };
        let reach = Zxid(parent.map_or(0, |parent| parent.pzxid));
        let again = if doubts || epoch.audits.is_multiple_of(FULL_AUDIT) {
            names
        } else {
            self.keeper.view.unreadable()
        };
        epoch.sweep = Some(Sweep { names: again.into(), cause, reach, asked });
        Ok(())
    }

    /// Reads some more children of a sweep.
    async fn sweep(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let Some(sweep) = &mut epoch.sweep else { return Ok(()) };
        let some = self.keeper.portion.count().min(sweep.names.len());
        let names: Vec<String> = sweep.names.drain(..some).collect();
        let answer = if names.is_empty() {
            Ok(Vec::new())
        } else {
            self.keeper.view.begin_sweep();
            let read = epoch.store.read(&self.keeper.paths(&names));
            self.keeper.answer(epoch, read).await?
        };
        // The connection may have been another one meanwhile: then everything will be read.
        let armed = epoch.is_armed();
        let Some(sweep) = epoch.sweep.as_mut().filter(|_| armed) else { return Ok(()) };
        let nodes = match answer {
            Ok(nodes) => {
                self.keeper.portion.answered(&nodes);
                self.keeper.bounded(nodes)
            }
            Err(fault) if is_about_the_request(&fault) && names.len() == 1 => vec![Err(fault)],
            Err(fault) if !is_about_the_request(&fault) && sweep.cause == Need::Doubt => {
                self.reading_failed(epoch, &fault);
                return Ok(());
            }
            Err(fault) => {
                debug!(
                    root = self.keeper.settings.root,
                    ?fault,
                    "reading some children failed, trying again"
                );
                if is_about_the_request(&fault) {
                    self.keeper.portion.refused();
                }
                names.into_iter().rev().for_each(|name| sweep.names.push_front(name));
                self.keeper.view.swept(Vec::new(), Instant::now());
                epoch.checks.failed(&mut self.keeper.rng);
                return Ok(());
            }
        };
        epoch.checks.succeeded();
        let items = names.into_iter().zip(nodes).map(|(name, node)| Read::answer(name, node)).collect();
        let batch = Batch { items, parent: None, gapless: false };
        sweep.reach = sweep.reach.max(batch.reach());
        let (reach, asked) = (sweep.reach, sweep.asked);
        if sweep.names.is_empty() {
            epoch.sweep = None;
        }
        let changed = self.keeper.view.swept(batch.items, Instant::now());
        self.keeper.tell(&changed);
        if epoch.sweep.is_none() && epoch.is_gapless() {
            epoch.agreed_at = asked;
            self.keeper.view.end_sweep(reach);
        }
        self.compare(epoch);
        Ok(())
    }

    /// Reads the children that are marked and, unless it was read a moment ago, the parent last: its count says whether one is missing.
    async fn read_marks(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let names = self.keeper.view.take_marks(self.keeper.portion.count());
        let mut paths = self.keeper.paths(&names);
        if self.waiters.want_more(&self.keeper.view) || !epoch.spares_parent(Instant::now()) {
            paths.push(self.keeper.settings.root.clone());
        }
        let read = epoch.store.read(&paths);
        match self.keeper.answer(epoch, read).await? {
            Ok(mut nodes) => {
                epoch.reads.succeeded();
                self.keeper.portion.answered(&nodes);
                let parent = if paths.len() > names.len() {
                    let last = nodes.split_off(names.len().min(nodes.len())).pop();
                    self.parent(epoch, last)
                } else {
                    None
                };
                let answers = names.into_iter().zip(self.keeper.bounded(nodes));
                let items = answers.map(|(name, answer)| Read::answer(name, answer)).collect();
                let batch = Batch { items, parent, gapless: epoch.is_gapless() };
                let changed = self.keeper.view.loaded(batch, Instant::now());
                self.keeper.tell(&changed);
                self.compare(epoch);
            }
            // The marks are lost with the request: only a resync can do without them.
            Err(fault) => self.reading_failed(epoch, &fault),
        }
        Ok(())
    }

    /// Every mark up to what is waited for is queued once this is answered.
    async fn barrier(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let root = &self.keeper.settings.root;
        let (sent, sync) = (Instant::now(), epoch.store.sync(root));
        let read = epoch.store.read(std::slice::from_ref(root));
        let synced = self.keeper.answer_to(epoch, sync, sent).await?;
        let read = self.keeper.answer_to(epoch, read, sent).await?;
        let (Ok(()), Ok(mut nodes)) = (synced, read) else {
            epoch.checks.failed(&mut self.keeper.rng);
            return Ok(());
        };
        epoch.checks.succeeded();
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
            epoch.need = epoch.need.max(Need::Audit);
            return Ok(());
        }
        // With marks to read, what the parent says can be compared with nothing: only a listing tells who is there.
        if self.keeper.view.is_dirty() {
            epoch.need = epoch.need.max(Need::Audit);
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
        let (before, is_older) = (epoch.parent, epoch.parent_due.is_some());
        let root = &self.keeper.settings.root;
        let read = epoch.store.read(std::slice::from_ref(root));
        match self.keeper.answer(epoch, read).await? {
            Ok(mut nodes) => {
                epoch.checks.succeeded();
                let parent = self.parent(epoch, nodes.pop());
                let pzxid = |stat: Option<Stat>| stat.map(|stat| stat.pzxid);
                let is_news = !is_older && pzxid(before) != pzxid(parent);
                // A change that the parent shows and no mark has told of was missed.
                if is_news && !self.keeper.view.is_dirty() && epoch.need < Need::Doubt {
                    info!(root = self.keeper.settings.root, "a change was found that no event told of");
                    self.keeper.settings.counters.repairs.add(1);
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
                epoch.checks.failed(&mut self.keeper.rng);
            }
        }
        Ok(())
    }

    /// What a read of the service's own node says.
    fn parent(&mut self, epoch: &mut Epoch, answer: Option<Result<Node, Fault>>) -> Option<Stat> {
        let parent = match answer {
            Some(Ok(node)) => {
                self.follow(&node);
                Some(node.stat)
            }
            Some(Err(Fault::NoNode)) => None,
            // It may not be read any more; whether it may be listed, only listing it tells.
            _ => epoch.parent,
        };
        let created = |stat: Option<Stat>| stat.map(|stat| stat.czxid);
        if created(parent) != created(epoch.parent) {
            // Another node of this name, whose children need not have been those of the last one.
            self.doubt(epoch);
        }
        epoch.saw_parent(parent);
        parent
    }

    /// Reads the service's own node, if its data were never looked at and may be a marker.
    async fn look_for_marker(
        &mut self,
        epoch: &mut Epoch,
        parent: Option<Stat>,
    ) -> Result<Result<(), Fault>, Over> {
        let may_be_new = |parent: &Stat| {
            (1..=LONGEST_MARKER).contains(&parent.bytes) && self.marked != Some((parent.czxid, parent.mzxid))
        };
        if self.keeper.settings.following.is_none() || !parent.as_ref().is_some_and(may_be_new) {
            return Ok(Ok(()));
        }
        let read = epoch.store.read(std::slice::from_ref(&self.keeper.settings.root));
        Ok(match self.keeper.answer(epoch, read).await? {
            Ok(mut nodes) => {
                // What may not be read, or is gone, says nothing.
                if let Some(Ok(node)) = nodes.pop() {
                    self.follow(&node);
                }
                Ok(())
            }
            Err(fault) => Err(fault),
        })
    }

    /// Takes up what the data of the service's own node say. A marker that is gone takes nothing back: instances stand where it said.
    fn follow(&mut self, node: &Node) {
        let this = Some((node.stat.czxid, node.stat.mzxid));
        if self.keeper.settings.following.is_some()
            && std::mem::replace(&mut self.marked, this) != this
            && let Marker::Shards { shards, .. } = Marker::read(&node.data)
        {
            self.keeper.follow(shards, &mut self.waiters);
        }
    }

    /// With nothing left to read, the view must have as many children as the parent says.
    fn compare(&mut self, epoch: &mut Epoch) {
        let says = epoch.parent.map_or(0, |parent| parent.children as usize);
        let known = self.keeper.view.children();
        if self.keeper.view.is_dirty() || epoch.need >= Need::Doubt || epoch.parent_due.is_some() {
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
        epoch.need = epoch.need.max(Need::Doubt);
        self.keeper.view.doubt(epoch.agreed_at);
    }
}

/// Arms a watch, and lists the service with it unless everything is to be read later.
fn arm(store: &dyn Store, root: &str, begin_at: Option<Instant>) -> Reply<(Box<dyn Watch>, Option<Listing>)> {
    match begin_at {
        None => store.watch_and_list(root).map_ok(|(watch, listing)| (watch, Some(listing))).boxed(),
        Some(_) => store.watch(root).map_ok(|watch| (watch, None)).boxed(),
    }
}

impl Drop for Driver {
    /// A view that does not run, or runs no more, must not be waited for.
    fn drop(&mut self) {
        self.keeper.last_words();
        self.keeper.forget();
    }
}
