//! The four-letter words: one question in the first four bytes of a connection, answered in text.

use std::fmt::Write;

use crate::store::memory::engine::Census;

const VERSION: &str = "3.9.3-in-memory";

/// The answer to a word; `None`: the four bytes are no word that is known.
pub(super) fn answer(word: [u8; 4], census: Census, connections: usize) -> Option<String> {
    let Census { zxid, nodes, ephemerals, watches, data, .. } = census;
    let mut text = String::new();
    match &word {
        b"ruok" => return Some("imok".to_owned()),
        b"isro" => return Some("rw".to_owned()),
        b"envi" => {
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "Environment:\nzookeeper.version={VERSION}, built on 01/01/2026 00:00 GMT");
        }
        b"srvr" | b"stat" => {
            let _ = write!(
                text,
                "Zookeeper version: {VERSION}, built on 01/01/2026 00:00 GMT\nLatency min/avg/max: 0/0.0/0\n\
                 Received: 0\nSent: 0\nConnections: {connections}\nOutstanding: 0\nZxid: {zxid:#x}\n\
                 Mode: standalone\nNode count: {nodes}\n"
            );
        }
        b"mntr" => {
            let _ = write!(
                text,
                "zk_version\t{VERSION}\nzk_server_state\tstandalone\nzk_num_alive_connections\t{connections}\n\
                 zk_outstanding_requests\t0\nzk_znode_count\t{nodes}\nzk_watch_count\t{watches}\n\
                 zk_ephemerals_count\t{ephemerals}\nzk_approximate_data_size\t{data}\n"
            );
        }
        _ => return None,
    }
    Some(text)
}
