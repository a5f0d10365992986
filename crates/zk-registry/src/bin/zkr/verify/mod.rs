//! `zkr verify`: what is promised, measured on the user's own ensemble.

mod figures;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::num::NonZeroU16;
use std::thread;
use std::time::Duration;

use clap::Args;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;
use zk_registry::cli::program::{Format, Output};
use zk_registry::operate::Operator;
use zk_registry::{
    ConnectionState, Freshness, Instance, InstanceId, Registry, Resolve as _, ServiceName, ServiceWatch,
    Snapshot, Withdrawn, Zxid,
};

use self::figures::{Figures, Measure};
use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::table::Table;

/// Where to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// Does not ask before it writes
    #[arg(long)]
    yes: bool,

    /// How many instances come, change and go, one after the other
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    #[command(flatten)]
    common: CommonArgs,
}

/// Measures, and shows each figure beside what is promised.
pub(crate) async fn run(
    args: VerifyArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let format = args.common.format();
    let mut fleet = Fleet::of(args.common)?;
    let scratch = format!("zkr-verify-{:08x}", rand::random::<u32>());
    let base = fleet.options.base.to_string();
    if base == "/" {
        let why =
            "services lie below / here, so that no scratch path is outside of them: name a chroot, or a base";
        return Err(UsageError::new("--base", why).into());
    }
    fleet.options.base = format!("/{scratch}").parse().map_err(|error| UsageError::new("--base", error))?;
    if !args.yes && !agreed(&fleet, args.rounds, stop).await? {
        return Err(Failure::Refused("nothing was written".to_owned()));
    }
    let measured = fleet
        .with(stop, async |registry| {
            let reader = fleet.open();
            let measured = tokio::select! {
                measured = measure(registry, &reader, args.rounds) => measured,
                () = stop.cancelled() => Err(Failure::Interrupted),
            };
            // Both own nothing now but, after an interruption, one instance: closing deletes it.
            let _ = reader.close(CLOSE_WITHIN).await;
            measured
        })
        .await;
    clean(&fleet, &scratch).await?;
    let (figures, granted) = measured?;
    let rows = figures.rows(fleet.options.session_timeout, granted);
    if format == Format::Json {
        rows.iter().for_each(|row| output.json(row));
    } else {
        let mut table = Table::new(["PROMISE", "BOUND", "MEDIAN", "WORST", "KEPT"]);
        for row in &rows {
            let kept = if row.kept { "yes" } else { "NO" };
            table.row([&row.promise, &row.bound, &row.median, &row.worst, &kept]);
        }
        table.lines().for_each(|line| output.line(&line));
    }
    Ok(if rows.iter().all(|row| row.kept) { Exit::Yes } else { Exit::No })
}

/// Asks whether to write.
async fn agreed(fleet: &Fleet, rounds: u16, stop: &CancellationToken) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let why = "it writes to ZooKeeper, and nobody can be asked here: say --yes";
        return Err(UsageError::new("verify", why).into());
    }
    // Without standard error there is nothing to answer to.
    let _ = write!(
        io::stderr(),
        "At most {} nodes, one at a time, and at most 50 writes a second below {} of {}, deleted at the end. Go on? [y/N] ",
        rounds + 2,
        fleet.options.base,
        fleet.to
    );
    let (tell, told) = oneshot::channel();
    // Reading blocks; the thread ends with the process.
    thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        let _ = tell.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    tokio::select! {
        told = told => Ok(told.unwrap_or(false)),
        () = stop.cancelled() => Err(Failure::Interrupted),
    }
}

/// Lets instances come, change and go, and a reader of another session look on.
async fn measure(writer: &Registry, reader: &Registry, rounds: u16) -> Result<(Figures, Duration), Failure> {
    let service = service()?;
    let mut watch = reader.watch(&service);
    watch.live().await?;
    let mut figures = Figures::default();
    let mut due = Instant::now();
    for n in 0..rounds {
        sleep_until(due).await;
        due = Instant::now() + ROUND;
        let mut look = Look { watch: &mut watch, figures: &mut figures };
        look.round(writer, &service, n).await?;
    }
    let granted = match &*writer.connection().borrow() {
        ConnectionState::Connected { session_timeout, .. } => *session_timeout,
        _ => Duration::ZERO,
    };
    Ok((figures, granted))
}

/// The reader during one round.
struct Look<'a> {
    watch: &'a mut ServiceWatch,
    figures: &'a mut Figures,
}

