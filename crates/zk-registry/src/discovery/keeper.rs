//! The view, kept up to date by events while a reply is awaited, and published.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::epoch::{Epoch, Line, Need, Over, Replies, lost_epoch};
use super::portion::Portion;
use super::sharding::{Following, Handover};
use super::snapshot_file::SnapshotFile;
use super::spread::{InVain, spread};
use super::subscriptions::Subscriptions;
use super::view::{self, View};
use super::waiters::Waiters;
use crate::counters::ViewCounters;
use crate::format::Format;
use crate::format::shards::Shards;
use crate::instance::ServiceName;
use crate::options::{RecordLimits, Suspicion};
use crate::session::Link;
use crate::session::last_heard::LastHeard;
use crate::snapshot::{Freshness, Snapshot};
use crate::store::{Event, Fault, Node, Reply};

/// The least time between two publications of other instances, and between two that tell of progress alone: those hold up none of
/// the first.
const PUBLISH_EVERY: Duration = Duration::from_millis(5);

/// What a view needs to know of its registry.
pub(crate) struct ViewSettings {
    pub(crate) service: ServiceName,
    /// Which of the service's directories it is.
    pub(crate) directory: usize,
    /// The directory's node.
    pub(crate) root: String,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) suspicion: Suspicion,
    pub(crate) record_limits: RecordLimits,
    pub(crate) session_timeout: Duration,
    pub(crate) audit_interval: Duration,
    pub(crate) file: Option<SnapshotFile>,
    /// Of how many directories of about this size the service is made: they are read again as one.
    pub(crate) alike: usize,
    /// How the marker on the node is followed, if the service may have shards and this is its own node.
    pub(crate) following: Option<Following>,
    pub(crate) seed: u64,
    pub(crate) last_heard: LastHeard,
    /// Of the whole service.
    pub(crate) counters: Arc<ViewCounters>,
    /// Called with the path of every child that changed.
    pub(crate) changed: Box<dyn Fn(&str) + Send>,
}

