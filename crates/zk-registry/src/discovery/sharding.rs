//! The task behind the watches of a service with shards: each node has a view of its own, and what they publish is put together.
//!
//! It begins when the view of the service's own node meets a marker, and takes its watches over; a service without one has no such
//! task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, OptionFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::shard_union::{Answered, Cause, OWN, Question, ShardUnion};
use super::snapshot_file::SnapshotFile;
use super::subscriptions::{Channel, Outlet, Subscriptions};
use crate::counters::ViewCounters;
use crate::format::shards::Shards;
use crate::instance::ServiceName;
use crate::resolve::Waiter;
use crate::session::last_heard::LastHeard;
use crate::snapshot::{Freshness, Snapshot, Zxid};

/// How long an instance on the move may take from one node to another before it is asked for.
const ON_THE_WAY: Duration = Duration::from_millis(10);

/// Starts the view of the shard of this number.
pub(crate) type StartShard = Box<dyn Fn(u16, PartChannel) + Send + Sync>;

/// Takes a service over from the view of its own node.
pub(crate) type Split = Box<dyn FnOnce(Handover) -> PartOutlet + Send>;

/// How a view follows the marker on its node.
pub(crate) enum Following {
    /// Nobody has met a marker yet.
    Alone(Split),
    /// The task that has taken the service over is told.
    Split(watch::Sender<Shards>),
}

/// What the view of a service's own node gives away.
pub(crate) struct Handover {
    pub(super) shards: Shards,
    /// Where the view is asked from now on.
    pub(super) wanted: mpsc::UnboundedSender<Waiter>,
    pub(super) snapshots: watch::Sender<Snapshot>,
    pub(super) waiters: mpsc::UnboundedReceiver<Waiter>,
    /// Those that wait already.
    pub(super) waiting: Vec<Waiter>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) counters: Arc<ViewCounters>,
    pub(super) file: Option<SnapshotFile>,
    pub(super) session_timeout: Duration,
}

/// What it gets instead: it is one part among several.
pub(crate) struct PartOutlet {
    pub(super) snapshots: watch::Sender<Snapshot>,
    pub(super) markers: watch::Sender<Shards>,
}

/// The channel of a shard's view.
pub(crate) struct PartChannel {
    snapshots: watch::Sender<Snapshot>,
    wanted: mpsc::UnboundedSender<Waiter>,
    waiters: mpsc::UnboundedReceiver<Waiter>,
    counters: Arc<ViewCounters>,
    /// How many shards there are: their resyncs are spread as those of one service.
    pub(crate) shards: usize,
}

impl PartChannel {
    /// What the view is started with, on a session that was last heard then.
    pub(crate) fn outlet(self, last_heard: LastHeard) -> Outlet {
        let Self { snapshots, wanted, waiters, counters, shards: _ } = self;
        let channel = Channel { snapshots, wanted, last_heard, counters };
        Outlet { channel, waiters, subscriptions: Arc::default() }
    }
}

/// Puts the nodes of a service together. `run` it once.
pub(crate) struct ShardedService {
    service: ServiceName,
    union: ShardUnion,
    wanted: Vec<mpsc::UnboundedSender<Waiter>>,
    news: FuturesUnordered<BoxFuture<'static, (usize, watch::Receiver<Snapshot>, Still)>>,
    markers: watch::Receiver<Shards>,
    start: StartShard,
    snapshots: watch::Sender<Snapshot>,
    waiters: mpsc::UnboundedReceiver<Waiter>,
    /// Waiters, each with how many parts were asked.
    waiting: FuturesUnordered<BoxFuture<'static, (usize, Waiter)>>,
    subscriptions: Arc<Subscriptions>,
    counters: Arc<ViewCounters>,
    file: Option<SnapshotFile>,
    patience: Duration,
}

/// Whether a part goes on to publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Still {
    Ended,
    Running,
}

impl ShardedService {
    /// The task, and what the view of the service's own node goes on with.
    pub(crate) fn new(handover: Handover, start: StartShard) -> (Self, PartOutlet) {
        let Handover { shards, wanted, snapshots, waiters, waiting, .. } = handover;
        let own = snapshots.borrow().clone();
        let (sender, receiver) = watch::channel(own.clone());
        let (marked, markers) = watch::channel(Shards::NONE);
        let mut this = Self {
            service: own.service().clone(),
            union: ShardUnion::new(own, Shards::NONE),
            wanted: vec![wanted],
            news: FuturesUnordered::new(),
            markers,
            start,
            snapshots,
            waiters,
            waiting: FuturesUnordered::new(),
            subscriptions: handover.subscriptions,
            counters: handover.counters,
            file: handover.file,
            patience: handover.session_timeout * 2,
        };
        this.news.push(next(OWN, receiver));
        marked.send_replace(shards);
        this.reshard();
        for waiter in waiting {
            this.ask(waiter);
        }
        (this, PartOutlet { snapshots: sender, markers: marked })
    }

