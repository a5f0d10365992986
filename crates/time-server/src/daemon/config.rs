//! What the arguments mean.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use zk_registry::{Attributes, Instance, Mixing};

use crate::daemon::advertise::HostPort;
use crate::daemon::args::{AdminAddress, Args, ReadyWhen};
use crate::daemon::limits::Limits;
use crate::daemon::privileges::UserName;
use crate::daemon::service_manager;
use zk_registry::cli::{FormatName, RegistryConfig, SecretFiles, UsageError};

/// Everything that a run of the program is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, in order.
    pub listen: Vec<SocketAddr>,
    /// What to advertise: nothing, or one address for each listener.
    pub advertise: Vec<HostPort>,
    /// What to advertise with each listener's port if nothing else is said.
    pub pod_ip: Option<IpAddr>,
    /// Where ZooKeeper is, and which service this is.
    pub registry: RegistryConfig,
    /// What every instance says of itself.
    pub attributes: Attributes,
    /// How to leave.
    pub shutdown: Shutdown,
    /// What peers may take.
    pub limits: Limits,
    /// Where the admin endpoint listens.
    pub admin: Option<AdminAddress>,
    /// The files with secrets, which are read again before each connection.
    pub secret_files: SecretFiles,
    /// When a service manager is told that the server is ready.
    pub ready: ReadyWhen,
    /// The user to become once it listens.
    pub user: Option<UserName>,
}

/// How to leave.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// How long readers have to see that we drain; `None` where the format cannot say so.
    pub notice: Option<Duration>,
    /// How long to accept connections after the withdrawal.
    pub linger: Duration,
    /// How long open connections may take to finish.
    pub drain_timeout: Duration,
}

impl TryFrom<Args> for Config {
    type Error = UsageError;

    /// Reads the files that the arguments name, and checks what belongs together.
    fn try_from(args: Args) -> Result<Self, UsageError> {
        Self::fitting(args, |wanted| wanted)
    }
}

impl Config {
    /// The meaning of `args` where of `--max-connections` only as many fit as `fit` says.
    ///
    /// # Errors
    ///
    /// The flag that cannot be used so, or a file that cannot be read.
    pub fn fitting(args: Args, fit: impl FnOnce(usize) -> usize) -> Result<Self, UsageError> {
        let attributes = attributes(&args)?;
        // Of sockets that are handed over the number is not known yet.
        let is_known = !service_manager::hands_over_sockets();
        if is_known && !args.advertise.is_empty() && args.advertise.len() != args.listen.len() {
            let (stated, listeners) = (args.advertise.len(), args.listen.len());
            let what = format!(
                "{stated} addresses for {listeners} listeners; state one for each --listen, in order"
            );
            return Err(UsageError::new("--advertise", what));
        }
        let are_seen_to_drain = args.registry.cluster.format.iter().all(FormatName::carries_status);
        let mixing = if args.allow_mixed { Mixing::Allow } else { Mixing::Refuse };
        let connections = fit(args.max_connections.get());
        let limits = Limits {
            connections,
            per_peer: args.max_per_peer.map_or_else(|| (connections / 4).max(1), NonZeroUsize::get),
            exempt: args.per_peer_exempt,
            request_bytes: args.max_request,
            daytime_after: Some(args.daytime_after).filter(|after| !after.is_zero()),
            request_time: args.request_timeout,
            idle: args.idle,
            slow_reader: args.reply_timeout,
            lifetime: Some(args.max_lifetime).filter(|age| !age.is_zero()),
        };
        let shutdown = Shutdown {
            notice: Some(args.notice).filter(|_| are_seen_to_drain),
            linger: args.linger,
            drain_timeout: args.drain_timeout,
        };
        let secret_files = args.registry.cluster.secret_files();
        let mut registry = args.registry.resolve()?;
        registry.options.mixing = mixing;
        registry.options.shards = args.shards;
        let format = registry.options.format.name();
        if args.shards > 1 && format != "curator" {
            let what = format!("the format {format} cannot have any; use --format curator");
            return Err(UsageError::new("--shards", what));
        }
        Ok(Self {
            listen: args.listen,
            advertise: args.advertise,
            pod_ip: args.pod_ip,
            secret_files,
            registry,
            attributes,
            shutdown,
            limits,
            admin: args.admin,
            ready: args.ready,
            user: args.user,
        })
    }
}

