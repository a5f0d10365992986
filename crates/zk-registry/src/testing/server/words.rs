//! The four-letter words: one question in the first four bytes of a connection, answered in text.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use super::core::Core;

const VERSION: &str = "3.9.3-in-memory";
const BUILT: &str = "built on 01/01/2026 00:00 GMT";

/// The answer to a word; `None`: the four bytes are no word that is known.
pub(super) fn answer(word: [u8; 4], core: &Core) -> Option<String> {
    let mut text = String::new();
    let written = match &word {
        b"conf" => conf(&mut text, core),
        b"cons" => cons(&mut text, core),
        b"dump" => dump(&mut text, core),
        b"envi" => writeln!(text, "Environment:\nzookeeper.version={VERSION}, {BUILT}"),
        b"isro" => text.write_str("rw"),
        b"mntr" => mntr(&mut text, core),
        b"ruok" => text.write_str("imok"),
        b"srvr" => srvr(&mut text, core, ""),
        b"stat" => {
            let mut clients = String::from("Clients:\n");
            cons(&mut clients, core).and_then(|()| srvr(&mut text, core, &clients))
        }
        b"wchc" => watches(&mut text, core, |path, session| (session, path)),
        b"wchp" => watches(&mut text, core, |path, session| (path, session)),
        b"wchs" => wchs(&mut text, core),
        _ => return None,
    };
    // Writing to a string does not fail.
    written.ok().map(|()| text)
}

fn srvr(text: &mut String, core: &Core, clients: &str) -> fmt::Result {
    let census = core.engine.census();
    writeln!(text, "Zookeeper version: {VERSION}, {BUILT}\n{clients}Latency min/avg/max: 0/0.0/0")?;
    writeln!(text, "Received: {}\nSent: {}", core.received, core.sent)?;
    writeln!(text, "Connections: {}\nOutstanding: 0", core.connections.len())?;
    writeln!(text, "Zxid: {:#x}\nMode: standalone\nNode count: {}", census.zxid, census.nodes)
}

fn mntr(text: &mut String, core: &Core) -> fmt::Result {
    let census = core.engine.census();
    let mut figure = |name, value: &dyn Display| writeln!(text, "zk_{name}\t{value}");
    figure("version", &format_args!("{VERSION}, {BUILT}"))?;
    figure("server_state", &"standalone")?;
    figure("avg_latency", &"0.0")?;
    figure("max_latency", &0)?;
    figure("min_latency", &0)?;
    figure("packets_received", &core.received)?;
    figure("packets_sent", &core.sent)?;
    figure("num_alive_connections", &core.connections.len())?;
    figure("outstanding_requests", &0)?;
    figure("znode_count", &census.nodes)?;
    figure("watch_count", &census.watches)?;
    figure("ephemerals_count", &census.ephemerals)?;
    figure("approximate_data_size", &census.data)?;
    figure("global_sessions", &core.engine.timeouts().count())
}

fn conf(text: &mut String, core: &Core) -> fmt::Result {
    let tick = core.tick.as_millis();
    writeln!(text, "tickTime={tick}\nmaxClientCnxns=0\nminSessionTimeout={}", tick * 2)?;
    writeln!(text, "maxSessionTimeout={}\nserverId=0", core.longest_timeout.as_millis())
}

fn cons(text: &mut String, core: &Core) -> fmt::Result {
    for attached in core.connections.values() {
        let timeout = core.engine.timeout(attached.session).unwrap_or_default().as_millis();
        writeln!(text, " /{}[1](queued=0,sid={:#x},to={timeout})", attached.peer, attached.session)?;
    }
    writeln!(text)
}

fn dump(text: &mut String, core: &Core) -> fmt::Result {
    writeln!(text, "SessionTracker dump:\nGlobal Sessions({}):", core.engine.timeouts().count())?;
    for (session, timeout) in core.engine.timeouts() {
        writeln!(text, "{session:#x}\t{}ms", timeout.as_millis())?;
    }
    let owned: Vec<_> = core.engine.ephemerals().collect();
    writeln!(text, "ephemeral nodes dump:\nSessions with Ephemerals ({}):", owned.len())?;
    for (session, paths) in owned {
        writeln!(text, "{session:#x}:")?;
        paths.iter().try_for_each(|path| writeln!(text, "\t{path}"))?;
    }
    writeln!(text, "Connections dump:\nConnections Sets (1)/({}):", core.connections.len())
}

/// The watches of data, as a server tells of no others here: (path, session).
fn watched(core: &Core) -> impl Iterator<Item = (String, String)> {
    core.engine.watched().filter_map(|(path, connection)| {
        let attached = core.connections.get(&connection)?;
        Some((path.to_owned(), format!("{:#x}", attached.session)))
    })
}

fn watches(text: &mut String, core: &Core, by: impl Fn(String, String) -> (String, String)) -> fmt::Result {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, session) in watched(core) {
        let (head, below) = by(path, session);
        groups.entry(head).or_default().push(below);
    }
    for (head, below) in groups {
        writeln!(text, "{head}")?;
        below.iter().try_for_each(|one| writeln!(text, "\t{one}"))?;
    }
    writeln!(text)
}

fn wchs(text: &mut String, core: &Core) -> fmt::Result {
    let all: Vec<_> = watched(core).collect();
    let count = |of: fn(&(String, String)) -> &String| {
        all.iter().map(of).collect::<std::collections::BTreeSet<_>>().len()
    };
    let (paths, sessions) = (count(|(path, _)| path), count(|(_, session)| session));
    writeln!(text, "{sessions} connections watching {paths} paths\nTotal watches:{}", all.len())
}
