//! Whether a session is over *for us*, and the end of the client crate's task when it is.
//!
//! The crate's task can spin inside one poll, for ever and without yielding, once its own deadline (1.4 session timeouts
//! after the last byte) has passed and every attempt to connect fails at once: network gone, descriptors exhausted.
//! Nothing can stop it from inside that poll, so it must not be polled any more by then. The registry's supervisor gives up
//! in time, unless the whole process was frozen; therefore the task also looks at the time since its last poll.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::End;

/// Shared by everything that belongs to one session.
#[derive(Debug)]
pub(super) struct Lifeline {
    over: watch::Sender<Option<End>>,
    patience: OnceLock<Duration>,
    task: OnceLock<AbortHandle>,
}

impl Lifeline {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { over: watch::Sender::new(None), patience: OnceLock::new(), task: OnceLock::new() })
    }

    /// How long the crate's task may go without a poll.
    pub(super) fn set_patience(&self, patience: Duration) {
        self.patience.get_or_init(|| patience);
    }

    /// The session is over, unless it was over before. Its users are told; the crate's task ends unpolled.
    pub(super) fn end(&self, end: End) {
        self.over.send_if_modified(|over| {
            let news = over.is_none();
            over.get_or_insert(end);
            news
        });
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }

    /// Waits for [`end`](Self::end).
    pub(super) async fn ended(&self) -> End {
        let mut over = self.over.subscribe();
        loop {
            if let Some(end) = *over.borrow_and_update() {
                return end;
            }
            // The sender is ours: it lives.
            let _ = over.changed().await;
        }
    }

    /// Polls something that panics once the crate's task is gone; `None` when the session is over.
    ///
    /// The task is dropped only after [`end`](Self::end), which waits for the borrow.
    pub(super) fn poll<F: Future>(&self, future: F, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let over = self.over.borrow();
        if over.is_some() {
            return Poll::Ready(None);
        }
        pin!(future).poll(cx).map(Some)
    }
}

/// Runs `connect`, so that the task which it spawns runs on this runtime and hangs on this lifeline.
pub(super) async fn spawning<F: Future>(runtime: Handle, lifeline: Arc<Lifeline>, connect: F) -> F::Output {
    let spawner = Spawner { runtime, lifeline };
    let mut connect = pin!(connect);
    std::future::poll_fn(move |cx| {
        let _entered = spawns_core::enter(&spawner);
        connect.as_mut().poll(cx)
    })
    .await
}

struct Spawner {
    runtime: Handle,
    lifeline: Arc<Lifeline>,
}

impl spawns_core::Spawn for Spawner {
    fn spawn(&self, task: spawns_core::Task) {
        let spawns_core::Task { future, .. } = task;
        let task = self.runtime.spawn(Guarded::new(Box::into_pin(future), self.lifeline.clone()));
        // The crate spawns one task per session.
        let _ = self.lifeline.task.set(task.abort_handle());
    }
}

/// The crate's task: dropped instead of polled once the session is over, or once it was not polled for too long.
struct Guarded {
    task: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lifeline: Arc<Lifeline>,
    polled: Instant,
}

impl Guarded {
    fn new(task: Pin<Box<dyn Future<Output = ()> + Send>>, lifeline: Arc<Lifeline>) -> Self {
        Self { task: Some(task), lifeline, polled: Instant::now() }
    }
}

impl Future for Guarded {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let last = std::mem::replace(&mut this.polled, Instant::now());
        let frozen = this.lifeline.patience.get().is_some_and(|patience| this.polled - last > *patience);
        if frozen {
            this.lifeline.end(End::Abandoned);
        }
        match &mut this.task {
            Some(task) if !this.lifeline.is_over() => {
                let poll = task.as_mut().poll(cx);
                if poll.is_ready() {
                    this.task = None;
                }
                poll
            }
            _ => {
                this.task = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Before the crate's task goes, and only if it had not come to its own end.
        if self.task.is_some() {
            self.lifeline.end(End::Abandoned);
        }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("running", &self.task.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    struct World {
        lifeline: Arc<Lifeline>,
        guarded: Guarded,
        polls: Arc<AtomicUsize>,
    }

    fn world() -> World {
        let (lifeline, polls) = (Lifeline::new(), Arc::new(AtomicUsize::new(0)));
        lifeline.set_patience(Duration::from_secs(10));
        let counted = polls.clone();
        let task = poll_fn(move |_| {
            counted.fetch_add(1, Relaxed);
            Poll::<()>::Pending
        });
        World { guarded: Guarded::new(Box::pin(task), lifeline.clone()), lifeline, polls }
    }

    impl World {
        fn poll(&mut self) -> Poll<()> {
            Pin::new(&mut self.guarded).poll(&mut Context::from_waker(std::task::Waker::noop()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_polled_often_enough_goes_on() {
        let mut world = world();
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(10)).await;
            assert!(world.poll().is_pending());
        }
        assert_eq!(world.polls.load(Relaxed), 5);
        assert!(!world.lifeline.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_slept_too_long_is_dropped_without_another_poll() {
        let mut world = world();
        assert!(world.poll().is_pending());
        tokio::time::advance(Duration::from_millis(10_001)).await;
        assert!(world.poll().is_ready());
        assert_eq!(world.polls.load(Relaxed), 1);
        assert_eq!(world.lifeline.ended().await, End::Abandoned);
        assert!(world.guarded.task.is_none());
    }

    #[tokio::test]
    async fn a_task_is_not_polled_after_the_end() {
        let mut world = world();
        world.lifeline.end(End::Closed);
        assert!(world.poll().is_ready());
        assert_eq!(world.polls.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_task_that_is_dropped_tells_so() {
        let World { lifeline, guarded, .. } = world();
        drop(guarded);
        assert_eq!(lifeline.ended().await, End::Abandoned);
    }

    #[tokio::test]
    async fn a_task_that_comes_to_its_end_leaves_the_last_word_to_the_session() {
        let lifeline = Lifeline::new();
        Guarded::new(Box::pin(async {}), lifeline.clone()).await;
        assert!(!lifeline.is_over());
    }

    #[tokio::test]
    async fn the_first_end_counts_and_stops_polls() {
        let lifeline = Lifeline::new();
        lifeline.end(End::Closed);
        lifeline.end(End::Expired);
        assert_eq!(lifeline.ended().await, End::Closed);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(lifeline.poll(pending::<()>(), &mut cx), Poll::Ready(None));
    }
}
