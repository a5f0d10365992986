//! The codecs that are private, for the fuzz targets. No part of the stable interface.
//!
//! Nothing is checked here: what must hold for any bytes stands in `fuzz/checks/`.

use std::io;
use std::time::{Duration, SystemTime};

use crate::discovery::snapshot_file::{Origin, Stored, encoding};
use crate::discovery::view::View;
use crate::error::Error;
use crate::format::{Decoded, Format, Owner};
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::options::Options;
use crate::snapshot::Snapshot;

/// What a node of that name and with that data says, or why it says nothing.
///
/// # Errors
///
/// The reason of a rejected node.
pub fn decode(format: &dyn Format, id: &InstanceId, data: &[u8]) -> Result<Decoded, String> {
    format.decode(&service(), &id.clone().into(), data)
}

/// The data of an instance's node.
///
/// # Errors
///
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the instance carries what the format cannot.
pub fn encode(
    format: &dyn Format,
    id: &InstanceId,
    instance: &Instance,
    owner: &Owner,
) -> Result<Vec<u8>, Error> {
    format.encode(&service(), id, instance, owner, SystemTime::UNIX_EPOCH)
}

/// What a view makes of a snapshot file about the node `root`.
///
/// # Errors
///
/// Why the file is ignored.
pub fn read_snapshot(root: &str, bytes: &[u8]) -> io::Result<Snapshot> {
    let Stored { members, written } = encoding::decode(bytes, &origin(root))?;
    let Options { format, suspicion, record_limits, .. } = Options::default();
    let mut view = View::new(service(), format, suspicion, record_limits, Duration::from_secs(10));
    view.restore(members, written);
    Ok(view.publish().expect("what is restored is news"))
}

/// The snapshot file about the node `root` that is written at that time.
///
/// # Errors
///
/// As JSON has them; none is known.
pub fn write_snapshot(root: &str, snapshot: &Snapshot, now: SystemTime) -> io::Result<Vec<u8>> {
    encoding::encode(&origin(root), snapshot, now)
}

fn origin(root: &str) -> Origin {
    Origin { cluster: String::new(), root: root.to_owned() }
}

/// The replies of a server for tests to these packets, of one connection.
pub fn zookeeper_replies<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    super::server::replies(packets)
}

fn service() -> ServiceName {
    "time".parse().expect("it is a valid name")
}
