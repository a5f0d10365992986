//! The thin driver of a watch: one task per service feeds the pure [`View`] from one recursive watch, and publishes.
//!
//! It arms the watch again and reads everything after every reconnect, because events of the time between are lost; after
//! that each change costs one read, batched with what else is dirty. It never awaits user code.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::snapshot_file::{Disk, Remembered};
use super::subscriptions::{Channel, Views};
use super::view::{Barrier, View};
use crate::backoff::{Backoff, jittered};
use crate::format::Format;
use crate::instance::ServiceName;
use crate::options::Suspicion;
use crate::resolve::Wish;
use crate::session::last_heard::LastHeard;
use crate::session::{Link, Phase};
use crate::snapshot::{Freshness, Snapshot};
use crate::store::limits::MOST_PER_REQUEST;
use crate::store::{Event, Stat, Store, Watch};

/// The least time between two publications, but for the first of a burst.
const PUBLISH_EVERY: Duration = Duration::from_millis(5);
/// The bounds of the delay after the first request that failed, and after many.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// A resync after a reconnect is put off by up to so much per child, up to so much in all.
const STAGGER_PER_CHILD: Duration = Duration::from_micros(20);
const MAX_STAGGER: Duration = Duration::from_secs(1);

/// What a view needs to know.
pub(crate) struct Settings {
    pub(crate) service: ServiceName,
    /// The service's node.
    pub(crate) root: String,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) suspicion: Suspicion,
    pub(crate) session_timeout: Duration,
    pub(crate) audit_interval: Duration,
    pub(crate) disk: Option<Disk>,
    pub(crate) seed: u64,
    pub(crate) heard: LastHeard,
    /// Told the path of every child that changed.
    pub(crate) changed: Box<dyn Fn(&str) + Send>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("root", &self.root).finish_non_exhaustive()
    }
}

/// The task behind the watches of one service.
pub(crate) struct Driver {
    pub(super) settings: Settings,
    pub(super) views: Arc<Views>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) snapshots: watch::Sender<Snapshot>,
    pub(super) wished: mpsc::UnboundedReceiver<Wish>,
    pub(super) view: View,
    pub(super) rng: SmallRng,
    /// What somebody waits for, and the barrier whose passing fulfils it.
    pub(super) wishes: Vec<(Wish, Option<Barrier>)>,
    pub(super) published_at: Option<Instant>,
    /// When something of the server was last taken up.
    pub(super) received_at: Option<Instant>,
}

/// Why an epoch, or the whole view, is over.
pub(super) enum Over {
    /// The session is lost.
    Epoch,
    /// The registry is closed, or nobody watches any more.
    View,
}

/// What the driver does next.
enum Step {
    Audit,
    Barrier,
    Look,
    ReadMarks,
    Resync,
}

/// What dies with the session.
pub(super) struct Epoch {
    pub(super) store: Arc<dyn Store>,
    pub(super) watch: Box<dyn Watch>,
    pub(super) number: u64,
    pub(super) connected: bool,
    /// Whether the watch was armed on this connection.
    pub(super) armed: bool,
    /// Whether everything has to be read.
    pub(super) resync: bool,
    /// Whether the service's own node has to be read.
    pub(super) look: bool,
    /// Whether a reply took longer than silence may last.
    pub(super) unanswered: bool,
    /// How many children one request reads: fewer after a listing that failed, which may have been too large.
    pub(super) chunk: usize,
    /// How many audits there were.
    pub(super) audits: u32,
    pub(super) audit_at: Instant,
    /// Not before: a failed request, or jitter.
    pub(super) hold: Option<Instant>,
    pub(super) backoff: Backoff,
    /// The parent as it was last seen.
    pub(super) parent: Option<Stat>,
    /// When it last had as many children as the view.
    pub(super) agreed_at: Instant,
}

impl Driver {
    pub(crate) fn new(
        settings: Settings,
        views: Arc<Views>,
        link: watch::Receiver<Link>,
        channel: Channel,
        wished: mpsc::UnboundedReceiver<Wish>,
    ) -> Self {
        let view = View::new(
            settings.service.clone(),
            settings.format.clone(),
            settings.suspicion,
            settings.session_timeout,
        );
        // The views of one process take turns of their own.
        let own = u64::from(crc32fast::hash(settings.root.as_bytes()));
        let rng = SmallRng::seed_from_u64(settings.seed ^ own);
        let snapshots = channel.snapshots;
        Self {
            settings,
            views,
            link,
            snapshots,
            wished,
            view,
            rng,
            wishes: Vec::new(),
            published_at: None,
            received_at: None,
        }
    }

