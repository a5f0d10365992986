//! The differential run: seeded scripts drive Apache ZooKeeper and the server for tests in lockstep, over the bytes of the wire,
//! and every reply and every event is compared. A difference is shrunk to a small script.
//!
//! A difference is a mistake of ours, or a line of `explained`.

mod explained;
mod generator;
mod packet;
mod reading;
mod script;
mod side;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::spawn_blocking;
use zk_registry::testing::{Server, ServerOptions};

use self::generator::SLOTS;
use self::script::{Ask, Step};
use self::side::Side;
use crate::servers::{Launch, Servers};

/// The two servers, with the same history.
#[derive(Debug)]
pub struct Pair {
    real: Servers,
    ours: Server,
}

/// What a few clients do, step by step.
#[derive(Clone, Debug)]
pub struct Script(Vec<Step>);

/// A script after whose last step the servers differed, and what each told.
#[derive(Clone, Debug)]
pub struct Difference {
    script: Script,
    real: Vec<String>,
    ours: Vec<String>,
}

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The scripts that are through.
    pub seeds: u64,
    /// The steps of all scripts.
    pub steps: u64,
    /// How often each operation was asked for, by its number.
    operations: BTreeMap<i32, u64>,
    /// The differences that are explained, by the explanation.
    explained: BTreeMap<&'static str, u64>,
    /// The seeds whose differences were not there when their script ran again on new servers.
    pub unrepeated: Vec<u64>,
}

impl Script {
    /// The script of a seed.
    pub fn of(seed: u64) -> Self {
        Self(generator::steps(seed))
    }

    /// Reads a script, a line of JSON per step.
    ///
    /// # Errors
    ///
    /// When a line is no step.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().map(Self)
    }
}

impl Difference {
    /// The step after which it was seen, and what each server told.
    pub fn last_step(&self) -> String {
        let last = self.script.0.len().saturating_sub(1);
        Self { script: Script(self.script.0[last..].to_vec()), ..self.clone() }.to_string()
    }

    /// After how many steps it was seen.
    pub fn after(&self) -> usize {
        self.script.0.len()
    }
}

impl Pair {
    /// Two new, empty servers.
    ///
    /// # Panics
    ///
    /// When one of them does not start.
    pub async fn start() -> Self {
        let real = Launch::single()
            .tick(TICK)
            .config("maxSessionTimeout", "20000")
            // What goes by itself would go at another time on either side.
            .jvm("-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dznode.container.checkIntervalMs=86400000")
            .start()
            .await;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut options = ServerOptions::default();
        (options.tick, options.container_interval) = (TICK, Duration::from_secs(86_400));
        let ours = Server::with(any, options).await.expect("a port is free");
        Self { real, ours }
    }

    /// Runs a script; the first difference that is not explained.
    ///
    /// # Panics
    ///
    /// When the run itself panics.
    pub async fn run(&self, script: &Script, tally: &mut Tally) -> Option<Difference> {
        let (real, ours, script) = (self.real.address(1), self.ours.address(), script.clone());
        let mut counted = std::mem::take(tally);
        let (found, counted) = spawn_blocking(move || {
            let found = compare(real, ours, &script.0, &mut counted);
            (found, counted)
        })
        .await
        .expect("the comparison does not panic");
        *tally = counted;
        if found.as_ref().is_some_and(|found| found.real.iter().any(|line| line.starts_with("not connected")))
        {
            panic!("ZooKeeper is gone: {}", self.real.logs(1).await);
        }
        found
    }
}

fn compare(real: SocketAddr, ours: SocketAddr, script: &[Step], tally: &mut Tally) -> Option<Difference> {
    let (mut real, mut ours) = (Side::new(real, SLOTS), Side::new(ours, SLOTS));
    let mut difference = None;
    for (n, step) in script.iter().enumerate() {
        let (told, of_ours) = std::thread::scope(|scope| {
            // A wait is one wait.
            let told = scope_step(scope, matches!(step, Step::Wait { .. }), &mut real, step);
            let of_ours = ours.step(step);
            (told.get(), of_ours)
        });
        tally.count(step);
        let (told, of_ours) = (sorted_events(step, told), sorted_events(step, of_ours));
        if told != of_ours {
            if let Some(why) = explained::why(step, &told, &of_ours) {
                *tally.explained.entry(why).or_default() += 1;
                continue;
            }
            difference =
                Some(Difference { script: Script(script[..=n].to_vec()), real: told, ours: of_ours });
            break;
        }
    }
    real.finish();
    ours.finish();
    difference
}

