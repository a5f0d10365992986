//! `time-client query`: asks again and again, and adds up how it went.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use time_server::protocol::Request;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{Balancer, Key, Retry};
use zk_registry::cli::{FormatName, UsageError};
use zk_registry::{Registry, ServiceWatch};

use crate::args::{QueryArgs, RequestName, usage};
use crate::client::{Answer, Options, TimeClient};
use crate::exit::Exit;
use crate::fault::AskError;
use crate::load::{Load, Pace, Turn, Work};
use crate::offset;
use crate::output::{Flush, Format, Output};
use crate::start::{Nothing, Place};
use crate::summary::{Summary, micros, millis};
use crate::words;

/// What the flags of `query` mean.
#[derive(Debug)]
pub(crate) struct Query {
    load: Load,
    /// Samples of each instance, when offsets are asked for.
    offset: Option<NonZeroUsize>,
    strategy: Named,
    key: Option<Key>,
    options: Options,
    request: RequestName,
    format: Format,
    quiet: bool,
}

impl Query {
    /// Checks what belongs together; touches nothing.
    pub(crate) fn of(args: &QueryArgs) -> Result<Self, UsageError> {
        let name = match &args.zone {
            Some(zone) => format!("zone:{zone}/{}", args.strategy),
            None => args.strategy.clone(),
        };
        let strategy = name.parse().map_err(|error| usage("--strategy", error))?;
        let one = NonZeroUsize::MIN;
        let (pace, concurrency) = match (args.rate, args.interval, args.concurrency) {
            (Some(rate), _, at_once) => (Pace::Rate(rate), at_once.unwrap_or(OPEN_LOOP)),
            (None, Some(interval), at_once) => (Pace::Every(interval), at_once.unwrap_or(one)),
            (None, None, Some(at_once)) => (Pace::Every(Duration::ZERO), at_once),
            (None, None, None) => (Pace::Every(Duration::from_secs(1)), one),
        };
        let count = match (args.count, args.duration) {
            (Some(count), _) => Some(count.get()),
            (None, Some(_)) => None,
            (None, None) => Load::default().count,
        };
        let samples =
            args.count.map_or(offset::SAMPLES, |count| usize::try_from(count.get()).unwrap_or(usize::MAX));
        let mut retry = Retry::default();
        retry.attempts = args.attempts.get();
        let options = Options {
            timeout: args.timeout,
            retry,
            connect_timeout: args.connect_timeout,
            read_timeout: args.read_timeout,
            kept_per_instance: concurrency.get(),
            ..Options::default()
        };
        let request = args.request.unwrap_or(match args.look.registry.format {
            FormatName::Plain => RequestName::Timestamp,
            FormatName::Curator | FormatName::CuratorStrict => RequestName::Now,
        });
        Ok(Self {
            load: Load { concurrency, pace, count, duration: args.duration },
            offset: args.offset.then(|| NonZeroUsize::new(samples).unwrap_or(one)),
            strategy,
            key: args.key.as_deref().map(Key::from),
            options,
            request,
            format: args.look.output,
            quiet: args.quiet,
        })
    }

    /// When lines must reach the reader: at once, unless there are very many.
    pub(crate) fn flush(&self) -> Flush {
        match self.load.pace {
            Pace::Every(interval) if interval >= UNHURRIED => Flush::EachLine,
            Pace::Rate(rate) if rate <= 1.0 / UNHURRIED.as_secs_f64() => Flush::EachLine,
            _ => Flush::Lazily,
        }
    }

    /// Waits until the instances are known, then asks.
    pub(crate) async fn run(
        self,
        place: Place,
        output: Arc<Output>,
        stop: CancellationToken,
    ) -> Result<Exit, Nothing> {
        let ask = async |registry: &Registry, watch: &mut ServiceWatch| {
            let first = watch.current();
            if first.is_empty() && first.suspects().len() == 0 {
                return Err(place.no_instance());
            }
            let balancer = Balancer::new(self.strategy.clone());
            let client = TimeClient::new(registry, &place.service, balancer, self.options.clone());
            Ok(match self.offset {
                Some(samples) => offset::run(&client, samples, self.format, self.quiet, &output, &stop).await,
                None => self.ask(client, &output, stop.clone()).await,
            })
        };
        place.visit(&stop, ask).await
    }

