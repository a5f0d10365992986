//! What must hold for any name and any data of a node in any dialect: reading it does not panic, and what was read is written, where the
//! dialect can carry it, as something that reads the same.

use std::num::NonZeroU16;

use zk_registry::format::{NAMES, named};
use zk_registry::testing::fuzzing::{directories, read, write};
use zk_registry::{ErrorKind, Instance};

/// The first byte says which dialect and directory, the rest is a name, a line break and the data.
pub(crate) fn dialects(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let format = named(NAMES[usize::from(*choice) % NAMES.len()]).expect("it is one of the names");
    let directory = usize::from(*choice) / NAMES.len() % directories(&*format);
    let (name, data) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    let data = data.strip_prefix(b"\n").unwrap_or(data);
    let Some(name) = str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else { return };
    let Some(found) = read(&*format, directory, &name, data) else { return };

    // The weight is in the dialect's unit, which makes it too large to be written once more.
    let attributes = found.attributes().clone();
    let mut instance = Instance::new(found.host(), found.port()).with_attributes(attributes);
    instance = instance.with_weight(NonZeroU16::MIN);
    if let Some(port) = found.ssl_port() {
        instance = instance.with_ssl_port(port);
    }
    match write(&*format, &instance) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
        Ok((directory, name, data)) => {
            let same = read(&*format, directory, &name, &data).expect("what was written is an instance");
            assert_eq!((same.address(), same.ssl_port()), (instance.address(), instance.ssl_port()));
            assert_eq!((same.status(), same.zone()), (instance.status(), instance.zone()));
            for (key, value) in instance.metadata() {
                assert_eq!(same.metadata().get(key), Some(value), "{key}");
            }
        }
    }
}
