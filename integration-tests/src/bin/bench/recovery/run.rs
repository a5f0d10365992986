//! One contestant in one history: which calls went to the server in trouble, and how all of them ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::history::{BEGINS, Ending, SERVERS, TIMEOUT, Traffic, Trouble, Victim};

/// Chooses a server for each call, and learns how it went.
pub(super) trait Contestant {
    /// A call begins: which server?
    fn begin(&mut self, call: usize) -> usize;
    /// The call is over.
    fn end(&mut self, call: usize, ending: Ending);
    /// Another process has taken the place of this server.
    fn restarted(&mut self, server: usize);
    /// When the last ejection of this server ends or ended, by its own choice.
    fn ejected_until(&self, server: usize) -> Option<Instant>;
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// Calls before the trouble, and those of them to the server that it befell.
    pub(super) before: Share,
    /// The same after it, for each [`STEP`] since the trouble and the ejection that it led to were over.
    pub(super) after: Vec<Share>,
    /// How long each call took that began in the first [`COMPARED`]. One that fails is as bad as one that takes as long as a caller
    /// waits.
    pub(super) taken: Vec<Duration>,
    /// How many of those failed.
    pub(super) errors: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) all: u32,
    pub(super) victim: u32,
}

impl Share {
    pub(super) fn add(&mut self, other: Self) {
        (self.all, self.victim) = (self.all + other.all, self.victim + other.victim);
    }

    pub(super) fn ratio(self) -> f64 {
        f64::from(self.victim) / f64::from(self.all.max(1))
    }
}

/// The resolution of the course.
pub(super) const STEP: Duration = Duration::from_millis(500);
/// For how long the course is followed.
pub(super) const FOLLOWED: Duration = Duration::from_secs(20);
/// Errors and percentiles are those of the calls that begin before this, for every contestant.
const COMPARED: Duration = Duration::from_secs(30);
/// Nothing is followed for longer.
const LONGEST: Duration = Duration::from_secs(120);

/// A call that is over at some time.
type End = Reverse<(Duration, usize)>;

/// Runs a history under tokio's paused clock, which is everybody's clock.
pub(super) async fn run(
    trouble: Trouble,
    traffic: Traffic,
    seed: u64,
    contestant: &mut dyn Contestant,
) -> Course {
    let epoch = Instant::now();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut victim = Victim::new(trouble);
    let mut place = None; // of the server in trouble: the one that gets the first call
    let mut ends = BinaryHeap::<End>::new();
    let mut endings = Vec::new();
    let (mut now, mut next) = (Duration::ZERO, Duration::ZERO);
    let mut restarts_at = victim.restarts_at();
    let mut course = Course::default();
    let mut after = Vec::new();
    loop {
        let end = ends.peek().map(|Reverse((at, _))| *at).filter(|at| *at <= next);
        let at = end.unwrap_or(next);
        if let Some(restart) = restarts_at.filter(|restart| *restart <= at) {
            tokio::time::advance(restart - now).await;
            now = restart;
            contestant.restarted(place.unwrap_or(0));
            restarts_at = None;
        }
        tokio::time::advance(at - now).await;
        now = at;
        if end.is_some() {
            if let Some(Reverse((_, call))) = ends.pop() {
                contestant.end(call, endings[call]);
            }
            continue;
        }
        let over = victim.well_at().max(ejected(contestant, place, epoch));
        if now > (over + FOLLOWED).max(COMPARED).min(LONGEST) {
            break;
        }
        let call = endings.len();
        let server = contestant.begin(call);
        assert!(server < SERVERS, "there is no server {server}");
        let is_victim = server == *place.get_or_insert(server);
        let well = traffic.work(&mut rng);
        let (time, ending) = if is_victim { victim.serve(now, well) } else { (well, Ending::Answered) };
        ends.push(Reverse((now + time, call)));
        endings.push(ending);
        if now < COMPARED {
            let failed = ending != Ending::Answered;
            course.errors += u32::from(failed);
            course.taken.push(if failed { time.max(TIMEOUT) } else { time });
        }
        if now < BEGINS {
            course.before.add(Share { all: 1, victim: u32::from(is_victim) });
        } else {
            after.push((now, is_victim));
        }
        next = now + traffic.pause(&mut rng);
    }
    let over = victim.well_at().max(ejected(contestant, place, epoch));
    course.after = vec![Share::default(); FOLLOWED.div_duration_f64(STEP) as usize];
    for (at, is_victim) in after {
        let step = at.checked_sub(over).map(|since| since.div_duration_f64(STEP) as usize);
        if let Some(share) = step.and_then(|step| course.after.get_mut(step)) {
            share.add(Share { all: 1, victim: u32::from(is_victim) });
        }
    }
    course
}

/// When the last ejection of the server in trouble ends or ended.
fn ejected(contestant: &dyn Contestant, place: Option<usize>, epoch: Instant) -> Duration {
    let until = place.and_then(|place| contestant.ejected_until(place));
    until.map_or(Duration::ZERO, |until| until.saturating_duration_since(epoch))
}
