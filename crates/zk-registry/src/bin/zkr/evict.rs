//! `zkr evict`: a node whose instance is dead, on evidence only.

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::operate::{Inspection, Operator};
use zk_registry::{Registry, ServiceName};

use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, not_there};
use crate::reach;
use crate::shown::session;

/// Whose node to delete.
#[derive(Args, Clone, Debug)]
pub(crate) struct EvictArgs {
    /// The name of a service
    service: ServiceName,

    /// The name of a node, which as a rule is the id of an instance
    node: String,

    /// Deletes it without the evidence that is missing, and says what that is
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    node: &'a str,
    evicted: bool,
    evidence: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overridden: Vec<String>,
}

/// Looks for evidence that the instance is dead, and deletes its node if there is.
pub(crate) async fn run(args: EvictArgs, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
    let format = args.common.format();
    Fleet::of(args.common)?
        .with(stop, async |registry| {
            let operator = Operator::new(registry);
            let Some(seen) = operator.inspect(&args.service, &args.node).await? else {
                return Err(not_there(&operator, &args.service, &args.node).await);
            };
            if seen.children() > 0 {
                let why = "there are nodes below it: it is a part of the tree, not an instance";
                return Err(Failure::Refused(format!("{}: {why}", seen.path())));
            }
            let found = evidence(registry, &args.service, &seen).await?;
            if !found.missing.is_empty() && !args.force {
                let missing = found.missing.join("; ");
                return Err(Failure::Refused(format!(
                    "{}: {missing}. --force deletes it all the same",
                    seen.path()
                )));
            }
            operator.evict(&seen).await?;
            let (evidence, overridden) = (found.evidence, found.missing);
            if format == Format::Json {
                let (service, node) = (args.service.as_str(), args.node.as_str());
                output.json(&Line { service, node, evicted: true, evidence, overridden });
            } else {
                output.line(&format!("{}: evicted", seen.path()));
                evidence.iter().for_each(|one| output.line(&format!("  {one}")));
                overridden.iter().for_each(|one| output.line(&format!("  overridden: {one}")));
            }
            Ok(Exit::Yes)
        })
        .await
}

/// What speaks for it, and what is missing.
#[derive(Debug, Default)]
struct Evidence {
    evidence: Vec<String>,
    missing: Vec<String>,
}

async fn evidence(
    registry: &Registry,
    service: &ServiceName,
    seen: &Inspection,
) -> Result<Evidence, Failure> {
    let mut found = Evidence::default();
    if seen.session() == 0 {
        found.evidence.push("no session owns it: ZooKeeper would never delete it".to_owned());
    } else {
        let owner = session(seen.session());
        found
            .missing
            .push(format!("session {owner} owns it and may be alive; ZooKeeper deletes it when that ends"));
    }
    let address = match seen.instance() {
        Ok(instance) if instance.is_dialable() => instance.address(),
        Ok(_) => {
            found.missing.push("it states no address that could be dialled".to_owned());
            return Ok(found);
        }
        Err(why) => {
            found.missing.push(format!("it is no instance of this format ({why}): nothing can be dialled"));
            return Ok(found);
        }
    };
    match reach::dial(&address).await {
        Ok(()) => found.missing.push(format!("{address} answers")),
        Err(error) => {
            found.evidence.push(format!("{address} does not answer: {error}"));
            let snapshot = registry.lookup(service).await?;
            match reach::witness(&snapshot, &address).await {
                Some(other) => found.evidence.push(format!("{other} of the same service answers from here")),
                None => found
                    .missing
                    .push(format!("{address} cannot be reached from here, and no other instance can")),
            }
        }
    }
    Ok(found)
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Evidence is: no session owns the node, its address does not answer three dials, and another instance of the service answers from
this machine. Whatever is missing is named, and --force goes without it. A node that changed meanwhile is never deleted.

Examples:
  zkr evict time 10.0.0.1:8897
  zkr evict time 10.0.0.1:8897 --force

Exit codes:
  0  it is deleted
  1  refused: no such node, evidence is missing, or it changed meanwhile
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
