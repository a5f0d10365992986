//! Why no server answered, and which way we reach them: what the client crate does not tell.
//!
//! It uses the blocking calls of the standard library, on the runtime's threads for that: the runtime may have no I/O driver.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::address::Address;
use super::tls;
use crate::options::Tls;

/// Names each host and what is wrong with it. Takes a little more than `within` at most.
pub(super) async fn diagnose(hosts: &[Address], tls: Option<&Tls>, within: Duration) -> String {
    let causes = hosts.iter().map(|host| {
        let host = host.clone();
        let finding = spawn_blocking({
            let (host, tls) = (host.clone(), tls.filter(|_| host.tls).cloned());
            move || cause(&host, tls.as_ref(), within)
        });
        async move {
            let cause = match timeout(within + within / 4, finding).await {
                Ok(Ok(cause)) => cause,
                Ok(Err(_)) => "not tried".to_owned(),
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
            Err(error) if address.ip().to_string() == host.name => cause = error.to_string(),
            Err(error) => cause = format!("{}: {error}", address.ip()),
        }
    }
    cause
}

/// What is wrong with a server that can be connected to.
fn gave_nothing(stream: TcpStream, host: &Address, tls: Option<&Tls>, within: Duration) -> String {
    match tls.map(|tls| tls::handshake(stream, &host.name, tls, within / 4)) {
        None => "gave no session (is it a ZooKeeper, without TLS, part of a quorum?)".to_owned(),
        Some(Ok(())) => "gave no session after the TLS handshake (is it part of a quorum?)".to_owned(),
        Some(Err(why)) => format!("the TLS handshake failed: {why}"),
    }
}

/// Our address on the route to the first of the hosts that has one. Sends nothing.
pub(super) async fn local(hosts: &[Address], within: Duration) -> Option<SocketAddr> {
    let hosts = hosts.to_vec();
    let finding = spawn_blocking(move || hosts.iter().find_map(|host| route(host).ok()));
    timeout(within, finding).await.ok()?.ok()?
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
        let text = diagnose(&hosts, None, Duration::from_secs(5)).await;
        let causes: Vec<_> = text.split("; ").collect();
        assert!(causes[0].starts_with(&format!("127.0.0.1:{open}: takes connections")), "{text}");
        assert!(causes[1].contains("refused"), "{text}");
        assert!(causes[2].contains("no-such-host.invalid:2181: "), "{text}");
    }

    #[tokio::test]
    async fn the_route_to_loopback_is_loopback() {
        let local = local(&[host("127.0.0.1", 2181)], Duration::from_secs(5)).await.unwrap();
        assert!(local.ip().is_loopback());
    }
}