    /// Publishes until every view has ended, or the last watch is dropped.
    pub(crate) async fn run(mut self) {
        let mut question: Option<BoxFuture<'static, Answered>> = None;
        self.publish();
        loop {
            if question.is_none() {
                question = self.union.question().map(|question| self.put(question));
            }
            let snapshots = self.snapshots.clone();
            tokio::select! {
                biased;
                some = self.news.next() => match some {
                    Some((part, receiver, still)) => {
                        let mut is_news = self.changed(part, receiver, still);
                        while let Some(Some((part, receiver, still))) = self.news.next().now_or_never() {
                            is_news |= self.changed(part, receiver, still);
                        }
                        if is_news {
                            self.publish();
                        }
                    }
                    None => break,
                },
                Ok(()) = self.markers.changed() => self.reshard(),
                Some(answered) = OptionFuture::from(question.as_mut()) => {
                    question = None;
                    self.catch_up();
                    if self.union.answered(&answered) {
                        self.publish();
                    }
                }
                Some((asked, waiter)) = self.waiting.next(), if !self.waiting.is_empty() => {
                    self.catch_up();
                    // With another marker there may be more to ask.
                    if asked < self.union.parts() {
                        self.ask(waiter);
                    } else {
                        self.publish();
                        // The caller may have stopped waiting.
                        let _ = waiter.done.send(());
                    }
                }
                Some(waiter) = self.waiters.recv() => self.ask(waiter),
                () = snapshots.closed() => if self.subscriptions.forget_unwatched(&self.service) {
                    break;
                },
            }
        }
        self.subscriptions.forget(&self.service, &self.snapshots);
        if let Some(file) = self.file.take() {
            file.flush().await;
        }
    }

    /// Takes up what parts have published already.
    fn catch_up(&mut self) {
        while let Some(Some((part, receiver, still))) = self.news.next().now_or_never() {
            self.changed(part, receiver, still);
        }
        if self.markers.has_changed().unwrap_or(false) {
            self.reshard();
        }
    }

    fn changed(&mut self, part: usize, mut receiver: watch::Receiver<Snapshot>, still: Still) -> bool {
        let snapshot = receiver.borrow_and_update().clone();
        let is_news = self.union.take_up(part, snapshot);
        if still == Still::Running {
            self.news.push(next(part, receiver));
        }
        is_news
    }

    /// Starts the views of shards that are new.
    fn reshard(&mut self) {
        let shards = *self.markers.borrow_and_update();
        let known = self.union.parts();
        let new = self.union.reshard(shards);
        for part in known..known + new {
            let (sender, snapshots) = watch::channel(Snapshot::pending(&self.service));
            let (wanted, waiters) = mpsc::unbounded_channel();
            self.wanted.push(wanted.clone());
            self.news.push(next(part, snapshots));
            let channel = PartChannel {
                snapshots: sender,
                wanted,
                waiters,
                counters: self.counters.clone(),
                shards: self.union.parts() - 1,
            };
            // Part 0 is the service's own node.
            (self.start)(u16::try_from(part - 1).unwrap_or(u16::MAX), channel);
        }
    }

    /// Answers the waiter once every part holds what is waited for; of a view that has ended there is nothing to wait for.
    fn ask(&mut self, waiter: Waiter) {
        let asked = self.wanted.len();
        let answers = known_up_to(&self.wanted, 0..asked, waiter.zxid);
        self.waiting.push(Box::pin(async move {
            answers.await;
            (asked, waiter)
        }));
    }

    /// Resolves once the parts that it is about are known that far, or after the patience that there is.
    fn put(&self, question: Question) -> BoxFuture<'static, Answered> {
        let parts: BTreeSet<usize> = question.parts.iter().copied().collect();
        let wanted = self.wanted.clone();
        let pause = question.cause == Cause::Moving;
        let patience = self.patience;
        Box::pin(async move {
            if pause {
                sleep(ON_THE_WAY).await;
            }
            let known = known_up_to(&wanted, parts.into_iter(), question.until);
            drop(wanted);
            // One that cannot be read must not be waited for for ever.
            match timeout(patience, known).await {
                Ok(()) => Answered::Known(question),
                Err(_) => Answered::Overdue(question),
            }
        })
    }

    /// Publishes what the parts make.
    fn publish(&mut self) {
        let snapshot = self.union.snapshot();
        if let Some(file) = &mut self.file
            && snapshot.freshness() == Freshness::Live
        {
            file.remember(&snapshot);
        }
        self.snapshots.send_replace(snapshot);
    }
}

/// Resolves once these parts are known up to a point of history.
fn known_up_to(
    wanted: &[mpsc::UnboundedSender<Waiter>],
    parts: impl Iterator<Item = usize>,
    zxid: Zxid,
) -> impl Future<Output = ()> + Send + 'static {
    let answers: Vec<_> = parts
        .filter_map(|part| wanted.get(part))
        .map(|wanted| {
            let (done, answer) = oneshot::channel();
            // A view that has ended drops it, which is an answer.
            let _ = wanted.send(Waiter { zxid, done });
            answer
        })
        .collect();
    join_all(answers).map(drop)
}

/// Waits until a part has another snapshot, or has ended.
fn next(
    part: usize,
    mut receiver: watch::Receiver<Snapshot>,
) -> BoxFuture<'static, (usize, watch::Receiver<Snapshot>, Still)> {
    Box::pin(async move {
        let still = if receiver.changed().await.is_ok() { Still::Running } else { Still::Ended };
        (part, receiver, still)
    })
}
