//! Which host this process runs on, so that a successor can tell a predecessor of the same host from a stranger with the
//! same address: 127.0.0.1 and 172.17.0.2 exist everywhere.

use std::fs;

use uuid::Uuid;

/// Boot id, network namespace and host name in one word; `None` unless all three are known (they are on Linux).
pub(crate) fn identity() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/net").ok()?;
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(format!("{} {} {}", boot.trim(), namespace.display(), name.trim()))
}

/// The word for a host in a record: always the same for the same host. Readers of a service learn no name and no boot id from it.
pub(crate) fn hashed(identity: &str) -> String {
    Uuid::new_v5(&NAMESPACE, identity.as_bytes()).to_string()
}

/// Drawn once. Another one would keep a process from taking over what the version before has left.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d3b_2f0a_91c4_4e6e_8a57_c0d4_7be1_26f3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_of_a_host_is_the_same_in_every_version() {
        assert_eq!(hashed("boot net host"), "c823dbc7-7a58-5b7b-9de3-b1a3fd31b130");
        assert_ne!(hashed("boot net host"), hashed("boot net host2"));
    }
}
