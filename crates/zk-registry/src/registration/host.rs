//! Which host this process runs on, so that a successor can tell a predecessor of the same host from a stranger with the
//! same address: 127.0.0.1 and 172.17.0.2 exist everywhere.

use std::fs;

/// Boot id, network namespace and host name in one word; `None` unless all three are known (they are on Linux).
pub(crate) fn identity() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/net").ok()?;
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(format!("{} {} {}", boot.trim(), namespace.display(), name.trim()))
}
