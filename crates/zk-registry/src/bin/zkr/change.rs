//! `zkr drain`, `zkr undrain`, `zkr weight`: one guarded write, then seen by a reader of another session.

use std::num::NonZeroU16;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use zk_registry::cli::duration;
use zk_registry::cli::program::{Format, Output};
use zk_registry::operate::{Inspection, Operator};
use zk_registry::printable::Printable;
use zk_registry::{InstanceId, Resolve, ServiceName, Status};

use crate::amend::{Amended, Wish, amend, weight};
use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, id};

/// Whom to drain or bring back.
#[derive(Args, Clone, Debug)]
pub(crate) struct MarkArgs {
    /// The name of a service
    service: ServiceName,

    /// Ids of instances
    #[arg(required = true, value_name = "ID", value_parser = id)]
    ids: Vec<InstanceId>,

    /// Why, for those who look at the instance meanwhile: written into its metadata
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    seen: SeenArgs,

    #[command(flatten)]
    common: CommonArgs,
}

/// Whom to give which weight.
#[derive(Args, Clone, Debug)]
pub(crate) struct WeightArgs {
    /// The name of a service
    service: ServiceName,

    /// The id of an instance
    #[arg(value_parser = id)]
    id: InstanceId,

    /// From 1 to 65535; an instance has 1 by default
    #[arg(value_parser = weight)]
    weight: NonZeroU16,

    #[command(flatten)]
    seen: SeenArgs,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args, Clone, Debug)]
struct SeenArgs {
    /// How long to wait until a second reader has seen the change and it has stood for a second; 0: not at all
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    wait: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    id: &'a str,
    done: &'static str,
    changed: Vec<String>,
}

pub(crate) async fn drain(
    args: MarkArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    mark(args, Status::Draining, output, stop).await
}

pub(crate) async fn undrain(
    args: MarkArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    mark(args, Status::Up, output, stop).await
}

pub(crate) async fn weigh(
    args: WeightArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let change = Change { service: args.service, wait: args.seen.wait, format: args.common.format() };
    change.make(args.common, &[args.id], &Wish::Weight(args.weight), output, stop).await
}

async fn mark(
    args: MarkArgs,
    status: Status,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let change = Change { service: args.service, wait: args.seen.wait, format: args.common.format() };
    let wish = Wish::Status(status, args.reason);
    change.make(args.common, &args.ids, &wish, output, stop).await
}

struct Change {
    service: ServiceName,
    wait: Duration,
    format: Format,
}

impl Change {
    async fn make(
        &self,
        common: CommonArgs,
        ids: &[InstanceId],
        wish: &Wish,
        output: &Output,
        stop: &CancellationToken,
    ) -> Result<Exit, Failure> {
        if let Some(format) = common.cluster.format.first() {
            wish.check(format)?;
        }
        let fleet = Fleet::of(common)?;
        fleet
            .with(stop, async |registry| {
                let operator = Operator::new(registry);
                for id in ids {
                    self.change(&fleet, &operator, id, wish, output).await?;
                }
                Ok(Exit::Yes)
            })
            .await
    }

    async fn change(
        &self,
        fleet: &Fleet,
        operator: &Operator,
        id: &InstanceId,
        wish: &Wish,
        output: &Output,
    ) -> Result<(), Failure> {
        let (written, changed) = match amend(operator, &self.service, id, wish, None).await? {
            Amended::Already => {
                self.say(output, id, "it is so already", Vec::new());
                return Ok(());
            }
            Amended::Written(written, changed) => (written, changed),
        };
        if self.wait.is_zero() {
            self.say(output, id, "written", changed);
            return Ok(());
        }
        self.see(fleet, id, &written, wish).await?;
        self.say(output, id, "seen by a second reader", changed);
        Ok(())
    }

    /// Waits until a reader of another session has seen the change, and it has stood for a while.
    async fn see(
        &self,
        fleet: &Fleet,
        id: &InstanceId,
        written: &Inspection,
        wish: &Wish,
    ) -> Result<(), Failure> {
        let reader = fleet.open();
        let until = Instant::now() + self.wait;
        let mut watch = reader.watch(&self.service);
        let seen = async {
            watch.wait_for(written.watermark()).await?;
            let stands = Instant::now() + STANDS;
            loop {
                let member = watch.current().get(id).cloned();
                match member {
                    None => return Err(Failure::Refused(format!("{id}: it went meanwhile"))),
                    Some(member) if !wish.is_met_by(&member) => {
                        let why = "it was written back at once: its owner, or another writer, does not accept the change; \
                            ask the owner to drain itself";
                        return Err(Failure::Refused(format!("{id}: {why}")));
                    }
                    Some(_) => {}
                }
                match timeout_at(stands, watch.changed()).await {
                    Err(_) => return Ok(()),
                    Ok(Err(_)) => return Err(Failure::Interrupted),
                    Ok(Ok(_)) => {}
                }
            }
        };
        let seen = timeout_at(until.max(Instant::now() + STANDS), seen).await;
        // A reader owns nothing.
        let _ = reader.close(Duration::from_millis(500)).await;
        seen.unwrap_or_else(|_| {
            let within = humantime::format_duration(self.wait);
            Err(Failure::TimedOut(format!("{id}: written, but no second reader has seen it within {within}")))
        })
    }

    fn say(&self, output: &Output, id: &InstanceId, done: &'static str, changed: Vec<String>) {
        match self.format {
            Format::Json => {
                output.json(&Line { service: self.service.as_str(), id: id.as_str(), done, changed });
            }
            Format::Text => {
                let changed =
                    if changed.is_empty() { String::new() } else { format!("  {}", changed.join(", ")) };
                output.line(&format!("{id}: {done}{}", Printable(changed)));
            }
        }
    }
}

/// How long a change has to stand to be believed: an owner that does not accept it writes it back as soon as it hears of it.
const STANDS: Duration = Duration::from_secs(1);

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
One write per instance, refused if the node was written meanwhile; then a reader of another session has to see it, and it has to
stand for a second. Instances of this library keep it, also over an expired session; those of others undo it when they register again.

Examples:
  zkr drain time 10.0.0.1:8897 --reason 'kernel update'
  zkr undrain time 10.0.0.1:8897
  zkr weight time 10.0.0.1:8897 3

Exit codes:
  0  it is done, or it was so already
  1  refused: no such instance, a record that cannot say it, written by somebody else meanwhile, written back at once
  2  wrong usage, also a format in which only an instance itself can do it; nothing was touched
  3  ZooKeeper was not reached, or does not let us read; or a signal came first, when it may be written
  4  written, but not seen in time";
