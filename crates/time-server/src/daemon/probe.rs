//! Asking a running server whether it is well, as the health check of a container does.
//!
//! Blocking calls on one thread: a probe starts, asks once and ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::daemon::args::AdminAddress;
use crate::daemon::command::ProbeArgs;
use zk_registry::cli::UsageError;

/// What a server was found to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// It answered otherwise, with this text; or it did not answer, for this reason.
    Unwell(String),
    /// The admin endpoint answered 200, or the listener told the time.
    Well,
}

/// Asks once, and waits for the answer no longer than the arguments say.
///
/// # Errors
///
/// Arguments that do not fit together.
pub fn probe(args: &ProbeArgs) -> Result<Health, UsageError> {
    let found = match (&args.admin, args.ready) {
        (Some(admin), _) => ask_admin(admin, args),
        (None, true) => {
            return Err(UsageError::new(
                "--ready",
                "needs --admin, or `admin` in the file: a listener does not know it",
            ));
        }
        (None, false) => {
            let first =
                args.listen.first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8897)));
            ask_time(first, args.timeout)
        }
    };
    Ok(found.unwrap_or_else(|error| Health::Unwell(error.to_string())))
}

fn ask_admin(admin: &AdminAddress, args: &ProbeArgs) -> io::Result<Health> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = match admin {
        AdminAddress::Tcp(address) => exchange(connect(*address, args.timeout)?, &request, args.timeout)?,
        #[cfg(unix)]
        AdminAddress::Unix(path) => {
            exchange(std::os::unix::net::UnixStream::connect(path)?, &request, args.timeout)?
        }
        #[cfg(not(unix))]
        AdminAddress::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(match (head.starts_with("HTTP/1."), status) {
        (true, "200") => Health::Well,
        (true, _) => Health::Unwell(format!("{path} answered {status}: {}", body.trim())),
        (false, _) => Health::Unwell(format!("{admin} is no admin endpoint of a time server")),
    })
}

fn ask_time(listener: SocketAddr, timeout: Duration) -> io::Result<Health> {
    let answer = exchange(connect(listener, timeout)?, "timestamp\n", timeout)?;
    let is_time = answer.contains(": ") && !answer.starts_with("error:");
    Ok(if is_time {
        Health::Well
    } else {
        Health::Unwell(format!("{listener} answered {:?}", answer.trim()))
    })
}

/// A listener on every address is asked over loopback.
fn connect(mut address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let connected = TcpStream::connect_timeout(&address, timeout.max(SHORTEST));
    connected.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Sends a request and reads to the end of the answer.
fn exchange(mut stream: impl Timed, request: &str, timeout: Duration) -> io::Result<String> {
    let deadline = Instant::now() + timeout;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut bytes = [0; 1024];
    while answer.len() < MOST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout:?}")));
        }
        stream.read_within(left)?;
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(bytes.get(..read).unwrap_or_default()),
            // The deadline above says whether there is time left.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A stream of either kind whose reads can be given a time.
trait Timed: Read + Write {
    fn read_within(&self, time: Duration) -> io::Result<()>;
}

impl Timed for TcpStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

#[cfg(unix)]
impl Timed for std::os::unix::net::UnixStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

/// The system refuses to wait for no time at all.
const SHORTEST: Duration = Duration::from_millis(1);

/// No answer is longer.
const MOST: usize = 16 * 1024;
