//! Where the background tasks run: on one thread of our own, so that a caller's blocking code cannot cost the session, or
//! on a runtime that the caller names.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::error::{Error, ErrorKind};

/// The owner of every background task. Dropping it lets them end; none is killed.
#[derive(Debug)]
pub(crate) struct Background {
    /// `None`: nothing ever runs.
    handle: Option<Handle>,
    tasks: TaskTracker,
    /// Ends our own thread once its last task has ended.
    _thread: Option<DropGuard>,
}

impl Background {
    /// Runs tasks on the caller's runtime.
    pub(crate) fn on(handle: Handle) -> Self {
        Self { handle: Some(handle), tasks: TaskTracker::new(), _thread: None }
    }

    /// Runs tasks on the caller's runtime, unless its timers are not enabled: no deadline would ever pass.
    pub(crate) fn on_timed(handle: Handle) -> Result<Self, Error> {
        let timed = catch_unwind(AssertUnwindSafe(|| {
            let _entered = handle.enter();
            drop(tokio::time::sleep(Duration::ZERO));
        }));
        match timed {
            Ok(()) => Ok(Self::on(handle)),
            Err(_) => Err(Error::new(
                ErrorKind::Invalid,
                "runtime: its timers are not enabled; build it with `enable_time` or `enable_all`",
            )),
        }
    }

    /// Runs nothing: for a registry that cannot work.
    pub(crate) fn nowhere() -> Self {
        Self { handle: None, tasks: TaskTracker::new(), _thread: None }
    }

    /// Runs tasks on one new thread named `zk-registry`.
    pub(crate) fn own_thread() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let (stopped, tracked) = (stop.clone(), tasks.clone());
        thread::Builder::new().name("zk-registry".to_owned()).spawn(move || {
            runtime.block_on(async {
                stopped.cancelled().await;
                tracked.close();
                tracked.wait().await;
            });
        })?;
        Ok(Self { handle: Some(handle), tasks, _thread: Some(stop.drop_guard()) })
    }

    /// Runs a future here for a caller who may have no runtime; `None` when nothing runs here any more. Dropping the returned
    /// future does not end the task.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        task: F,
    ) -> impl Future<Output = Option<T>> + Send + use<T, F> {
        let (done, answer) = oneshot::channel();
        self.spawn(async move {
            // The caller may have stopped waiting.
            let _ = done.send(task.await);
        });
        async move { answer.await.ok() }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(handle) = &self.handle {
            self.tasks.spawn_on(task, handle);
        }
    }
}
