//! What each server says of itself, where it answers `srvr`.

use std::io;

use zk_registry::ConnectString;

use super::finding::Finding;
use crate::four_letter;

/// Asks each server for its version and role.
pub(super) async fn look(to: &ConnectString) -> Vec<Finding> {
    let servers = four_letter::servers(to);
    if servers.is_empty() {
        return vec![Finding::ok("servers", "not asked for their versions, which needs a plaintext port")];
    }
    let mut findings = Vec::new();
    for server in servers {
        findings.push(judge(&server, four_letter::ask(&server, "srvr").await));
    }
    findings
}

fn judge(server: &str, reply: io::Result<String>) -> Finding {
    let subject = format!("server {server}");
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let cure = "it does not answer: look at its log, its disk and the network";
            return Finding::broken(subject, error.to_string(), cure);
        }
        Err(error) => {
            let cure = "it is listed in the connect string: start it, or take it out";
            return Finding::broken(subject, error.to_string(), cure);
        }
    };
    let field = |name: &str| reply.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let Some(version) = field("Zookeeper version:") else {
        return Finding::ok(subject, "answers, but not to `srvr`: 4lw.commands.whitelist does not have it");
    };
    let version = version.split(['-', ',']).next().unwrap_or(version);
    let what = format!("version {version}, {}", field("Mode:").unwrap_or("of unknown role"));
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => {
            Finding::broken(subject, what, "this library needs 3.6: upgrade it")
        }
        _ => Finding::ok(subject, what),
    }
}

/// The oldest version with persistent recursive watches.
const OLDEST: (u32, u32) = (3, 6);

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn an_old_server_is_broken_and_a_silent_one_is_not() {
        let judge = |reply: &str| judge("zk1:2181", Ok(reply.to_owned())).level;
        assert_eq!(
            judge(
                "Zookeeper version: 3.5.9-83df9301aa5c2a5d284a9940177808c01bc35cef, built on\nMode: leader\n"
            ),
            Level::Broken
        );
        assert_eq!(
            judge("Zookeeper version: 3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee, built on\n"),
            Level::Ok
        );
        assert_eq!(judge("srvr is not executed because it is not in the whitelist.\n"), Level::Ok);
    }
}