impl fmt::Debug for ViewSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSettings").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A view with its two ways: events come in by the watch of an epoch, snapshots go out.
pub(super) struct Keeper {
    pub(super) settings: ViewSettings,
    pub(super) view: View,
    pub(super) link: watch::Receiver<Link>,
    pub(super) rng: SmallRng,
    pub(super) portion: Portion,
    subscriptions: Arc<Subscriptions>,
    snapshots: watch::Sender<Snapshot>,
    published_at: Option<Instant>,
    /// When the last snapshot went out that has the instances of the one before.
    progressed_at: Option<Instant>,
    /// After which moment something of the server was received.
    received_at: Option<Instant>,
    /// The resyncs in a row whose connection was lost before they were done.
    in_vain: InVain,
    /// When the last resync was due to begin, of a reconnect or of a further session.
    resync_due: Option<Instant>,
    /// When the connection was last lost.
    lost_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        settings: ViewSettings,
        subscriptions: Arc<Subscriptions>,
        link: watch::Receiver<Link>,
        snapshots: watch::Sender<Snapshot>,
    ) -> Self {
        let view = View::new(
            settings.service.clone(),
            settings.format.clone(),
            settings.suspicion,
            settings.record_limits,
            settings.session_timeout,
        )
        .in_directory(settings.directory);
        // The views of one process take turns of their own.
        let own = u64::from(crc32fast::hash(settings.root.as_bytes()));
        let rng = SmallRng::seed_from_u64(settings.seed ^ own);
        Self {
            settings,
            view,
            link,
            rng,
            portion: Portion::new(),
            subscriptions,
            snapshots,
            published_at: None,
            progressed_at: None,
            received_at: None,
            in_vain: InVain::default(),
            resync_due: None,
            lost_at: None,
        }
    }

    pub(super) fn snapshots(&self) -> &watch::Sender<Snapshot> {
        &self.snapshots
    }

    /// Ends the view if nothing watches it any more.
    pub(super) fn check_watched(&self) -> Result<(), Over> {
        let unwatched =
            self.snapshots.is_closed() && self.subscriptions.forget_unwatched(&self.settings.service);
        if unwatched { Err(Over::View) } else { Ok(()) }
    }

    /// The node has a marker: from the first one on this view is one part among several.
    pub(super) fn follow(&mut self, shards: Shards, waiters: &mut Waiters) {
        let following = match self.settings.following.take() {
            // It has none, and never had.
            Some(Following::Alone(split)) if shards.read == 0 => Following::Alone(split),
            Some(Following::Alone(split)) => {
                info!(
                    root = self.settings.root,
                    shards = shards.count,
                    read = shards.read,
                    "the service has shards"
                );
                let (wanted, arriving) = mpsc::unbounded_channel();
                let (arriving_before, waiting) = waiters.hand_over(arriving);
                let part = split(Handover {
                    shards,
                    wanted,
                    snapshots: self.snapshots.clone(),
                    waiters: arriving_before,
                    waiting,
                    subscriptions: std::mem::take(&mut self.subscriptions),
                    counters: self.settings.counters.clone(),
                    file: self.settings.file.take(),
                    session_timeout: self.settings.session_timeout,
                });
                self.snapshots = part.snapshots;
                Following::Split(part.markers)
            }
            Some(Following::Split(markers)) => {
                markers.send_if_modified(|known| std::mem::replace(known, shards) != shards);
                Following::Split(markers)
            }
            None => return,
        };
        self.settings.following = Some(following);
    }

    /// From now on a watch of the service starts another view.
    pub(super) fn forget(&self) {
        self.subscriptions.forget(&self.settings.service, &self.snapshots);
    }

    /// Awaits a reply while hearing the watch, so that a lost connection is told at once. So is that nothing is answered:
    /// where only the way to the server is dead, its events go on to come until it has given up the session. What is known
    /// already is published in time, and a view without watches ends.
    pub(super) async fn answer<T>(
        &mut self,
        epoch: &mut Epoch,
        reply: Reply<T>,
    ) -> Result<Result<T, Fault>, Over> {
        self.answer_to(epoch, reply, Instant::now()).await
    }

    /// The same of a request that was sent at `sent`, ahead of others that were awaited first.
    pub(super) async fn answer_to<T>(
        &mut self,
        epoch: &mut Epoch,
        reply: Reply<T>,
        sent: Instant,
    ) -> Result<Result<T, Fault>, Over> {
        let mut reply = reply;
        let asked = Instant::now();
        let mut overdue = pin!(sleep_until(asked + epoch.store.connection_timeout()));
        let mut is_overdue = false;
        let snapshots = self.snapshots.clone();
        loop {
            let wake = OptionFuture::from(self.next_wake().map(sleep_until));
            tokio::select! {
                biased;
                event = epoch.watch.next() => self.hear(epoch, event, Instant::now())?,
                over = lost_epoch(&mut self.link, epoch.number) => return Err(over),
                () = snapshots.closed() => self.check_watched()?,
                answer = &mut reply => {
                    // When it came is not known: this task may run long after. The server was heard after the request was sent,
                    // unless it is our own side that says why there is no answer.
                    if answer.is_ok() {
                        self.received_at = self.received_at.max(Some(sent));
                    }
                    // Whatever was sent before the reply is queued by now.
                    self.hear_queued(epoch)?;
                    return Ok(answer);
                }
                () = overdue.as_mut(), if !is_overdue => {
                    (is_overdue, epoch.replies) = (true, Replies::Overdue);
                    // The server may have been silent already when it was asked.
                    let heard = self.heard_until().map_or(asked, |heard| heard.min(asked));
                    self.view.lost(heard);
                    self.publish();
                }
                Some(()) = wake => self.pass_time(),
            }
        }
    }

    /// When the view has something to do or to publish, whatever is asked meanwhile.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let publication = self.view.has_news().then(|| self.next_publication());
        [publication, self.view.next_tick()].into_iter().flatten().min()
    }

    /// Lets go of what is over, and publishes what is new and due.
    pub(super) fn pass_time(&mut self) {
        self.view.tick(Instant::now());
        self.publish_if_due();
    }

    /// Takes up the events that are here already.
    pub(super) fn hear_queued(&mut self, epoch: &mut Epoch) -> Result<(), Over> {
        self.hear_since(epoch, Instant::now())
    }

    /// Takes up the events that are here already and may have been for a while, but not before `at`.
    pub(super) fn hear_since(&mut self, epoch: &mut Epoch, at: Instant) -> Result<(), Over> {
        while let Some(event) = epoch.watch.try_next() {
            self.hear(epoch, Some(event), at)?;
        }
        Ok(())
    }

    /// Takes up one event of the watch that came at `at` or later: a dirty mark, or the connection's state. `None`: there
    /// will be no more.
    pub(super) fn hear(&mut self, epoch: &mut Epoch, event: Option<Event>, at: Instant) -> Result<(), Over> {
        match event.unwrap_or(Event::Over) {
            Event::Node(path) => {
                self.received_at = self.received_at.max(Some(at));
                match path.strip_prefix(self.settings.root.as_str()) {
                    // Its data was written, or it came or went: its children have marks of their own.
                    Some("") => epoch.need = epoch.need.max(Need::Parent),
                    Some(below) => {
                        let mut names = below.split('/').skip(1);
                        match (names.next(), names.next(), names.next()) {
                            (Some(name), None, _) => self.view.mark(name, at),
                            (Some(name), Some(_), None) => self.view.child_changed(name, at),
                            _ => {}
                        }
                    }
                    None => {}
                }
            }
            Event::Connected => {
                if epoch.need == Need::Everything {
                    let under_way = self.lost_at.zip(self.resync_due);
                    let under_way = under_way.map(|(lost, due)| lost.saturating_duration_since(due));
                    self.in_vain.count(under_way.unwrap_or_default(), self.settings.session_timeout);
                } else {
                    self.in_vain = InVain::default();
                }
                (epoch.line, epoch.need) = (Line::Unarmed, Need::Everything);
                epoch.reads.begin(self.resync_at());
                epoch.checks.begin(None);
            }
            Event::Disconnected => {
                (epoch.line, epoch.sweep) = (Line::Lost, None);
                self.lost_at = Some(at);
                self.lost();
            }
            Event::Over => return Err(Over::Epoch),
        }
        Ok(())
    }

    /// When the resync after a reconnect may begin. The first session of a view is none: it begins at once.
    pub(super) fn resync_at(&mut self) -> Option<Instant> {
        self.received_at?;
        let spread = spread(
            self.view.children().saturating_mul(self.settings.alike),
            self.in_vain,
            self.settings.session_timeout,
        );
        let delay = spread.mul_f64(self.rng.random_range(0.0..1.0));
        let due = Instant::now() + delay;
        self.resync_due = Some(due);
        (delay >= Duration::from_millis(1)).then_some(due)
    }

    /// The server is not heard any more.
    pub(super) fn lost(&mut self) {
        self.view.lost(self.heard_until().unwrap_or_else(Instant::now));
        self.publish();
    }

    /// Up to when the server is known to have been heard.
    pub(super) fn heard_until(&self) -> Option<Instant> {
        self.settings.last_heard.until(self.received_at).or(self.received_at)
    }

    /// The service cannot be read: ZooKeeper said why.
    pub(super) fn hindered(&mut self, fault: &Fault) {
        let cause = fault.clone().while_reading(&self.settings.root);
        if self.view.hindered(cause.clone()) {
            warn!(%cause, "the service cannot be read, trying on");
        }
    }

    /// The registry is closed, or failed: publishes why, if waiting cannot cure it.
    pub(super) fn last_words(&mut self) {
        let failed = self.link.borrow().failed.clone();
        if let Some(error) = failed {
            self.view.hindered(error);
            self.publish();
        }
    }

    fn next_publication(&self) -> Instant {
        let last = if self.view.has_other_instances() {
            self.published_at
        } else {
            self.published_at.max(self.progressed_at)
        };
        last.map_or_else(Instant::now, |at| at + PUBLISH_EVERY)
    }

    /// Publishes what is new, if the last publication is long enough ago.
    fn publish_if_due(&mut self) {
        if self.view.has_news() && self.next_publication() <= Instant::now() {
            self.publish();
        }
    }

    /// Publishes what is new.
    pub(super) fn publish(&mut self) {
        let at =
            if self.view.has_other_instances() { &mut self.published_at } else { &mut self.progressed_at };
        let Some(snapshot) = self.view.publish() else { return };
        *at = Some(Instant::now());
        debug!(
            root = self.settings.root,
            revision = snapshot.revision(),
            instances = snapshot.len(),
            freshness = ?snapshot.freshness(),
            "snapshot published"
        );
        if let Some(file) = &mut self.settings.file
            && snapshot.freshness() == Freshness::Live
        {
            file.remember(&snapshot);
        }
        self.snapshots.send_replace(snapshot);
    }

    /// Counts them, and tells the registrations of this process which of the service's nodes changed.
    pub(super) fn tell(&self, changed: &[String]) {
        self.settings.counters.changes.add(changed.len() as u64);
        for path in self.paths(changed) {
            (self.settings.changed)(&path);
        }
    }

    /// What reads said, with no more of a record than tells that it is too large.
    pub(super) fn bounded(&self, nodes: Vec<Result<Node, Fault>>) -> Vec<Result<Node, Fault>> {
        let most = self.settings.record_limits.record;
        nodes.into_iter().map(|node| view::bounded(node, most)).collect()
    }

    /// The paths of children of the service.
    pub(super) fn paths(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|name| format!("{}/{name}", self.settings.root)).collect()
    }
}
