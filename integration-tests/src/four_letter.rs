//! ZooKeeper's four-letter words: what a server says about itself, asked outside every session.
//!
//! This is how a test sees what no client can: server-side watches, sessions, the role of a node.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fair_time::fair_timeout;

/// Sends one word (`srvr`, `mntr`, `cons`, `dump`, `wchs`, `wchc`, ...) and returns the whole reply.
///
/// # Errors
///
/// Connecting or reading failed, or 2 seconds have passed (the server is frozen).
pub async fn ask(server: SocketAddr, word: &str) -> io::Result<String> {
    fair_timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        Ok(reply)
    })
    .await
    .unwrap_or_else(|| {
        let silence = format!("{server} did not answer {word} in {PATIENCE:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, silence))
    })
}

/// The role of a server that serves: `standalone`, `leader` or `follower`; `None` while it does not serve.
pub async fn mode(server: SocketAddr) -> Option<String> {
    field(&ask(server, "srvr").await.ok()?, "Mode")
}

/// The server's version, such as `3.9.3`.
pub async fn version(server: SocketAddr) -> Option<String> {
    let full = field(&ask(server, "srvr").await.ok()?, "Zookeeper version")?;
    Some(full.split(['-', ',']).next().unwrap_or(&full).to_owned())
}

/// The figures of `mntr` by name (`zk_watch_count`, `zk_ephemerals_count`, `zk_packets_received`, ...).
///
/// # Errors
///
/// As [`ask`].
pub async fn figures(server: SocketAddr) -> io::Result<BTreeMap<String, String>> {
    let reply = ask(server, "mntr").await?;
    Ok(reply
        .lines()
        .filter_map(|l| l.split_once('\t'))
        .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
        .collect())
}

/// The paths that each session watches at this server, by session id: a parsed `wchc`.
///
/// # Errors
///
/// As [`ask`].
pub async fn watches(server: SocketAddr) -> io::Result<BTreeMap<String, Vec<String>>> {
    Ok(parse_watches(&ask(server, "wchc").await?))
}

fn field(reply: &str, name: &str) -> Option<String> {
    reply.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

/// Session ids stand alone on a line, their paths below, indented.
fn parse_watches(reply: &str) -> BTreeMap<String, Vec<String>> {
    let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut session = None;
    for line in reply.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with(char::is_whitespace) {
            if let Some(paths) = session.as_ref().and_then(|id| sessions.get_mut(id)) {
                paths.push(line.trim().to_owned());
            }
        } else {
            sessions.entry(line.trim().to_owned()).or_default();
            session = Some(line.trim().to_owned());
        }
    }
    sessions
}

const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let reply =
            "Zookeeper version: 3.9.3-abc, built on 2024\nLatency min/avg/max: 0/0.0/0\nMode: follower\n";
        assert_eq!(field(reply, "Mode").as_deref(), Some("follower"));
        assert_eq!(field(reply, "Mod"), None);
    }

    #[test]
    fn watched_paths_are_grouped_by_session() {
        let parsed = parse_watches("0x1000\n\t/a\n\t/b\n0x2000\n\t/a\n\n");
        assert_eq!(parsed["0x1000"], ["/a", "/b"]);
        assert_eq!(parsed["0x2000"], ["/a"]);
    }
}