/// What a side has told, or will have.
enum Told<'scope> {
    Now(Vec<String>),
    Soon(std::thread::ScopedJoinHandle<'scope, Vec<String>>),
}

impl Told<'_> {
    fn get(self) -> Vec<String> {
        match self {
            Self::Now(lines) => lines,
            Self::Soon(thread) => thread.join().expect("a side does not panic"),
        }
    }
}

fn scope_step<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    apart: bool,
    side: &'env mut Side,
    step: &'env Step,
) -> Told<'scope> {
    if apart { Told::Soon(scope.spawn(move || side.step(step))) } else { Told::Now(side.step(step)) }
}

/// The nodes of a session that ends are deleted in no order.
fn sorted_events(step: &Step, mut lines: Vec<String>) -> Vec<String> {
    let ends = match step {
        Step::Ask { asks, .. } => asks.contains(&Ask::Close),
        Step::Bytes { operation, .. } => *operation == -11,
        Step::Wait { .. } => true,
        Step::Connect(_) | Step::Drop { .. } => false,
    };
    if ends {
        lines.sort();
    }
    lines
}

/// The smallest script that still differs that is found by leaving out steps and requests.
///
/// # Panics
///
/// When no servers can be had.
pub async fn shrink(first: Difference) -> Difference {
    let mut best = first;
    let mut pair = Pair::start().await;
    let mut runs = 0;
    let mut size = best.after() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.after() {
            let mut script = best.script.0.clone();
            script.drain(at..(at + size).min(best.after()));
            runs += 1;
            if runs % FRESH == 0 {
                pair = Pair::start().await;
            }
            // A script that is run twice finds its subtree there: each run has another.
            let script = renamed(&script, runs);
            match pair.run(&script, &mut Tally::default()).await {
                Some(found) if found.after() <= script.0.len() => best = found,
                _ => at += size,
            }
        }
        size /= 2;
    }
    best
}

/// The script in a subtree of this number.
fn renamed(script: &[Step], number: u64) -> Script {
    let text = serde_json::to_string(script).expect("a script can be written");
    let end =
        |at: usize| text[at + 3..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |n| at + 3 + n);
    let mut out = String::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("\"/d").map(|n| from + n) {
        out.push_str(&text[from..at]);
        out.push_str(&format!("\"/d{number}"));
        from = end(at);
    }
    out.push_str(&text[from..]);
    Script(serde_json::from_str(&out).expect("only names have changed"))
}

impl Tally {
    fn count(&mut self, step: &Step) {
        self.steps += 1;
        match step {
            Step::Ask { asks, .. } => asks.iter().for_each(|ask| self.count_ask(ask)),
            Step::Bytes { operation, .. } => *self.operations.entry(*operation).or_default() += 1,
            Step::Connect(_) => *self.operations.entry(CONNECT).or_default() += 1,
            Step::Drop { .. } | Step::Wait { .. } => {}
        }
    }

    fn count_ask(&mut self, ask: &Ask) {
        *self.operations.entry(ask.operation()).or_default() += 1;
        if let Ask::Multi(asks) | Ask::MultiRead(asks) = ask {
            asks.iter().for_each(|ask| self.count_ask(ask));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {} steps", self.seeds, self.steps)?;
        let counted: Vec<String> =
            self.operations.iter().map(|(of, count)| format!("{of}: {count}")).collect();
        writeln!(f, "operations by number: {}", counted.join(", "))?;
        for (why, count) in &self.explained {
            writeln!(f, "explained, {count} times: {why}")?;
        }
        if !self.unrepeated.is_empty() {
            writeln!(f, "seen once and not again on new servers: seeds {:?}", self.unrepeated)?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.script.0.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        writeln!(f, "Apache ZooKeeper:")?;
        self.real.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "the server for tests:")?;
        self.ours.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The number under which connections are counted.
const CONNECT: i32 = -10_000;
/// Of both servers.
const TICK: Duration = Duration::from_secs(1);
/// New servers are started after so many scripts.
const FRESH: u64 = 300;
