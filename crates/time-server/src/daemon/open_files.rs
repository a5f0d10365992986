//! The limit of open files, and how many connections fit below it.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Raises the soft limit to the hard one, and returns how many of `wanted` connections leave enough descriptors for all
/// else: for the connection to ZooKeeper above all, which would unlist everything if it could not be made again.
pub fn fit_connections(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let fit = fit(wanted, usize::try_from(limit).unwrap_or(usize::MAX));
    if fit < wanted {
        warn!(
            open_files = limit,
            connections = fit,
            wanted,
            "the limit of open files lowers --max-connections"
        );
    }
    fit
}

fn fit(wanted: usize, open_files: usize) -> usize {
    wanted.min(open_files - RESERVED.min(open_files / 2))
}

/// Standard streams, listeners, the runtimes, ZooKeeper, the admin endpoint's connections, those that are being turned away,
/// and some air.
const RESERVED: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_last_descriptors() {
        assert_eq!(fit(16_384, 1_048_576), 16_384);
        assert_eq!(fit(16_384, 1_024), 864);
        assert_eq!(fit(16_384, 40), 20);
    }
}