    /// Keeps the view true until the registry is closed or nobody watches any more.
    pub(crate) async fn run(mut self) {
        if let Some(disk) = &self.settings.disk
            && let Some(Remembered { members, written }) = disk.load().await
        {
            self.view.restore(members, written);
            self.publish();
        }
        loop {
            let over = match self.next_session().await {
                Ok((store, number)) => match self.begin(store, number).await {
                    Ok(epoch) => self.epoch(epoch).await,
                    Err(over) => over,
                },
                Err(over) => over,
            };
            self.lost();
            if matches!(over, Over::View) {
                break;
            }
        }
        self.views.forget(&self.settings.service, &self.snapshots);
        if let Some(disk) = self.settings.disk.take() {
            disk.flush().await;
        }
    }

    /// Waits for a session that is connected.
    async fn next_session(&mut self) -> Result<(Arc<dyn Store>, u64), Over> {
        loop {
            let link = self.link.borrow_and_update().clone();
            match (link.phase, link.store) {
                (Phase::Closed, _) => return Err(Over::View),
                (Phase::Up, Some(store)) => return Ok((store, link.epoch)),
                _ => {}
            }
            let tick = OptionFuture::from(self.view.next_tick().map(sleep_until));
            tokio::select! {
                changed = self.link.changed() => changed.map_err(|_| Over::View)?,
                () = self.snapshots.closed() => self.unwatched()?,
                Some(wish) = self.wished.recv() => self.wish(wish),
                Some(()) = tick => {
                    self.view.tick(Instant::now());
                    self.publish();
                }
            }
        }
    }

    /// Arms the watch of a new session. The supervisor has brought its server up to date with what an earlier one had seen.
    async fn begin(&mut self, store: Arc<dyn Store>, number: u64) -> Result<Epoch, Over> {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        loop {
            let root = &self.settings.root;
            let watch = store.watch(root);
            let watch = tokio::select! {
                biased;
                over = lost_epoch(&mut self.link, number) => return Err(over),
                watch = watch => watch,
            };
            match watch {
                Ok(watch) => {
                    return Ok(Epoch {
                        store,
                        watch,
                        number,
                        connected: true,
                        armed: true,
                        resync: true,
                        look: false,
                        unanswered: false,
                        chunk: MOST_PER_REQUEST,
                        audits: 0,
                        audit_at: Instant::now() + jittered(self.settings.audit_interval, &mut self.rng),
                        hold: self.stagger(),
                        backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
                        parent: None,
                        agreed_at: Instant::now(),
                    });
                }
                Err(fault) => {
                    debug!(root = self.settings.root, ?fault, "arming the watch failed, trying again");
                    let delay = backoff.delay(&mut self.rng);
                    tokio::select! {
                        biased;
                        over = lost_epoch(&mut self.link, number) => return Err(over),
                        () = self.snapshots.closed() => self.unwatched()?,
                        () = sleep(delay) => {}
                    }
                }
            }
        }
    }

    /// One session, from the armed watch to its end.
    async fn epoch(&mut self, mut epoch: Epoch) -> Over {
        loop {
            if let Err(over) = self.hear_queued(&mut epoch) {
                return over;
            }
            self.fulfil();
            let step = self.next_step(&epoch, Instant::now());
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
            if epoch.unanswered && epoch.connected && !epoch.resync {
                epoch.unanswered = false;
                self.view.live();
            }
            if self.publication_due() {
                self.publish();
            }
        }
    }

    /// What has to be asked of the server now, if anything.
    fn next_step(&self, epoch: &Epoch, now: Instant) -> Option<Step> {
        if !epoch.connected || epoch.hold.is_some_and(|hold| hold > now) {
            None
        } else if epoch.resync {
            Some(Step::Resync)
        } else if self.view.is_dirty() {
            Some(Step::ReadMarks)
        } else if self.wants_barrier() {
            Some(Step::Barrier)
        } else if epoch.audit_at <= now {
            Some(Step::Audit)
        } else {
            epoch.look.then_some(Step::Look)
        }
    }

    /// Waits until there is something to do.
    pub(super) async fn idle(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        let publication = self.view.has_news().then(|| self.next_publication());
        // While the connection is lost nothing can be asked, so that only the view's own times count.
        let request = epoch.connected.then(|| epoch.hold.unwrap_or(epoch.audit_at));
        let wake = [request, publication, self.view.next_tick()].into_iter().flatten().min();
        let wake = OptionFuture::from(wake.map(sleep_until));
        tokio::select! {
            biased;
            event = epoch.watch.next() => self.hear(epoch, event)?,
            over = lost_epoch(&mut self.link, epoch.number) => return Err(over),
            Some(wish) = self.wished.recv() => self.wish(wish),
            () = self.snapshots.closed() => self.unwatched()?,
            Some(()) = wake => {
                let now = Instant::now();
                epoch.hold = epoch.hold.filter(|hold| *hold > now);
                self.view.tick(now);
            }
        }
        Ok(())
    }

