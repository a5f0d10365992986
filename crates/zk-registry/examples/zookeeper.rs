//! A server for tests that speaks ZooKeeper's protocol, as a program: `zookeeper --listen 127.0.0.1:2181`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use zk_registry::testing::Server;

/// A server for tests and a first look that speaks ZooKeeper's protocol: one process, in memory, on this machine only.
///
/// Nothing is kept. It is no ZooKeeper: no replicas, no disk, no TLS, no quotas; what it does not know it refuses. In
/// production run Apache ZooKeeper.
#[derive(Debug, Parser)]
struct Args {
    /// The address to listen at; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    listen: SocketAddr,
    /// The tick in milliseconds; sessions get timeouts of 2 to 20 ticks.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    tick: u64,
    /// Listens at an address that other machines reach, too: anyone who does may write anything.
    #[arg(long)]
    allow_connections_from_other_machines: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if !args.listen.ip().is_loopback() && !args.allow_connections_from_other_machines {
        eprintln!(
            "zookeeper: {} is not a loopback address: use 127.0.0.1, or --allow-connections-from-other-machines",
            args.listen
        );
        return ExitCode::from(2);
    }
    match Server::listen(args.listen, Duration::from_millis(args.tick)).await {
        Err(error) => {
            eprintln!("zookeeper: {}: {error}", args.listen);
            ExitCode::FAILURE
        }
        Ok(server) => {
            eprintln!("zookeeper: a server for tests at {}: in memory, nothing is kept", server.address());
            // Without a way to hear of an interrupt the signal ends the process by itself.
            let _ = tokio::signal::ctrl_c().await;
            ExitCode::SUCCESS
        }
    }
}
