//! Why no server answered, and which way we reach them: what the client crate does not tell.
//!
//! It uses the blocking calls of the standard library, on threads of its own: the runtime may have no I/O driver, and a
//! runtime that is dropped waits for its blocking threads, which a name server that does not answer holds up for minutes.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::address::Address;
use super::tls;
use crate::options::Tls;

/// The threads that look at the servers. There is one look at a time, however long the last one takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks(Arc<()>);

impl Looks {
    /// Runs this on a thread of its own; `None` if it was not run to its end.
    pub(super) fn run<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        look: F,
    ) -> impl Future<Output = Option<T>> + Send + use<T, F> {
        let (done, answer) = oneshot::channel();
        let held = self.clone();
        let thread = thread::Builder::new().name("zk-registry-look".to_owned()).spawn(move || {
            let found = look();
            // A caller that has the answer may look again at once.
            drop(held);
            // The caller may have stopped waiting.
            let _ = done.send(found);
        });
        async move {
            thread.ok()?;
            answer.await.ok()
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Names each host and what is wrong with it. Takes a little more than `within` at most.
pub(super) async fn diagnose(
    looks: &Looks,
    hosts: &[Address],
    tls: Option<&Tls>,
    within: Duration,
) -> String {
    if looks.is_busy() {
        return "no server gave a session; the last look at why is not over yet".to_owned();
    }
    let causes = hosts.iter().map(|host| {
        let host = host.clone();
        let finding = looks.run({
            let (host, tls) = (host.clone(), tls.filter(|_| host.tls).cloned());
            move || cause(&host, tls.as_ref(), within)
        });
        async move {
            let cause = match timeout(within + within / 4, finding).await {
                Ok(Some(cause)) => cause,
                Ok(None) => "not tried".to_owned(),
                Err(_) => format!("no answer within {within:?}"),
            };
            (host, cause)
        }
    });
    let mut text = String::new();
    for (host, cause) in join_all(causes).await {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{host}: {cause}");
    }
    text
}

fn cause(host: &Address, tls: Option<&Tls>, within: Duration) -> String {
    let addresses = match (host.name.as_str(), host.port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return format!("cannot resolve: {error}"),
    };
    let mut cause = "resolves to no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, within) {
            Ok(stream) => {
                return format!("takes connections, but {}", gave_nothing(stream, host, tls, within));
            }
            Err(error) if was_closed(&error) => return format!("takes connections, but {CLOSES_AT_ONCE}"),
            Err(error) if address.ip().to_string() == host.name => cause = error.to_string(),
            Err(error) => cause = format!("{}: {error}", address.ip()),
        }
    }
    cause
}

const CLOSES_AT_ONCE: &str = "closes them at once (has our address used up the server's maxClientCnxns?)";

/// Whether a connection was made, and closed by the server before that was noticed here.
fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

/// What is wrong with a server that can be connected to.
fn gave_nothing(stream: TcpStream, host: &Address, tls: Option<&Tls>, within: Duration) -> String {
    match tls {
        Some(tls) => handshake(stream, host, tls, within / 4),
        None if closes_at_once(&stream, within / 4) => CLOSES_AT_ONCE.to_owned(),
        None => "gave no session (is it a ZooKeeper, without TLS, part of a quorum?)".to_owned(),
    }
}

fn handshake(stream: TcpStream, host: &Address, tls: &Tls, patience: Duration) -> String {
    match tls::handshake(stream, &host.name, tls, patience) {
        Ok(()) => "gave no session after the TLS handshake (is it part of a quorum?)".to_owned(),
        Err(why) => format!("the TLS handshake failed: {why}"),
    }
}

/// Whether the server ends a connection on which nothing was asked yet.
fn closes_at_once(mut stream: &TcpStream, patience: Duration) -> bool {
    if stream.set_read_timeout(Some(patience)).is_err() {
        return false;
    }
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock),
    }
}

/// Our address on the route to the first of the hosts that has one. Sends nothing. It is looked for from the call on; the
/// future waits for it, for at most so long.
pub(super) fn local(
    looks: &Looks,
    hosts: &[Address],
    within: Duration,
) -> impl Future<Output = Option<SocketAddr>> + Send + use<> {
    let hosts = hosts.to_vec();
    let finding = looks.run(move || hosts.iter().find_map(|host| route(host).ok()));
    async move { timeout(within, finding).await.ok()?? }
}

fn route(host: &Address) -> io::Result<SocketAddr> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in (host.name.as_str(), host.port).to_socket_addrs()? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        result = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(address)?;
            socket.local_addr()
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn host(name: &str, port: u16) -> Address {
        Address { name: name.to_owned(), port, tls: false }
    }

    #[tokio::test]
    async fn every_host_is_named_with_its_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let hosts = [host("127.0.0.1", open), host("127.0.0.1", closed), host("no-such-host.invalid", 2181)];
        let text = diagnose(&Looks::default(), &hosts, None, Duration::from_secs(5)).await;
        let causes: Vec<_> = text.split("; ").collect();
        assert!(causes[0].starts_with(&format!("127.0.0.1:{open}: takes connections")), "{text}");
        assert!(causes[1].contains("refused"), "{text}");
        assert!(causes[2].contains("no-such-host.invalid:2181: "), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_closes_connections_at_once_is_named_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hosts = [host("127.0.0.1", listener.local_addr().unwrap().port())];
        let server = thread::spawn(move || drop(listener.accept()));
        let text = diagnose(&Looks::default(), &hosts, None, Duration::from_secs(5)).await;
        server.join().unwrap();
        assert!(text.contains("maxClientCnxns"), "{text}");
    }

    #[test]
    fn a_connection_that_is_closed_before_it_is_noticed_counts_as_one() {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, TimedOut};
        assert!([BrokenPipe, ConnectionReset].iter().all(|&kind| was_closed(&kind.into())));
        assert!(![ConnectionRefused, TimedOut].iter().any(|&kind| was_closed(&kind.into())));
    }

    #[tokio::test]
    async fn one_look_at_a_time_is_under_way() {
        let looks = Looks::default();
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let slow = looks.run(move || held.recv());
        let text = diagnose(&looks, &[host("127.0.0.1", 1)], None, Duration::from_secs(5)).await;
        assert!(text.contains("not over yet"), "{text}");
        drop(go_on);
        slow.await.unwrap().unwrap_err();
    }

    #[tokio::test]
    async fn the_route_to_loopback_is_loopback() {
        let local =
            local(&Looks::default(), &[host("127.0.0.1", 2181)], Duration::from_secs(5)).await.unwrap();
        assert!(local.ip().is_loopback());
    }
}
