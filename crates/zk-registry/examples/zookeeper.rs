//! A server for tests that speaks ZooKeeper's protocol, as a program: `zookeeper --listen 127.0.0.1:2181`.

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::sync::mpsc;
use zk_registry::testing::{Frozen, Reach, Server, ServerOptions};

/// A server for tests and a first look that speaks ZooKeeper's protocol: one process, in memory, on this machine only.
///
/// Nothing is kept. It is no ZooKeeper: no replicas, no disk, no TLS, no quotas; what it does not know it refuses. In
/// production run Apache ZooKeeper.
#[derive(Debug, Parser)]
#[command(name = "zookeeper", after_help = FAULTS)]
struct Args {
    /// The address to listen at; port 0 takes a free one. The address is printed once clients can connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    listen: SocketAddr,
    /// The tick: sessions get timeouts of 2 to 20 ticks. A short one lets tests wait less for sessions to expire.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = tick)]
    tick: Duration,
    /// The longest session timeout, if it is not 20 ticks.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    longest_timeout: Option<Duration>,
    /// How long a container is left after it has lost its last child.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = tick)]
    container_interval: Duration,
    /// The user who may do everything, as `user:hash`: ZooKeeper's `superDigest`.
    #[arg(long, value_name = "DIGEST")]
    superuser: Option<String>,
    /// A fault, and the time after the start at which it comes, such as `5s:cut`; any number of them. See below.
    #[arg(long = "fault", value_name = "AFTER:FAULT")]
    faults: Vec<Later>,
    /// Listens at an address that other machines reach, too: anyone who does may write anything.
    #[arg(long)]
    allow_connections_from_other_machines: bool,
}

const FAULTS: &str = "\
Faults, each a line on standard input, or after a time with --fault:
  cut                   cuts every connection; clients may connect again at once
  restart               the same, and every session gets its whole timeout again
  refuse | accept       refuses new connections | takes them again
  freeze to-server | to-clients | both
                        holds back what goes in that direction, without a word to either end
  thaw                  lets it go on
  delay DURATION        executes every request this much later from now on
  lose                  executes the next write, and cuts its connection instead of answering it
  expire SESSION        expires the session of this id, such as 0x100000a1b2c0001

Examples:
  zookeeper                                       ZooKeeper's usual address, until Ctrl-C
  zookeeper --listen 127.0.0.1:0 --tick 100ms     a free port, sessions that expire within a second
  zookeeper --fault 10s:cut --fault '20s:freeze both' --fault 40s:thaw";

/// A fault that comes later.
#[derive(Clone, Debug)]
struct Later {
    after: Duration,
    fault: Fault,
}

/// The faults that clients meet.
#[derive(Clone, Debug)]
enum Fault {
    Cut,
    Delay(Duration),
    Expire(i64),
    Freeze(Frozen),
    Lose,
    Refuse(bool),
    Restart,
}

impl FromStr for Later {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (after, fault) = text.split_once(':').ok_or("use AFTER:FAULT, such as 5s:cut")?;
        Ok(Self { after: duration(after)?, fault: fault.parse()? })
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(match words[..] {
            ["cut"] => Self::Cut,
            ["restart"] => Self::Restart,
            ["refuse"] => Self::Refuse(true),
            ["accept"] => Self::Refuse(false),
            ["freeze", "to-server"] => Self::Freeze(Frozen { to_server: true, to_clients: false }),
            ["freeze", "to-clients"] => Self::Freeze(Frozen { to_server: false, to_clients: true }),
            ["freeze", "both"] => Self::Freeze(Frozen { to_server: true, to_clients: true }),
            ["thaw"] => Self::Freeze(Frozen::default()),
            ["delay", time] => Self::Delay(duration(time)?),
            ["lose"] => Self::Lose,
            ["expire", id] => {
                let id = id.strip_prefix("0x").unwrap_or(id);
                let id =
                    u64::from_str_radix(id, 16).map_err(|_| "expire: use the session's id in hexadecimal")?;
                Self::Expire(id.cast_signed())
            }
            _ => {
                return Err(format!(
                    "no fault is called `{text}`: use cut, restart, refuse, accept, freeze to-server|to-clients|both, \
                     thaw, delay DURATION, lose, or expire SESSION"
                ));
            }
        })
    }
}

impl Fault {
    /// Does it; what there is to say of it.
    fn inflict(&self, server: &Server) -> Option<String> {
        match self {
            Self::Cut => server.cut(),
            Self::Delay(delay) => server.delay(*delay),
            Self::Expire(id) if !server.expire(*id) => return Some(format!("no session has the id {id:#x}")),
            Self::Expire(_) => {}
            Self::Freeze(frozen) => server.freeze(*frozen),
            Self::Lose => server.lose_next_reply(),
            Self::Refuse(refuse) => server.refuse(*refuse),
            Self::Restart => server.restart(),
        }
        None
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is no duration: use 200ms, 5s, or 1m"))
}

fn tick(text: &str) -> Result<Duration, String> {
    let tick = duration(text)?;
    let fits = (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&tick);
    if fits { Ok(tick) } else { Err("use 1ms to 60s".to_owned()) }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let reach = match args.allow_connections_from_other_machines {
        true => Reach::OtherMachines,
        false => Reach::ThisMachine,
    };
    if reach == Reach::ThisMachine && !args.listen.ip().is_loopback() {
        eprintln!(
            "zookeeper: {} is not a loopback address: use 127.0.0.1, or --allow-connections-from-other-machines",
            args.listen
        );
        return ExitCode::from(2);
    }
    let mut options = ServerOptions::default();
    (options.tick, options.container_interval) = (args.tick, args.container_interval);
    options.longest_timeout = args.longest_timeout;
    (options.superuser, options.reach) = (args.superuser, reach);
    let server = match Server::with(args.listen, options).await {
        Ok(server) => Arc::new(server),
        Err(error) => {
            eprintln!("zookeeper: listening at {}: {error}", args.listen);
            return ExitCode::FAILURE;
        }
    };
    eprintln!("zookeeper: a server for tests at {}: in memory, nothing is kept", server.address());
    println!("{}", server.address());
    for Later { after, fault } in args.faults {
        let server = server.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            complain(fault.inflict(&server));
        });
    }
    let mut lines = standard_input();
    loop {
        tokio::select! {
            // Without a way to hear of an interrupt the signal ends the process by itself.
            _ = tokio::signal::ctrl_c() => return ExitCode::SUCCESS,
            Some(line) = lines.recv() => match line.parse::<Fault>() {
                Ok(fault) => complain(fault.inflict(&server)),
                Err(error) => complain(Some(error)),
            },
        }
    }
}

fn complain(complaint: Option<String>) {
    if let Some(complaint) = complaint {
        eprintln!("zookeeper: {complaint}");
    }
}

/// The lines of standard input, which a thread of their own waits for: it ends with the process.
fn standard_input() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in
            std::io::stdin().lock().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty())
        {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
