//! Whether an address answers, from here.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use zk_registry::{Member, Snapshot};

/// Dials an address. A failure is that of the last of a few attempts.
pub(crate) async fn dial(address: &str) -> Result<(), io::Error> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(PAUSE).await;
        }
        match timeout(EACH, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {EACH:?}")),
        }
    }
    Err(last)
}

/// An instance of the service that answers from here, other than those at `address`: where none does, nothing can be told of a
/// silent one. Only a few are asked.
pub(crate) async fn witness(snapshot: &Snapshot, address: &str) -> Option<String> {
    let others = snapshot.instances().filter(|member| member.is_dialable());
    let others: Vec<_> = others
        .map(|member: &std::sync::Arc<Member>| member.address())
        .filter(|other| other != address)
        .collect();
    for other in others.into_iter().take(ASKED) {
        if timeout(EACH, TcpStream::connect(&other)).await.is_ok_and(|dialled| dialled.is_ok()) {
            return Some(other);
        }
    }
    None
}

const ATTEMPTS: u32 = 3;
const EACH: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// How many others are asked at most.
const ASKED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_answers_or_not_and_a_witness_is_another_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (open, dead) = (listener.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        assert!(dial(&open.to_string()).await.is_ok());
        assert!(dial(&dead.to_string()).await.is_err());
        let instance =
            |address: std::net::SocketAddr| zk_registry::Instance::new("127.0.0.1", address.port());
        let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [instance(open), instance(dead)]);
        assert_eq!(witness(&snapshot, &dead.to_string()).await, Some(open.to_string()));
        assert_eq!(witness(&snapshot, &open.to_string()).await, None);
    }
}
