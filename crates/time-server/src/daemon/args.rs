//! The command line as it was typed; [`Config`](crate::daemon::config::Config) is made from it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use crate::daemon::advertise::HostPort;
use crate::daemon::privileges::UserName;
use crate::protocol;
use zk_registry::cli::{RegistryArgs, duration};

/// The flags of a server.
#[derive(Clone, Debug, Parser)]
#[command(name = "time-server")]
pub struct Args {
    /// A TOML file for the flags that neither stand here nor in the environment; its keys are their names
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen here; may be repeated. Port 0 takes any free port. Sockets that a service manager hands over (LISTEN_FDS) are
    /// used instead
    #[arg(long, value_name = "IP:PORT", default_values = ["127.0.0.1:8897", "127.0.0.1:8898", "127.0.0.1:8899"])]
    pub listen: Vec<SocketAddr>,

    /// The address to register, one for each --listen in the same order. Defaults to the listener's own or, for an
    /// unspecified one (0.0.0.0), the one from which ZooKeeper is reached
    #[arg(long, value_name = "HOST:PORT", env = "ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<HostPort>,

    /// Without --advertise: register this address with each listener's port
    #[arg(long, value_name = "IP", env = "POD_IP", value_parser = reachable)]
    pub pod_ip: Option<IpAddr>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show the words as the help of the whole program")]
    pub registry: RegistryArgs,

    /// The share of traffic relative to the other instances [default: 1]
    #[arg(long, value_name = "N", value_parser = weight)]
    pub weight: Option<NonZeroU16>,

    /// The zone (rack, data centre, availability zone) to register
    #[arg(long, value_name = "ZONE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub zone: Option<String>,

    /// Anything else to register; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub metadata: Vec<(String, String)>,

    /// Register beside instances of another fleet, too, whose readers would be broken by it: Dubbo's lose all instances of an
    /// application on a record of Curator's
    #[arg(long)]
    pub allow_mixed: bool,

    /// Spread the instances of the service over so many nodes, 1 to 1024, with the format curator alone; a number that the service
    /// has already holds if it is larger. Readers of others do not see instances in shards
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: u16,

    /// On shutdown: how long readers have to see that we drain, before we are unlisted; formats that cannot say so are unlisted at once
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = duration)]
    #[arg(help_heading = SHUTDOWN)]
    pub notice: Duration,

    /// On shutdown: how long connections are still accepted after we are unlisted
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    #[arg(help_heading = SHUTDOWN)]
    pub linger: Duration,

    /// On shutdown: how long open connections may take to finish, at most
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    #[arg(help_heading = SHUTDOWN)]
    pub drain_timeout: Duration,

    /// Open connections in total; fewer where the limit of open files is lower
    #[arg(long, value_name = "N", default_value = "16384", value_parser = count, help_heading = LIMITS)]
    pub max_connections: NonZeroUsize,

    /// Open connections of one peer: an IPv4 address or an IPv6 /64; twice as many of an IPv6 /48 [default: a quarter of
    /// the connections that fit]
    #[arg(long, value_name = "N", value_parser = count, help_heading = LIMITS)]
    pub max_per_peer: Option<NonZeroUsize>,

    /// A network without the limit per peer, such as that of a NAT; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = LIMITS)]
    pub per_peer_exempt: Vec<IpNet>,

    /// The age at which a connection ends, after its next answer and give or take a tenth; 0 turns that off
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration, help_heading = LIMITS)]
    pub max_lifetime: Duration,

    /// Bytes of one request
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = request_bytes, help_heading = LIMITS)]
    pub max_request: usize,

    /// How long a new connection may say nothing until it is told the time (RFC 867); 0 turns that off
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration, help_heading = LIMITS)]
    pub daytime_after: Duration,

    /// How long a request may take from its first byte to its last, or a new connection's first byte where
    /// --daytime-after is 0
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = some_time, help_heading = LIMITS)]
    pub request_timeout: Duration,

    /// How long a connection may say nothing after an answered request
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = some_time, help_heading = LIMITS)]
    pub idle: Duration,

    /// How long a peer may take nothing of the replies that were sent to it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = some_time, help_heading = LIMITS)]
    pub reply_timeout: Duration,

    /// Serve /healthz, /readyz, /metrics and /registrations here; a port alone means 127.0.0.1, and `unix:PATH` a socket
    /// whose directory says who may connect [default: off]
    #[arg(long, value_name = "[IP:]PORT|unix:PATH", value_parser = admin)]
    pub admin: Option<AdminAddress>,

    /// When a service manager (NOTIFY_SOCKET) is told that the server is ready
    #[arg(long, value_enum, default_value_t = ReadyWhen::Listening, help_heading = PROCESS)]
    pub ready: ReadyWhen,

    /// Once it listens, become this user; needs to be started as root
    #[arg(long, value_name = "NAME", value_parser = user, help_heading = PROCESS)]
    pub user: Option<UserName>,

    /// How the log on stderr is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = LOG)]
    pub log_format: LogFormat,

    /// Which events are logged, by target and level
    #[arg(long, value_name = "DIRECTIVES", env = "RUST_LOG", default_value = LOGGED, value_parser = log_filter)]
    #[arg(help_heading = LOG)]
    pub log_filter: String,
}

