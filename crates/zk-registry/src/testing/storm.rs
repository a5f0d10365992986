//! Fault schedules against the user's own code: thousands of seeds on a paused clock, a failing one replayed by its number.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Registry;
use crate::options::Options;

/// Runs a test once per seed, each time in a [`World`] of its own whose faults depend on the seed alone.
///
/// The clock is paused: waiting costs nothing, and a schedule takes milliseconds. Code that is given to the test must therefore
/// wait by tokio's clock. With the environment variable `STORM_SEED` only that seed runs.
///
/// ```
/// use std::time::Duration;
/// use zk_registry::{Instance, Resolve, ServiceName, testing};
///
/// testing::storm(0..20, async |world| {
///     let (server, client) = (world.process(), world.process());
///     let time: ServiceName = "time".parse().unwrap();
///     let _registration = server.register(&time, Instance::new("10.0.0.1", 8897));
///     let mut watch = client.watch(&time);
///     world.calm().await; // the faults have come and gone
///     tokio::time::timeout(Duration::from_secs(60), async {
///         while watch.current().len() != 1 {
///             watch.changed().await.unwrap();
///         }
///     })
///     .await
///     .expect("the instance is there again");
/// });
/// ```
///
/// # Panics
///
/// As the test does, with the first seed that fails; that seed is printed before.
pub fn storm(seeds: impl IntoIterator<Item = u64>, test: impl AsyncFn(World)) {
    let only = std::env::var("STORM_SEED").ok();
    let only: Option<u64> =
        only.map(|text| text.parse().unwrap_or_else(|_| panic!("STORM_SEED={text}: it is no number")));
    for seed in only.map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]) {
        let run = || {
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
            let runtime = runtime.expect("a runtime without I/O needs nothing");
            runtime.block_on(async {
                let world = World::new(seed);
                let weather = tokio::spawn(world.clone().weather());
                test(world).await;
                weather.abort();
            });
        };
        // Nothing of the runtime is looked at after a panic.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            eprintln!("storm: seed {seed} failed; STORM_SEED={seed} runs it alone");
            resume_unwind(panic);
        }
    }
}

/// A ZooKeeper in memory, processes that use it, and the faults that befall both.
#[derive(Clone, Debug)]
pub struct World(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seed: u64,
    /// The first is nobody's: it makes the others.
    processes: Mutex<Vec<Registry>>,
    calm: watch::Sender<bool>,
}

impl World {
    fn new(seed: u64) -> Self {
        let first = Registry::with(Options::default(), seed);
        Self(Arc::new(Shared { seed, processes: Mutex::new(vec![first]), calm: watch::Sender::new(false) }))
    }

    /// The seed of this run, for what the test itself leaves to chance.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Another process that uses this ZooKeeper, with the default options. Faults befall it from now on.
    pub fn process(&self) -> Registry {
        self.process_with(Options::default())
    }

    /// Another process that uses this ZooKeeper.
    pub fn process_with(&self, options: Options) -> Registry {
        let mut processes = self.processes();
        let process = processes[0].sibling_with(options);
        processes.push(process.clone());
        process
    }

    /// Waits for the faults to be over: every network is whole, ZooKeeper runs, requests take a millisecond.
    pub async fn calm(&self) {
        // The sender is ours, so that it does not end first.
        let _ = self.0.calm.subscribe().wait_for(|calm| *calm).await;
    }

    async fn weather(self) {
        let mut rng = StdRng::seed_from_u64(self.0.seed);
        for _ in 0..rng.random_range(1..=MOST_FAULTS) {
            sleep(Duration::from_millis(rng.random_range(0..LONGEST_PAUSE))).await;
            let processes = self.processes().len();
            // The first one is without anything to lose.
            let process = self.processes()[rng.random_range(processes.min(2) - 1..processes)].clone();
            match rng.random_range(0..9) {
                0..2 => process.disconnect(),
                2 => process.freeze(),
                3..6 => process.reconnect(),
                6 => process.expire_session(),
                7 => process.lose_next_reply(),
                _ => match rng.random_range(0..3) {
                    0 => process.stop_zookeeper(),
                    1 => process.start_zookeeper(),
                    _ => process.delay(Duration::from_millis(rng.random_range(1..2_000))),
                },
            }
        }
        for process in self.processes().iter() {
            process.reconnect();
            process.start_zookeeper();
            process.delay(Duration::from_millis(1));
        }
        self.0.calm.send_replace(true);
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Registry>> {
        self.0.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_FAULTS: u32 = 12;
/// Between two faults, in milliseconds: a session may expire meanwhile.
const LONGEST_PAUSE: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{Instance, ServiceName};
    use crate::resolve::Resolve;

    #[test]
    fn an_instance_is_found_again_after_every_storm() {
        storm(0..300, async |world| {
            let (server, client) = (world.process(), world.process());
            let time: ServiceName = "time".parse().unwrap();
            let _registration = server.register(&time, Instance::new("10.0.0.1", 8897));
            let mut watch = client.watch(&time);
            world.calm().await;
            let found = async {
                while watch.current().len() != 1 {
                    watch.changed().await.unwrap();
                }
            };
            tokio::time::timeout(Duration::from_secs(60), found).await.expect("the instance is there again");
        });
    }

    #[test]
    fn the_same_seed_has_the_same_weather() {
        let length = |seed| {
            let lasted = Mutex::new(Duration::ZERO);
            storm([seed], async |world| {
                world.process();
                let began = tokio::time::Instant::now();
                world.calm().await;
                *lasted.lock().unwrap() = began.elapsed();
            });
            lasted.into_inner().unwrap()
        };
        assert_eq!(length(5), length(5));
        assert_ne!(length(5), length(6));
    }

    #[test]
    fn a_seed_that_fails_fails_the_test() {
        let failed = catch_unwind(|| storm(0..3, async |world| assert_ne!(world.seed(), 1)));
        assert!(failed.is_err());
    }
}
