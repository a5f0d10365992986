//! Whether the clock of this machine agrees with those of the servers: their answers to `cons` say when each client connected.

use std::time::{Duration, SystemTime};

use zk_registry::ConnectString;

use super::finding::Finding;
use crate::four_letter;

/// Compares the clocks. `connecting` is when this program, which is one of the clients by now, began to connect.
pub(super) async fn look(to: &ConnectString, connecting: SystemTime) -> Finding {
    let mut latest = Vec::new();
    for server in four_letter::servers(to) {
        let cons = four_letter::ask(&server, "cons").await.unwrap_or_default();
        let is_whole = (cons.len() as u64) < four_letter::MOST;
        latest.push(latest_connection(&cons).filter(|_| is_whole));
    }
    judge(&latest, connecting, SystemTime::now())
}

/// When the latest client of a server connected, by the server's clock; `None` where its answer does not say.
fn latest_connection(cons: &str) -> Option<SystemTime> {
    // " /10.0.0.7:41234[1](queued=0,recved=7,sent=7,sid=0x100002791150009,est=1795348502058,...)"
    let fields = cons.split(['(', ',', ')']).filter_map(|field| field.strip_prefix("est="));
    let latest = fields.filter_map(|millis| millis.parse().ok()).max()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(latest))
}

/// The verdict on what each server said. A client cannot have connected in the future: then this clock is behind. Nor can all have
/// connected before this program, which is one of them: then it is ahead of the server that has it.
fn judge(latest: &[Option<SystemTime>], connecting: SystemTime, now: SystemTime) -> Finding {
    let Some(newest) = latest.iter().flatten().max() else {
        let what = "not compared: no server answers to `cons`; 4lw.commands.whitelist has to have it";
        return Finding::ok(SUBJECT, what);
    };
    let cure = "look at the time service of this machine and of the servers";
    let further =
        |later: SystemTime, earlier: SystemTime| later.duration_since(earlier).ok().filter(|by| *by > SKEW);
    if let Some(behind) = further(*newest, now) {
        return Finding::doubtful(SUBJECT, format!("this machine's is {behind:.1?} behind a server's"), cure);
    }
    match further(connecting, *newest) {
        Some(ahead) if latest.iter().all(Option::is_some) => {
            Finding::doubtful(SUBJECT, format!("this machine's is {ahead:.1?} ahead of a server's"), cure)
        }
        Some(_) => Finding::ok(SUBJECT, "not compared: not every server answers to `cons`"),
        None => Finding::ok(SUBJECT, format!("this machine's and the servers' are less than {SKEW:?} apart")),
    }
}

const SUBJECT: &str = "clock";
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn the_latest_connection_is_found_among_clients_with_and_without_a_session() {
        let cons = " /10.0.0.7:41234[1](queued=0,recved=7,sent=7,sid=0x10000279115000,lop=PING,est=1795348502058,to=10000)\n \
                    /10.0.0.8:1[1](queued=0,recved=9,sent=9,sid=0x1000027911500,lop=GETD,est=1795348500000,to=4000)\n \
                    /[0:0:0:0:0:0:0:1]:5[0](queued=0,recved=1,sent=0)\n";
        assert_eq!(latest_connection(cons), Some(at(1_795_348_502_058)));
        assert_eq!(latest_connection("cons is not executed because it is not in the whitelist."), None);
    }

    #[test]
    fn a_clock_that_is_behind_or_ahead_is_told_from_one_that_agrees() {
        let judge = |latest: &[Option<u64>], connecting, now| {
            let latest: Vec<_> = latest.iter().map(|millis| millis.map(at)).collect();
            let finding = judge(&latest, at(connecting), at(now));
            (finding.level, finding.text(zk_registry::cli::program::Paint::Plain).remove(0))
        };
        let behind = judge(&[Some(1_000), Some(60_000)], 9_000, 10_000);
        assert!(behind.0 == Level::Doubtful && behind.1.contains("50.0s behind"), "{behind:?}");
        let ahead = judge(&[Some(1_000), Some(4_000)], 9_000, 10_000);
        assert!(ahead.0 == Level::Doubtful && ahead.1.contains("5.0s ahead"), "{ahead:?}");
        let agrees = judge(&[Some(1_000), Some(9_500)], 9_000, 10_000);
        assert!(agrees.0 == Level::Ok && agrees.1.contains("apart"), "{agrees:?}");
        // The one that has this program may be the one that does not answer.
        let silent = judge(&[Some(1_000), None], 9_000, 10_000);
        assert!(silent.0 == Level::Ok && silent.1.contains("not compared"), "{silent:?}");
        assert!(judge(&[None], 9_000, 10_000).1.contains("whitelist"));
    }
}
