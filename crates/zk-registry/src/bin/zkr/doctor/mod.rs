//! `zkr doctor`: a look at everything that usually goes wrong.

mod clocks;
mod finding;
mod servers;
mod service;

use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::operate::Operator;
use zk_registry::{ConnectionState, Registry, ServiceName};

use self::finding::{Finding, Level};
use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::shown::count;

/// What to look at.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// Names of services; without any, all
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,

    /// Dials no instance: for a machine from which they cannot be reached
    #[arg(long)]
    no_dial: bool,

    #[command(flatten)]
    common: CommonArgs,
}

/// Shows what was found, the worst first, and what to do about it.
pub(crate) async fn run(
    args: DoctorArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let format = args.common.format();
    let fleet = Fleet::of(args.common)?;
    let connecting = SystemTime::now();
    let mut findings = fleet
        .with(stop, async |registry| {
            let mut findings = session_timeout(registry, fleet.options.session_timeout);
            findings.extend(servers::look(&fleet.to).await);
            findings.push(clocks::look(&fleet.to, connecting).await);
            let names = if args.services.is_empty() { registry.services().await? } else { args.services };
            let operator = Operator::new(registry);
            let looks = names.iter().map(|name| service::look(registry, &operator, name, !args.no_dial));
            let mut looks = stream::iter(looks).buffered(AT_ONCE);
            let mut paths = service::Paths::default();
            while let Some(look) = looks.next().await {
                let (found, of_sessions) = look?;
                findings.extend(found);
                paths.add(of_sessions);
            }
            findings.extend(paths.findings());
            findings.push(Finding::ok("services", format!("{} looked at", count(names.len(), "service"))));
            Ok(findings)
        })
        .await?;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    for finding in &findings {
        match format {
            Format::Json => output.json(finding),
            Format::Text => finding.text(output.paint).iter().for_each(|line| output.line(line)),
        }
    }
    Ok(match findings.first().map(|finding| finding.level) {
        Some(Level::Broken) => Exit::Usage,
        Some(Level::Doubtful) => Exit::No,
        _ => Exit::Yes,
    })
}

/// The session timeout that was asked for, beside the one that was granted.
fn session_timeout(registry: &Registry, asked: Duration) -> Vec<Finding> {
    let state = registry.connection().borrow().clone();
    let ConnectionState::Connected { session_timeout: granted, .. } = state else { return Vec::new() };
    let what = format!("{asked:?} asked for, {granted:?} granted");
    vec![if granted == asked {
        Finding::ok("session timeout", what)
    } else {
        let cure = "minSessionTimeout and maxSessionTimeout of the servers clamp it: ask for what they grant, or change them";
        Finding::doubtful("session timeout", what, cure)
    }]
}

/// How many services are looked at at once.
const AT_ONCE: usize = 8;

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Looks at: the session timeout that is granted; each server's version; whether this machine's clock is behind or ahead; and for each
service at nodes that are rejected, addresses that cannot be dialled or do not answer, one address under several ids, persistent
nodes, records of several dialects, the size of the list of children, who may write, whether anything is up, and how many path bytes
each session owns.

Examples:
  zkr doctor
  zkr doctor time --no-dial
  zkr doctor --output json | jq 'select(.level == \"broken\")'

Exit codes:
  0  nothing was found
  1  something is doubtful, or the output could not be written
  2  something is broken; or wrong usage
  3  ZooKeeper was not reached, or does not let us read";