    async fn ask(&self, client: TimeClient, output: &Arc<Output>, stop: CancellationToken) -> Exit {
        let began = Instant::now();
        let progress = Arc::new(Progress::default());
        let shared = Arc::new(Shared {
            client,
            request: self.request,
            key: self.key,
            lines: (!self.quiet).then_some(self.format),
            output: output.clone(),
            progress: progress.clone(),
        });
        let worker = || Querier { shared: shared.clone(), summary: Summary::default() };
        let workers = tokio::select! {
            workers = self.load.run(stop, worker) => workers,
            never = progress.show(began, self.quiet) => match never {},
        };
        progress.clear(self.quiet);
        let mut summary = Summary::default();
        for worker in &workers {
            summary.merge(&worker.summary);
        }
        match self.format {
            Format::Json => output.json(&summary.json()),
            Format::Text => output.line(&summary.text(began.elapsed(), output.paint)),
        }
        if summary.failed() == 0 { Exit::Answered } else { Exit::SomeFailed }
    }
}

/// What all workers use.
struct Shared {
    client: TimeClient,
    request: RequestName,
    key: Option<Key>,
    /// How a line per query is written, if it is.
    lines: Option<Format>,
    output: Arc<Output>,
    progress: Arc<Progress>,
}

/// One worker: asks in its turn, and remembers how it went.
struct Querier {
    shared: Arc<Shared>,
    summary: Summary,
}

impl Work for Querier {
    async fn turn(&mut self, turn: Turn) {
        let shared = &*self.shared;
        let request = match shared.request {
            RequestName::Now => Request::Now,
            RequestName::Sync => Request::Sync { t1: words::now() },
            RequestName::Timestamp => Request::Timestamp,
        };
        let outcome = shared.client.ask(request, shared.key).await;
        self.summary.record(&outcome, turn.due.elapsed());
        shared.progress.count(outcome.is_ok());
        match shared.lines {
            Some(Format::Json) => shared.output.json(&Line::of(turn.n, &outcome)),
            Some(Format::Text) => shared.output.line(&text(turn.n, &outcome, &shared.output)),
            None => {}
        }
    }
}

/// The line that `--output json` writes for a query.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Answered {
        n: u64,
        ok: bool,
        instance: &'a str,
        time: String,
        rtt_us: u64,
        attempts: usize,
    },
    Failed {
        n: u64,
        ok: bool,
        error: &'static str,
        message: String,
        attempts: usize,
        failed: Vec<FailedJson<'a>>,
    },
}

#[derive(Serialize)]
struct FailedJson<'a> {
    instance: &'a str,
    reason: String,
}

impl<'a> Line<'a> {
    fn of(n: u64, outcome: &'a Result<Answer, AskError>) -> Self {
        match outcome {
            Ok(answer) => Self::Answered {
                n,
                ok: true,
                instance: answer.instance.id().as_str(),
                time: format!("{:.9}", answer.said.time()),
                rtt_us: micros(answer.rtt),
                attempts: answer.attempts(),
            },
            Err(error) => {
                let failed = error.failed().iter().map(|attempt| FailedJson {
                    instance: attempt.instance.as_str(),
                    reason: attempt.fault.to_string(),
                });
                Self::Failed {
                    n,
                    ok: false,
                    error: error.kind(),
                    message: error.to_string(),
                    attempts: error.failed().len(),
                    failed: failed.collect(),
                }
            }
        }
    }
}

fn text(n: u64, outcome: &Result<Answer, AskError>, output: &Output) -> String {
    match outcome {
        Ok(answer) => {
            let (id, time, rtt) = (answer.instance.id(), answer.said.time(), millis(answer.rtt));
            let mut line = format!("{n:>5}  {id}  {time:.9}  {}", output.paint.good(&rtt));
            for attempt in &answer.failed {
                line += &output.paint.faint(&format!("  (after {attempt})"));
            }
            line
        }
        Err(error) => format!("{n:>5}  {}", output.paint.bad(&error.to_string())),
    }
}

