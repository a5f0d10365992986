//! A file that says how services were at another time: what `zkr list --output json` wrote, or a registry's snapshot file.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU16;
use std::path::Path;

use serde::Deserialize;
use zk_registry::cli::UsageError;
use zk_registry::{Attributes, BasePath, Instance, InstanceId, ServiceName, Snapshot, Status};

use crate::snapshot_file;

/// A line of what `zkr list` wrote. Nodes that were rejected have no address.
#[derive(Deserialize)]
struct Line {
    service: String,
    id: Option<String>,
    address: Option<String>,
    tls_port: Option<u16>,
    status: Option<String>,
    weight: Option<NonZeroU16>,
    zone: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Which services a file says something about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Covers {
    /// All: one that is not in it was not there.
    Everything,
    /// Those in it.
    Named,
}

/// Reads such a file. A snapshot file says by its path below `base` which service it is about.
pub(crate) fn read(
    path: &Path,
    base: &BasePath,
) -> Result<(BTreeMap<ServiceName, Snapshot>, Covers), UsageError> {
    let wrong = |why: String| UsageError::new("--against-file", format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut services: BTreeMap<ServiceName, Vec<Instance>> = BTreeMap::new();
    if snapshot_file::begins(&text) {
        services.extend([snapshot_file::read(&text, base).map_err(wrong)?]);
        return Ok((snapshots(services), Covers::Named));
    }
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (service, instance) = parse(line).map_err(|why| wrong(format!("line {}: {why}", n + 1)))?;
        services.entry(service).or_default().extend(instance);
    }
    Ok((snapshots(services), Covers::Everything))
}

fn snapshots(services: BTreeMap<ServiceName, Vec<Instance>>) -> BTreeMap<ServiceName, Snapshot> {
    let snapshot = |(service, instances)| {
        let snapshot = Snapshot::fixed(&service, instances);
        (service, snapshot)
    };
    services.into_iter().map(snapshot).collect()
}

fn parse(line: &str) -> Result<(ServiceName, Option<Instance>), String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let said = |error: zk_registry::Error| error.to_string();
    let service = line.service.parse().map_err(said)?;
    let Some((id, address)) = line.id.zip(line.address) else { return Ok((service, None)) };
    let (host, port) = address.rsplit_once(':').ok_or_else(|| format!("{address} is no address"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| format!("{address} is no address"))?;
    let id: InstanceId = id.parse().map_err(said)?;
    let mut attributes = Attributes::default();
    attributes.weight = line.weight.unwrap_or(NonZeroU16::MIN);
    attributes.zone = line.zone;
    attributes.metadata = line.metadata;
    attributes.status = match line.status.as_deref() {
        Some("draining") => Status::Draining,
        _ => Status::Up,
    };
    let instance = Instance::new(host, port).with_id(id).with_attributes(attributes);
    Ok((
        service,
        Some(match line.tls_port {
            Some(port) => instance.with_ssl_port(port),
            None => instance,
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::differences;
    use crate::shown::Shown;

    #[test]
    fn what_was_listed_is_read_as_it_was() {
        let service: ServiceName = "time".parse().unwrap();
        let mut attributes = Attributes::default();
        attributes.status = Status::Draining;
        attributes.weight = NonZeroU16::new(7).unwrap();
        attributes.zone = Some("a".to_owned());
        attributes.metadata.insert("k".to_owned(), "v".to_owned());
        let id = "one".parse().unwrap();
        let instance = Instance::new("::1", 80).with_id(id).with_attributes(attributes).with_ssl_port(443);
        let snapshot = Snapshot::fixed(&service, [instance, Instance::new("h", 1)]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        let lines =
            snapshot.instances().map(|member| serde_json::to_string(&Shown::of(&service, member)).unwrap());
        let rejected = r#"{"service":"time","node":"x","rejected":"no JSON"}"#.to_owned();
        fs::write(&path, lines.chain([rejected]).collect::<Vec<_>>().join("\n")).unwrap();
        let base = BasePath::default();
        let (read, covers) = read(&path, &base).unwrap();
        assert_eq!(covers, Covers::Everything);
        assert_eq!(read.len(), 1);
        assert_eq!(read[&service].len(), 2);
        for (before, after) in snapshot.instances().zip(read[&service].instances()) {
            assert_eq!((before.id(), differences(before, after)), (after.id(), Vec::<String>::new()));
        }
        fs::write(&path, "{}").unwrap();
        assert!(super::read(&path, &base).unwrap_err().to_string().contains("line 1"));
    }
}
