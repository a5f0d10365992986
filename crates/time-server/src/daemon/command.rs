//! The subcommands: without one, the program serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use zk_registry::cli::duration;

use crate::daemon::args::{AdminAddress, Args, admin};

/// Tells the time over TCP, every listener a registered instance.
///
/// Prints one line per registration on stdout and logs on stderr. Every flag can stand in a TOML file (--config) under its
/// own name; a flag wins over its environment variable, that over the file, and the file over the default.
#[derive(Clone, Debug, Parser)]
#[command(name = "time-server", version, after_help = HELP_BELOW, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show the words as the help of the whole program")]
    pub serve: Args,
}

/// What the program can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Say whether a configuration can work, without connecting to anything
    ///
    /// Takes the flags, the environment and the file of a server, reads the files that they name, and prints one line: the
    /// registrations that the server would make, or the first mistake.
    #[command(after_help = CHECK_EXIT_CODES)]
    Check(Box<Args>),
    /// Ask a running server of this host whether it is well: for the health check of a container
    ///
    /// Asks the admin endpoint for /healthz (with --ready for /readyz). Where the server has none, asks its first listener
    /// for the time.
    #[command(after_help = PROBE_EXIT_CODES)]
    Probe(ProbeArgs),
}

/// Whom to ask, and what.
#[derive(Clone, Debug, clap::Args)]
pub struct ProbeArgs {
    /// The server's configuration file: its `admin` and `listen` are used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The server's admin endpoint
    #[arg(long, value_name = "[IP:]PORT|unix:PATH", value_parser = admin)]
    pub admin: Option<AdminAddress>,

    /// Without --admin: the server's listeners, of which the first is asked [default: 127.0.0.1:8897]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Vec<SocketAddr>,

    /// Ask whether it is ready (registered, and neither drained nor leaving), not only whether it answers; needs --admin
    #[arg(long)]
    pub ready: bool,

    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub timeout: Duration,
}

const HELP_BELOW: &str = "\
Examples:
  time-server --zookeeper zk1,zk2,zk3 --listen 10.0.0.7:8897 --admin 9097
  time-server --config /etc/time-server.toml          listen = [\"10.0.0.7:8897\"], weight = 2, ...
  time-server check --config /etc/time-server.toml    before a restart
  time-server probe --admin 9097                      in a container's health check

Exit codes:
  0  ended by SIGTERM, SIGQUIT, Ctrl-C or the closing of its terminal, everything finished
  1  a second signal cut the end short, or the system failed us
  2  wrong usage or configuration, or an address that cannot be listened on; nothing was registered";

const CHECK_EXIT_CODES: &str = "\
Exit codes:
  0  it can work, as far as that is known without connecting
  2  it cannot; the line on stderr names the flag, or the file, its line and the key, and what is accepted";

const PROBE_EXIT_CODES: &str = "\
Exit codes:
  0  the server is well (with --ready: ready)
  1  it is not, or did not answer in time
  2  wrong usage or configuration";
