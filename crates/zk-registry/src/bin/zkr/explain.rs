//! `zkr explain`: a node's bytes, its owner, and what each dialect makes of it.

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::format::{CuratorStrict, NAMES, named};
use zk_registry::operate::{Inspection, Operator};
use zk_registry::printable::Printable;
use zk_registry::{ConnectString, Instance, ServiceName};

use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, not_there};
use crate::four_letter;
use crate::shown::{pairs, session};

/// Which node to explain.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// The name of a service
    service: ServiceName,

    /// The name of a node, which as a rule is the id of an instance
    node: String,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Serialize)]
struct Explained<'a> {
    path: &'a str,
    verdict: String,
    owner: String,
    /// From where the owner is connected, where a server tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer: Option<String>,
    created: String,
    modified: String,
    version: i32,
    children: u32,
    bytes: usize,
    data: String,
    dialects: Vec<Dialect>,
    readers: Vec<String>,
}

#[derive(Serialize)]
struct Dialect {
    format: String,
    reads: String,
}

/// Shows everything that is known of a node.
pub(crate) async fn run(
    args: ExplainArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let format = args.common.format();
    let fleet = Fleet::of(args.common)?;
    fleet
        .with(stop, async |registry| {
            let operator = Operator::new(registry);
            let Some(seen) = operator.inspect(&args.service, &args.node).await? else {
                return Err(not_there(&operator, &args.service, &args.node).await);
            };
            let client = client(&fleet.to, seen.session()).await;
            let explained = explain(&seen, client);
            match format {
                Format::Json => output.json(&explained),
                Format::Text => explained.lines().iter().for_each(|line| output.line(line)),
            }
            Ok(if seen.instance().is_ok() { Exit::Yes } else { Exit::No })
        })
        .await
}

fn explain(seen: &Inspection, client: Option<String>) -> Explained<'_> {
    let verdict = match seen.instance() {
        Ok(instance) => format!("an instance: {}", words(instance)),
        Err(_) if seen.children() > 0 => "a part of the tree: there are nodes below it".to_owned(),
        Err(why) => format!("rejected: {why}"),
    };
    let owner = match seen.session() {
        0 => "no session: it stays until somebody deletes it".to_owned(),
        id => format!("session {}: it goes when that ends", session(id)),
    };
    let writer = seen.writer().map(|(host, incarnation)| {
        format!("process {incarnation:032x} of this library on host {}", host.unwrap_or("unknown"))
    });
    let dialects = NAMES.iter().map(|name| Dialect {
        format: (*name).to_owned(),
        reads: match named(name).map_err(|error| error.to_string()).and_then(|format| seen.read_as(&*format))
        {
            Ok(instance) => words(&instance),
            Err(why) => format!("nothing: {why}"),
        },
    });
    Explained {
        path: seen.path(),
        verdict,
        owner,
        client,
        writer,
        created: seen.created().to_string(),
        modified: seen.modified().to_string(),
        version: seen.version(),
        children: seen.children(),
        bytes: seen.data().len(),
        data: String::from_utf8_lossy(seen.data()).into_owned(),
        dialects: dialects.collect(),
        readers: readers(seen),
    }
}

/// From where a session is connected, if a server tells.
async fn client(to: &ConnectString, session: i64) -> Option<String> {
    if session == 0 {
        return None;
    }
    for server in four_letter::servers(to) {
        let cons = four_letter::ask(&server, "cons").await.unwrap_or_default();
        if let Some(client) = four_letter::client_of(&cons, session) {
            return Some(format!("{client}, connected to {server}"));
        }
    }
    None
}

/// What readers of other projects make of a node, as far as its bytes tell.
fn readers(seen: &Inspection) -> Vec<String> {
    let strict = seen.read_as(&CuratorStrict);
    let data = String::from_utf8_lossy(seen.data());
    let mut lines = Vec::new();
    lines.push(match &strict {
        Ok(_) => "Curator 4 and later: an instance".to_owned(),
        Err(why) => format!("Curator 4 and later: a query for the service fails as a whole ({why})"),
    });
    if strict.is_ok() && data.contains("\"zk-registry\"") {
        lines.push(
            "Curator before 4: a query for the service fails as a whole (it throws on the field zk-registry)"
                .to_owned(),
        );
    }
    let class = |name: &str| data.contains(&format!("{name}.ZookeeperInstance\""));
    lines.push(if class("org.springframework.cloud.zookeeper.discovery") {
        "Spring Cloud: an instance of its own".to_owned()
    } else if strict.is_ok() {
        "Spring Cloud: an instance without metadata, if its payload is null".to_owned()
    } else {
        "Spring Cloud: a query for the service fails as a whole".to_owned()
    });
    lines.push(if class("org.apache.dubbo.registry.zookeeper") {
        "Dubbo: an instance of an application".to_owned()
    } else {
        "Dubbo: a payload that is none of its own; an application that has such a node beside its own is lost as a whole".to_owned()
    });
    lines
}

fn words(instance: &Instance) -> String {
    let mut words = format!("{}, {}, weight {}", instance.address(), instance.status(), instance.weight());
    if let Some(zone) = instance.zone() {
        words += &format!(", zone {zone}");
    }
    if !instance.metadata().is_empty() {
        words += &format!(", {}", pairs(instance.metadata()));
    }
    words
}

impl Explained<'_> {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.path.to_owned()];
        let mut add = |what: &str, text: &str| lines.push(format!("  {what:9} {}", Printable(text)));
        add("verdict", &self.verdict);
        add("owner", &self.owner);
        if let Some(client) = &self.client {
            add("client", client);
        }
        if let Some(writer) = &self.writer {
            add("writer", writer);
        }
        add("created", &self.created);
        add("modified", &format!("{}, version {}", self.modified, self.version));
        add("children", &self.children.to_string());
        add("data", &format!("{} bytes: {}", self.bytes, self.data));
        for dialect in &self.dialects {
            add("reads", &format!("{}: {}", dialect.format, dialect.reads));
        }
        for reader in &self.readers {
            add("reader", reader);
        }
        lines
    }
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Examples:
  zkr explain time 10.0.0.1:8897
  zkr explain time broken --output json | jq -r .verdict

Exit codes:
  0  it is an instance
  1  it is none, or there is no such node
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
