//! Where the background tasks run: on one thread of our own, so that a caller's blocking code cannot cost the session, or
//! on a runtime that the caller names.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

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

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(handle) = &self.handle {
            self.tasks.spawn_on(task, handle);
        }
    }
}