/// The counts of a run that goes on, for the line that a person sees meanwhile.
#[derive(Debug, Default)]
struct Progress {
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    fn count(&self, ok: bool) {
        let counter = if ok { &self.ok } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows the line on a terminal, again and again; elsewhere nothing, ever.
    async fn show(&self, began: Instant, quiet: bool) -> Infallible {
        if !Self::is_wanted(quiet) {
            return std::future::pending().await;
        }
        let mut tick = interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            let (ok, failed) = (self.ok.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
            overwrite(&Summary::progress(ok, failed, began.elapsed()));
        }
    }

    /// Makes room for what comes next.
    fn clear(&self, quiet: bool) {
        if Self::is_wanted(quiet) {
            overwrite("");
        }
    }

    /// Only where a person looks, and sees no line per query already.
    fn is_wanted(quiet: bool) -> bool {
        io::stderr().is_terminal() && (quiet || !io::stdout().is_terminal())
    }
}

/// Replaces the terminal's current line.
fn overwrite(text: &str) {
    let mut stderr = io::stderr().lock();
    // Progress that cannot be shown is no reason to stop.
    let _ = write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush());
}

/// How many queries an open loop may have under way if nothing else is said.
const OPEN_LOOP: NonZeroUsize = NonZeroUsize::new(64).expect("it is not 0");

/// Lines that come no faster than this are flushed each.
const UNHURRIED: Duration = Duration::from_millis(20);

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::Arc;

    use zk_registry::balance::{GiveUp, PickError};
    use zk_registry::{Instance, InstanceId, Member, Snapshot};

    use super::*;
    use crate::args::{Cli, Command};
    use crate::client::Said;
    use crate::documented;
    use crate::fault::{FailedAttempt, Fault};

    fn member() -> Arc<Member> {
        let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [Instance::new("127.0.0.1", 8897)]);
        snapshot.instances().next().unwrap().clone()
    }

    fn refused() -> FailedAttempt {
        let instance: InstanceId = "127.0.0.1:8898".parse().unwrap();
        FailedAttempt { instance, fault: Fault::Dial(io::Error::from_raw_os_error(111)) }
    }

    pub(crate) fn lines() -> Vec<String> {
        let said = Said::Time("2026-11-22T20:52:06.123456789Z".parse().unwrap());
        let rtt = Duration::from_micros(212);
        let answer = Answer { instance: member(), said, rtt, failed: vec![], met_dead_connection: false };
        let exhausted = AskError::Exhausted { failed: vec![refused()], why: GiveUp::Attempts };
        let service = "time".parse().unwrap();
        let nothing = AskError::Nothing { service, why: PickError::Empty, failed: vec![] };
        vec![
            documented::line(&Line::of(1, &Ok(answer))),
            documented::line(&Line::of(2, &Err(exhausted))),
            documented::line(&Line::of(3, &Err(nothing))),
        ]
    }

    fn query(words: &str) -> Result<Query, UsageError> {
        match Cli::command(["time-client"].into_iter().chain(words.split_whitespace())) {
            Ok(Command::Query(args)) => Query::of(&args),
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn an_interval_is_for_one_at_a_time_and_a_rate_for_many() {
        let load = |words| query(words).unwrap().load;
        let second = Pace::Every(Duration::from_secs(1));
        assert_eq!((load("").pace, load("").concurrency.get(), load("").count), (second, 1, Some(100)));
        assert_eq!(load("--concurrency 8").pace, Pace::Every(Duration::ZERO));
        assert_eq!(load("--concurrency 8 --interval 1s").pace, second);
        assert_eq!((load("--rate 5").pace, load("--rate 5").concurrency.get()), (Pace::Rate(5.0), 64));
        assert_eq!(load("--duration 1s").count, None);
        assert_eq!(load("--duration 1s --count 5").count, Some(5));
    }

    #[test]
    fn every_strategy_has_a_name_and_a_zone_is_put_before_it() {
        for name in Named::NAMES {
            assert_eq!(query(&format!("--strategy {name}")).unwrap().strategy.name(), name);
        }
        assert_eq!(query("--zone a --strategy random").unwrap().strategy.name(), "zone:a/random");
        let error = query("--strategy fastest").unwrap_err().to_string();
        assert!(error.starts_with("--strategy") && error.contains("peak-ewma"), "{error}");
    }

    #[test]
    fn servers_of_2016_are_asked_for_a_timestamp() {
        assert_eq!(query("").unwrap().request, RequestName::Now);
        assert_eq!(query("--format plain").unwrap().request, RequestName::Timestamp);
        assert_eq!(query("--format plain --request now").unwrap().request, RequestName::Now);
    }
}