/// When a service manager is told that the server is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ReadyWhen {
    /// As soon as it listens: its start does not wait for ZooKeeper
    Listening,
    /// Once every listener is registered
    Registered,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// To journald with its fields, instead of stderr
    Journald,
    /// One JSON object a line
    Json,
    /// For people, with colours on a terminal
    Text,
}

/// The place where the admin endpoint listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AdminAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const LIMITS: &str = "Limits";
const LOG: &str = "Log";
const PROCESS: &str = "Process";
const SHUTDOWN: &str = "Shutdown";

/// The events that are logged for want of other wishes.
const LOGGED: &str = "info,zookeeper_client=error";

fn weight(text: &str) -> Result<NonZeroU16, &'static str> {
    text.parse().map_err(|_| "use a whole number from 1 to 65535")
}

fn count(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "use a whole number from 1")
}

fn request_bytes(text: &str) -> Result<usize, String> {
    let accepted = protocol::MIN_LINE..=65_536;
    let number = text.parse().ok().filter(|bytes| accepted.contains(bytes));
    number.ok_or_else(|| format!("use a number of bytes from {} to {}", accepted.start(), accepted.end()))
}

fn some_time(text: &str) -> Result<Duration, String> {
    let some = duration(text).ok().filter(|duration| !duration.is_zero());
    some.ok_or_else(|| "use a duration above 0, such as 500ms, 10s or 1m, at most 100 years".to_owned())
}

/// A network as people write it; an address alone is a network of one.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.map_err(|_| "use a network such as 10.0.0.0/8 or 2001:db8::/32, or an address")
}

fn user(text: &str) -> Result<UserName, &'static str> {
    if text.is_empty() || text.contains(':') {
        Err("use the name of a user")
    } else {
        Ok(UserName(text.to_owned()))
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("use KEY=VALUE"),
    }
}

fn reachable(text: &str) -> Result<IpAddr, &'static str> {
    let ip = text.parse().ok().filter(|ip: &IpAddr| !ip.to_canonical().is_unspecified());
    ip.ok_or("use an IP address that peers can reach, such as 10.0.0.7")
}

/// An empty text, as of an empty variable, asks for nothing else than the default.
fn log_filter(text: &str) -> Result<String, String> {
    let wanted = if text.trim().is_empty() { LOGGED } else { text };
    match EnvFilter::try_new(wanted) {
        Ok(_) => Ok(wanted.to_owned()),
        Err(error) => Err(format!("{error}; use directives such as {LOGGED}")),
    }
}

pub(crate) fn admin(text: &str) -> Result<AdminAddress, &'static str> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(AdminAddress::Unix(path.into()));
    }
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let port_alone = text.strip_prefix(':').unwrap_or(text).parse().map(loopback);
    let address = port_alone.or_else(|_| text.parse());
    address.map(AdminAddress::Tcp).map_err(|_| "use a port, an address such as 127.0.0.1:9097, or unix:PATH")
}