fn attributes(args: &Args) -> Result<Attributes, UsageError> {
    // An address that every format can carry.
    let instance = || Instance::new("192.0.2.1", 1);
    let mut stated = vec![("--format", instance())];
    stated.extend(args.weight.map(|weight| ("--weight", instance().with_weight(weight))));
    stated.extend(args.zone.iter().map(|zone| ("--zone", instance().with_zone(zone))));
    stated.extend(
        args.metadata.iter().map(|(key, value)| ("--metadata", instance().with_metadata(key, value))),
    );
    for (flag, instance) in stated {
        for format in &args.registry.cluster.format {
            let checked = format.check(&args.registry.service, &instance);
            checked.map_err(|error| UsageError::new(flag, error))?;
        }
    }
    let mut attributes = Attributes::default();
    attributes.weight = args.weight.unwrap_or(attributes.weight);
    attributes.zone = args.zone.clone();
    attributes.metadata = args.metadata.iter().cloned().collect();
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn config(words: &[&str]) -> Result<Config, UsageError> {
        let args = Args::try_parse_from([&["time-server"], words].concat());
        args.map_err(|error| UsageError::from_clap(&error))?.try_into()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn without_arguments_there_are_three_listeners_and_the_documented_limits() {
        let config = config(&[]).unwrap();
        let listen = ["127.0.0.1:8897", "127.0.0.1:8898", "127.0.0.1:8899"].map(|a| a.parse().unwrap());
        assert_eq!(config.listen, listen);
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
        assert_eq!(config.shutdown.notice, Some(Duration::from_millis(300)));
        assert_eq!(config.admin, None);
    }

    #[test]
    fn shards_are_for_the_format_curator_alone() {
        assert_eq!(config(&[]).unwrap().registry.options.shards, 1);
        assert_eq!(config(&["--shards", "8"]).unwrap().registry.options.shards, 8);
        let refusal = config(&["--shards", "8", "--format", "plain"]).unwrap_err().to_string();
        assert!(refusal.contains("--shards") && refusal.contains("curator"), "{refusal}");
        assert!(config(&["--shards", "1", "--format", "plain"]).is_ok());
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_the_flag() {
        for (flag, bad) in [
            ("--listen", "localhost"),
            ("--advertise", "0.0.0.0:8897"),
            ("--advertise", "10.0.0.7:8897"),
            ("--pod-ip", "::"),
            ("--weight", "0"),
            ("--weight", "70000"),
            ("--zone", ""),
            ("--metadata", "=x"),
            ("--shards", "0"),
            ("--shards", "1025"),
            ("--shards", "some"),
            ("--notice", "soon"),
            ("--linger", "half a second"),
            ("--drain-timeout", "1"),
            ("--max-connections", "0"),
            ("--max-per-peer", "many"),
            ("--per-peer-exempt", "10.0.0.0/33"),
            ("--max-lifetime", "long"),
            ("--max-request", "5"),
            ("--daytime-after", "x"),
            ("--idle", "0"),
            ("--idle", "18446744073709551615s"),
            ("--admin", "here"),
            ("--nonsense", "x"),
        ] {
            let message = config(&[flag, bad]).unwrap_err().to_string();
            assert!(message.contains(flag), "{flag} {bad}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn what_a_format_cannot_carry_is_refused() {
        for format in ["plain", "curator-strict"] {
            for (flag, value) in [("--weight", "2"), ("--zone", "a"), ("--metadata", "k=v")] {
                let message = config(&["--format", format, flag, value]).unwrap_err().to_string();
                assert!(message.starts_with(flag) && message.contains(format), "{message}");
            }
            assert_eq!(config(&["--format", format]).unwrap().shutdown.notice, None, "it could not be seen");
        }
        let config =
            config(&["--weight", "2", "--zone", "a", "--metadata", "k=v", "--metadata", "l=w=x"]).unwrap();
        assert_eq!(config.attributes.weight.get(), 2);
        assert_eq!(config.attributes.metadata["l"], "w=x");
    }

    #[test]
    fn the_admin_endpoint_is_on_loopback_unless_told_otherwise() {
        let admin = |text| config(&["--admin", text]).unwrap().admin.unwrap().to_string();
        assert_eq!(admin("9097"), "127.0.0.1:9097");
        assert_eq!(admin(":9097"), "127.0.0.1:9097");
        assert_eq!(admin("0.0.0.0:9097"), "0.0.0.0:9097");
        assert_eq!(admin("[::1]:0"), "[::1]:0");
        assert_eq!(admin("unix:/run/time.sock"), "unix:/run/time.sock");
    }

    #[test]
    fn one_peer_has_a_quarter_of_the_connections_that_fit_unless_told_otherwise() {
        let limits = |words: &[&str], fits: usize| {
            let args = Args::try_parse_from([&["time-server"], words].concat()).unwrap();
            Config::fitting(args, |wanted| wanted.min(fits)).unwrap().limits
        };
        assert_eq!((limits(&[], 864).connections, limits(&[], 864).per_peer), (864, 216));
        assert_eq!(limits(&["--max-connections", "200"], 864).per_peer, 50);
        assert_eq!(limits(&["--max-connections", "2"], 864).per_peer, 1);
        assert_eq!(limits(&["--max-per-peer", "300"], 864).per_peer, 300);
        let exempt = limits(&["--per-peer-exempt", "10.0.0.0/8", "--per-peer-exempt", "::1"], 9).exempt;
        assert_eq!(exempt.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
        assert_eq!(limits(&["--max-lifetime", "1h"], 9).lifetime, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn daytime_can_be_turned_off() {
        assert_eq!(config(&["--daytime-after", "0"]).unwrap().limits.daytime_after, None);
        assert_eq!(config(&["--daytime-after", "0s"]).unwrap().limits.daytime_after, None);
    }
}