    /// A fleet that lost the same server must not read everything at the same moment.
    pub(super) fn stagger(&mut self) -> Option<Instant> {
        let spread =
            (STAGGER_PER_CHILD * u32::try_from(self.view.children()).unwrap_or(u32::MAX)).min(MAX_STAGGER);
        let jitter = spread.mul_f64(self.rng.random_range(0.0..1.0));
        (jitter >= Duration::from_millis(1)).then(|| Instant::now() + jitter)
    }

    /// The events that are here already.
    pub(super) fn hear_queued(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        while let Some(event) = epoch.watch.try_next() {
            self.hear(epoch, Some(event))?;
        }
        Ok(())
    }

    /// One event of the watch: a dirty mark, or the connection's state. `None`: there will be no more.
    pub(super) fn hear(&mut self, epoch: &mut Epoch, event: Option<Event>) -> Result<(), Over> {
        let now = Instant::now();
        match event.unwrap_or(Event::Over) {
            Event::Node(path) => {
                self.received_at = Some(now);
                match path.strip_prefix(self.settings.root.as_str()) {
                    // Its data was written, or it came or went: its children have marks of their own.
                    Some("") => epoch.look = true,
                    Some(below) => {
                        let mut names = below.split('/').skip(1);
                        match (names.next(), names.next(), names.next()) {
                            (Some(name), None, _) => self.view.mark(name, now),
                            (Some(name), Some(_), None) => self.view.stir(name, now),
                            _ => {}
                        }
                    }
                    None => {}
                }
            }
            Event::Connected => {
                (epoch.connected, epoch.armed, epoch.resync) = (true, false, true);
                epoch.backoff.reset();
                epoch.hold = self.stagger();
            }
            Event::Disconnected => {
                epoch.connected = false;
                self.lost();
            }
            Event::Over => return Err(Over::Epoch),
        }
        Ok(())
    }

    /// The server is not heard any more.
    pub(super) fn lost(&mut self) {
        let until = self.settings.heard.until(self.received_at).or(self.received_at);
        self.view.lost(until.unwrap_or_else(Instant::now));
        self.publish();
    }

    /// Those who do not wait any more go when somebody else begins to.
    pub(super) fn wish(&mut self, wish: Wish) {
        self.wishes.retain(|(wish, _)| !wish.done.is_closed());
        self.wishes.push((wish, None));
    }

    /// Whether somebody waits for what only a barrier can tell to be there.
    pub(super) fn wants_barrier(&self) -> bool {
        let watermark = self.view.watermark();
        self.wishes.iter().any(|(wish, passes)| passes.is_none() && wish.zxid > watermark)
    }

    /// Tells those whose wish is fulfilled by the snapshot that is out.
    pub(super) fn fulfil(&mut self) {
        while let Ok(wish) = self.wished.try_recv() {
            self.wish(wish);
        }
        if self.view.has_news() {
            return;
        }
        let view = &self.view;
        let fulfilled = |(wish, passes): &mut (Wish, Option<Barrier>)| {
            wish.zxid <= view.watermark() || passes.is_some_and(|barrier| view.has_passed(barrier))
        };
        for (wish, _) in self.wishes.extract_if(.., fulfilled) {
            // Whoever waited may have stopped.
            let _ = wish.done.send(());
        }
    }

    fn unwatched(&self) -> Result<(), Over> {
        if self.views.forget_unwatched(&self.settings.service) { Err(Over::View) } else { Ok(()) }
    }

    fn next_publication(&self) -> Instant {
        self.published_at.map_or_else(Instant::now, |at| at + PUBLISH_EVERY)
    }

    pub(super) fn publication_due(&self) -> bool {
        self.view.has_news() && self.next_publication() <= Instant::now()
    }

    pub(super) fn publish(&mut self) {
        let Some(snapshot) = self.view.publish() else { return };
        self.published_at = Some(Instant::now());
        debug!(
            root = self.settings.root,
            revision = snapshot.revision(),
            instances = snapshot.len(),
            freshness = ?snapshot.freshness(),
            "snapshot published"
        );
        if let Some(disk) = &mut self.settings.disk
            && snapshot.freshness() == Freshness::Live
        {
            disk.remember(&snapshot);
        }
        self.snapshots.send_replace(snapshot);
    }
}

impl Drop for Driver {
    /// A view that does not run, or runs no more, must not be waited for.
    fn drop(&mut self) {
        self.views.forget(&self.settings.service, &self.snapshots);
    }
}

/// Resolves when the session of this number is over.
pub(super) async fn lost_epoch(link: &mut watch::Receiver<Link>, number: u64) -> Over {
    loop {
        {
            let link = link.borrow_and_update();
            if link.phase == Phase::Closed {
                return Over::View;
            }
            if link.epoch != number || link.phase == Phase::Connecting {
                return Over::Epoch;
            }
        }
        if link.changed().await.is_err() {
            return Over::View;
        }
    }
}
