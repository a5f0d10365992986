//! The tasks of one listener's connections: waited for, and ended if need be.
//!
//! Their starter keeps them, so that a task shares nothing with the others: no lock, no counter.

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Tasks of which most have ended. Dropping it ends the others.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: Vec<JoinHandle<()>>,
    /// How many there may be before those that have ended are removed: twice those that had not the last time, so that
    /// a task costs looking at two.
    room: usize,
}

impl Tasks {
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if self.tasks.len() >= self.room {
            self.tasks.retain(|task| !task.is_finished());
            self.room = (2 * self.tasks.len()).max(64);
        }
        self.tasks.push(tokio::spawn(task));
    }

    /// Waits until all have ended, but not beyond `deadline`: then ends the others, and tells how many they were.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends them all.
    pub(crate) async fn finish(mut self, deadline: Instant) -> usize {
        while let Some(task) = self.tasks.last_mut() {
            // A panic has been counted where it happened.
            if timeout_at(deadline, task).await.is_err() {
                break;
            }
            self.tasks.pop();
        }
        self.tasks.retain(|task| !task.is_finished());
        let dropped = self.tasks.len();
        self.abort();
        while let Some(task) = self.tasks.last_mut() {
            // That it was aborted is known.
            let _ = task.await;
            self.tasks.pop();
        }
        dropped
    }

    fn abort(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_do_not_end_in_time_are_ended_and_counted() {
        let mut tasks = Tasks::default();
        let held = Arc::new(());
        for seconds in 1..=3 {
            let held = Arc::clone(&held);
            tasks.spawn(async move {
                sleep(Duration::from_secs(seconds)).await;
                drop(held);
            });
        }
        tasks.spawn(async { panic!("as this test wants it") });
        let began = Instant::now();
        assert_eq!(tasks.finish(began + Duration::from_millis(1500)).await, 2);
        assert_eq!((began.elapsed(), Arc::strong_count(&held)), (Duration::from_millis(1500), 1));
    }

    #[tokio::test]
    async fn dropping_it_ends_its_tasks() {
        let (alive, gone) = oneshot::channel::<()>();
        let mut tasks = Tasks::default();
        tasks.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(tasks);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    async fn those_that_have_ended_take_no_room_for_long() {
        let mut tasks = Tasks::default();
        for _ in 0..10_000 {
            tasks.spawn(async {});
            tokio::task::yield_now().await;
        }
        assert!(tasks.tasks.len() <= 64, "{} are kept", tasks.tasks.len());
    }
}