impl Look<'_> {
    async fn round(&mut self, writer: &Registry, service: &ServiceName, n: u16) -> Result<(), Failure> {
        // An address that nobody dials: documentation has it (RFC 5737).
        let instance = Instance::new("192.0.2.1", 1 + n);
        let id = instance.id()?;
        let began = Instant::now();
        let mut registration = writer.register(service, instance);
        let written = registration.registered_within(PATIENCE).await?;
        self.figures.took(Measure::Registered, began.elapsed());
        self.sees(Measure::Seen, began, |snapshot| snapshot.get(&id).is_some()).await?;
        self.claims(written, &id).await?;
        let began = Instant::now();
        let weight = NonZeroU16::MIN.saturating_add(1);
        let written = timeout(PATIENCE, registration.update(|attributes| attributes.weight = weight)).await;
        written.map_err(|_| late("an update"))??;
        let is_heavy =
            |snapshot: &Snapshot| snapshot.get(&id).is_some_and(|member| member.weight() == weight);
        self.sees(Measure::Updated, began, is_heavy).await?;
        let began = Instant::now();
        if !matches!(registration.withdraw(PATIENCE).await, Withdrawn::Confirmed) {
            return Err(late("a withdrawal"));
        }
        self.figures.took(Measure::Withdrawn, began.elapsed());
        self.sees(Measure::Gone, began, |snapshot| snapshot.get(&id).is_none()).await
    }

    /// Waits until a live snapshot is so; how long that took since `began`.
    async fn sees(
        &mut self,
        what: Measure,
        began: Instant,
        is_so: impl Fn(&Snapshot) -> bool,
    ) -> Result<(), Failure> {
        let seen = timeout(PATIENCE, async {
            loop {
                let now = self.watch.current();
                self.figures.look(now);
                if now.freshness() == Freshness::Live && is_so(now) {
                    return Ok::<_, Failure>(());
                }
                self.watch.changed().await.map_err(|_| Failure::Interrupted)?;
            }
        });
        seen.await.map_err(|_| late("a change for the reader"))??;
        self.figures.took(what, began.elapsed());
        Ok(())
    }

    /// A snapshot that says that it has everything up to a write has to have that write.
    async fn claims(&mut self, written: Zxid, id: &InstanceId) -> Result<(), Failure> {
        let claimed =
            timeout(PATIENCE, self.watch.wait_for(written)).await.map_err(|_| late("a claim"))??;
        self.figures.claimed(claimed.get(id).is_some());
        Ok(())
    }
}

/// Deletes what is left of the scratch path. Its own node, which is a container, goes by itself when it is empty.
async fn clean(fleet: &Fleet, scratch: &str) -> Result<(), Failure> {
    let mut above = fleet.clone();
    // The scratch path lies outside of every base.
    above.options.base = "/".parse()?;
    let parent: ServiceName = scratch.parse()?;
    above
        .with(&CancellationToken::new(), async |registry| {
            let operator = Operator::new(registry);
            let until = Instant::now() + CLEAN_WITHIN;
            loop {
                let Some(left) = operator.inspect(&parent, service()?.as_str()).await? else { return Ok(()) };
                match operator.evict(&left).await {
                    Ok(()) => return Ok(()),
                    // An instance of the interrupted session may stand a moment longer.
                    Err(error) if Instant::now() > until => return Err(error.into()),
                    Err(_) => tokio::time::sleep(ROUND).await,
                }
            }
        })
        .await
}

fn service() -> Result<ServiceName, Failure> {
    Ok("instances".parse()?)
}

fn late(what: &str) -> Failure {
    Failure::TimedOut(format!("{what} was not done within {PATIENCE:?}: what is promised is far away"))
}

/// The time from the beginning of one round to that of the next: three writes and a first one of two parents stay below 50 a second.
const ROUND: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(15);
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
const CLEAN_WITHIN: Duration = Duration::from_secs(15);

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Registers, changes and withdraws instances of its own below a path that is made for this, /zkr-verify-..., and deletes it again, also
after Ctrl-C; a reader of a second session looks on. The promises are those of docs/SERVICE-LEVEL.md that need no fault.

Examples:
  zkr verify
  zkr verify --yes --rounds 100 --output text

Exit codes:
  0  everything that was measured is as promised
  1  something is not, or the question was not answered by y
  2  wrong usage, or nobody to ask; nothing was touched
  3  ZooKeeper was not reached, does not let us write, or a signal came first
  4  something was not done in time";
