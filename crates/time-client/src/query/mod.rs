//! `time-client query`: asks again and again, and adds up how it went.

mod args;
mod latency;
pub(crate) mod offset;
mod progress;
pub(crate) mod summary;
mod words;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use time_server::protocol::Request;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{Balancer, Key, Retry};
use zk_registry::cli::UsageError;
use zk_registry::printable::Printable;
use zk_registry::{DialPolicy, Registry, ServiceWatch};

use crate::client::{Answer, Options, TimeClient};
use crate::exit::Exit;
use crate::fault::AskError;
use crate::job::Job;
use crate::load::{Load, Pace, Turn, Work};
use crate::query::args::RequestName;
use crate::query::latency::Plot;
use crate::query::progress::Progress;
use crate::query::summary::{Summary, micros};
use crate::query::words::millis;
use crate::target::{Target, Unavailable};
use crate::wall_clock;
use zk_registry::cli::program::{self, Flush, Format, Output};

pub(crate) use self::args::QueryArgs;

/// What is to be done when `query`, or no subcommand, was typed.
///
/// # Errors
///
/// The flag that cannot be used so.
pub(crate) fn prepare(args: QueryArgs) -> Result<Job, UsageError> {
    let mut query = Query::of(&args)?;
    let target = Target::of(args.common)?;
    if let Some(path) = &args.plot {
        let plot = Plot::open(path);
        query.plot =
            Some(plot.map_err(|error| UsageError::new("--plot", format!("{}: {error}", path.display())))?);
    }
    Ok(Job::new(query.flush(), move |output, stop| query.run(target, output, stop)))
}

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
    plot: Option<Plot>,
}

impl Query {
    /// Checks what belongs together; touches nothing.
    pub(crate) fn of(args: &QueryArgs) -> Result<Self, UsageError> {
        let name = match &args.zone {
            Some(zone) => format!("zone:{zone}/{}", args.strategy),
            None => args.strategy.clone(),
        };
        let strategy = name.parse().map_err(|error| UsageError::new("--strategy", error))?;
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
            dial_timeout: args.connect_timeout,
            dial_policy: args
                .refuse
                .iter()
                .fold(DialPolicy::default(), |policy, refused| policy.without(refused.kind())),
            read_timeout: args.read_timeout,
            kept_per_instance: concurrency.get(),
            ..Options::default()
        };
        // The program of 2016 understands nothing else.
        let is_old = args.common.registry.cluster.format.iter().any(|one| one.format().name() == "plain");
        let request = args.request.unwrap_or(if is_old { RequestName::Timestamp } else { RequestName::Now });
        Ok(Self {
            load: Load { concurrency, pace, count, duration: args.duration },
            offset: args.offset.then(|| NonZeroUsize::new(samples).unwrap_or(one)),
            strategy,
            key: args.key.as_deref().map(Key::from),
            options,
            request,
            format: args.common.output,
            quiet: args.quiet,
            plot: None,
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
        target: Target,
        output: Arc<Output>,
        stop: CancellationToken,
    ) -> Result<Exit, Unavailable> {
        let ask = async |registry: &Registry, watch: &mut ServiceWatch| {
            let first = watch.current();
            if first.is_empty() && first.suspects().len() == 0 {
                return Err(target.no_instance(registry).await);
            }
            let balancer = Balancer::new(self.strategy.clone());
            let client = TimeClient::new(registry, &target.service, balancer, self.options.clone());
            Ok(match self.offset {
                Some(samples) => offset::run(&client, samples, self.format, self.quiet, &output, &stop).await,
                None => self.ask(client, &output, stop.clone()).await,
            })
        };
        target.with_watch(&stop, ask).await
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
        if let Some(Err(error)) = self.plot.as_ref().map(|plot| plot.write(summary.latency())) {
            program::complain(env!("CARGO_PKG_NAME"), &error);
            return Exit::SomeFailed;
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
            RequestName::Sync => Request::Sync { t1: wall_clock::now() },
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
                time: format!("{:.9}", answer.reading.time()),
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
            let (id, time, rtt) =
                (Printable(answer.instance.id()), answer.reading.time(), millis(answer.rtt));
            let mut line = format!("{n:>5}  {id}  {time:.9}  {}", output.paint.good(&rtt));
            for attempt in &answer.failed {
                line += &output.paint.faint(&format!("  (after {})", Printable(attempt)));
            }
            line
        }
        Err(error) => format!("{n:>5}  {}", output.paint.bad(&Printable(error).to_string())),
    }
}

/// How many queries an open loop may have under way if nothing else is said.
const OPEN_LOOP: NonZeroUsize = NonZeroUsize::new(64).expect("it is not 0");

/// Lines that come no faster than this are flushed each.
const UNHURRIED: Duration = Duration::from_millis(20);

/// What `--help` says below the flags.
pub(crate) const HELP: &str = "\
Examples:
  time-client                                        100 queries, one a second, a random instance each time
  time-client --count 1 --output json                one query, for a script
  time-client --interval 0 --concurrency 64 --quiet --duration 10s
                                                     as fast as 64 at once can
  time-client --rate 500 --duration 1m --quiet       500 a second, with latencies that include waiting
  time-client --rate 500 --duration 1m --plot latency.svg
                                                     the same, and a picture of the latencies
  time-client --strategy round-robin                 each instance in turn
  time-client --offset                               whose clock is how far off
  time-client --base / --service go_servers --format plain
                                                     servers of 2016
  time-client list                                   who is there
  time-client watch                                  who comes and goes

Exit codes:
  0  every query was answered
  1  some were not; or standard output could not be written, or a second signal came
  2  wrong usage; nothing was touched
  3  no instance, or none known: ZooKeeper was not reached within --wait, or a signal came first";

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::Arc;

    use zk_registry::balance::{GiveUp, PickError};
    use zk_registry::{Instance, InstanceId, Member, Snapshot};

    use super::*;
    use crate::client::Reading;
    use crate::command::{Cli, Command};
    use crate::documented;
    use crate::fault::{FailedAttempt, Fault};

    fn member() -> Arc<Member> {
        let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [Instance::new("127.0.0.1", 8897)]);
        snapshot.instances().next().unwrap().clone()
    }

    fn refused() -> FailedAttempt {
        let instance: InstanceId = "127.0.0.1:8898".parse().unwrap();
        FailedAttempt {
            address: instance.to_string(),
            instance,
            fault: Fault::Dial(io::Error::from_raw_os_error(111)),
        }
    }

    pub(crate) fn lines() -> Vec<String> {
        let reading = Reading::Time("2026-11-22T20:52:06.123456789Z".parse().unwrap());
        let rtt = Duration::from_micros(212);
        let answer = Answer { instance: member(), reading, rtt, failed: vec![], met_dead_connection: false };
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
