//! The wire without a socket, for the fuzz target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::{Attached, Core, Outbox};
use super::options::ServerOptions;
use crate::store::memory::engine::{Greeting, Hello};

/// The replies to these packets, of one connection of a new server: what the fuzz target asks for.
pub(crate) fn replies<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut core = Core::new(ServerOptions::default());
    let hello = Hello { last_zxid: 0, timeout: Duration::from_secs(10), session: 0, password: &[] };
    core.last_connection = 1;
    let member = core.member;
    let greeting = core.engine.connect(1, member, [127, 0, 0, 1].into(), hello, Instant::now());
    let Greeting::Accepted { session, .. } = greeting else { return Vec::new() };
    let outbox = Arc::new(Outbox::default());
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    core.connections.insert(1, Attached { outbox: outbox.clone(), peer, session });
    let mut replies = Vec::new();
    for packet in packets {
        let goes_on = core.packet(1, session, packet);
        replies.push(outbox.take());
        if !goes_on {
            break;
        }
    }
    replies
}
