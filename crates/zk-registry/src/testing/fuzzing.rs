//! The codecs that are private, for the fuzz targets. No part of the stable interface.
//!
//! Nothing is checked here: what must hold for any bytes stands in `fuzz/checks/`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::hostile::{Hostile, Tape};

use crate::Resolve as _;
use crate::discovery::snapshot_file::{Origin, encoding};
use crate::discovery::view::View;
use crate::error::Error;
use crate::format::Format;
use crate::format::sealed::{Child, Decoded, Owner, Place, Reading};
use crate::instance::{Instance, InstanceId, NodeName, ServiceName, Status};
use crate::options::Options;
use crate::registry::background::Background;
use crate::snapshot::Snapshot;

/// What a node of that name and with that data says, or why it says nothing.
///
/// # Errors
///
/// The reason of a rejected node.
pub fn decode(
    format: &dyn Format,
    id: &InstanceId,
    data: &[u8],
) -> Result<(Instance, Option<Writer>), String> {
    let Decoded { instance, owner } = format.decode(&service(), &id.clone().into(), data)?;
    Ok((instance, owner.map(Writer)))
}

/// The instance that a child of one of a service's directories is; `None` if it is none.
pub fn read(format: &dyn Format, directory: usize, name: &NodeName, data: &[u8]) -> Option<Instance> {
    match format.read(&service(), Child { directory, name, data }) {
        Ok(Reading::Member(Decoded { instance, .. })) => Some(instance),
        Ok(Reading::Rules(rules)) => {
            let sample = Instance::new("10.0.0.1", 8080);
            format.apply(&[Arc::new(rules)], name, &sample)
        }
        Ok(Reading::Ignored) | Err(_) => None,
    }
}

/// The node of an instance under its default id: the number of its directory, its name and its data.
///
/// # Errors
///
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the instance carries what the format cannot.
pub fn write(format: &dyn Format, instance: &Instance) -> Result<(usize, NodeName, Vec<u8>), Error> {
    let (service, id, owner) = (service(), instance.id()?, Writer::unknown().0);
    let place = Place { service: &service, id: &id, owner: &owner, registered: SystemTime::UNIX_EPOCH };
    let record = format.record(&place, instance)?;
    let directories = format.directories(&service)?;
    let directory = directories.iter().position(|directory| *directory == record.directory).unwrap_or(0);
    Ok((directory, record.name, record.data))
}

/// How many directories a service of this format has.
pub fn directories(format: &dyn Format) -> usize {
    format.directories(&service()).map_or(0, |directories| directories.len())
}

/// Who wrote a record: which process, on which host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Writer(Owner);

impl Writer {
    /// A process of an unknown host.
    pub fn unknown() -> Self {
        Self(Owner { host: None, incarnation: uuid::Uuid::nil() })
    }
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
    writer: &Writer,
) -> Result<Vec<u8>, Error> {
    format.encode(&service(), id, instance, &writer.0, SystemTime::UNIX_EPOCH)
}

/// What a view makes of a snapshot file about the node `root`.
///
/// # Errors
///
/// Why the file is ignored.
pub fn read_snapshot(root: &str, bytes: &[u8]) -> io::Result<Snapshot> {
    let stored = encoding::decode(bytes, &origin(root))?;
    let Options { format, suspicion, record_limits, .. } = Options::default();
    let mut view = View::new(service(), format, suspicion, record_limits, Duration::from_secs(10));
    view.restore(stored);
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

/// Runs a registry that registers, updates, watches and looks up against a ZooKeeper whose every answer comes from these bytes,
/// until they are used up, and closes it. Calls `look` with each snapshot.
///
/// Needs a paused clock: it sleeps for minutes.
pub async fn against_hostile_replies(bytes: &[u8], mut look: impl FnMut(&Snapshot)) {
    let tape = Tape::new(bytes);
    let options = Options::default().with_session_timeout(Duration::from_secs(10));
    let background = Ok(Background::on(Handle::current()));
    let connect = Arc::new(Hostile(tape.clone()));
    let registry = crate::Registry::over(connect, 0, options, background, 0);
    let registration = registry.register(&service(), Instance::new("10.0.0.1", 80));
    let mut watch = registry.watch(&service());
    for _ in 0..4 {
        let asked = async {
            // What is refused, or not answered in time, is what this is about.
            let _ = registry.lookup(&service()).await;
            let _ = registry.services().await;
            let _ = registration.update(|attributes| attributes.status = Status::Draining).await;
        };
        let _ = timeout(Duration::from_secs(30), asked).await;
        while let Ok(Ok(snapshot)) = timeout(Duration::from_secs(5), watch.changed()).await {
            look(snapshot);
        }
    }
    registration.withdraw(Duration::from_secs(5)).await;
    registry.close(Duration::from_secs(5)).await;
    look(watch.current());
}

fn service() -> ServiceName {
    "time".parse().expect("it is a valid name")
}
