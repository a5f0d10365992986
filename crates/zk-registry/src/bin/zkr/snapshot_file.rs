//! The file in which a registry remembers a service (`Options::snapshot_dir`), read as what that service was at another time.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Deserialize;
use zk_registry::{Attributes, BasePath, Instance, InstanceId, ServiceName, Status};

/// The first line.
#[derive(Deserialize)]
struct Head {
    version: u32,
    /// The service's node.
    root: String,
    instances: usize,
}

/// The lines after it, each an instance.
#[derive(Deserialize)]
struct Line {
    id: String,
    host: String,
    port: u16,
    ssl_port: Option<u16>,
    weight: NonZeroU16,
    zone: Option<String>,
    #[serde(default)]
    draining: bool,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// The last line: a checksum of those before it.
#[derive(Deserialize)]
struct Tail {
    crc32: u32,
}

/// Whether a text begins as such a file.
pub(crate) fn begins(text: &str) -> bool {
    text.starts_with(r#"{"file":"zk-registry snapshot","#)
}

/// The service below `base` that such a file is about, and its instances; or what is wrong with it.
pub(crate) fn read(text: &str, base: &BasePath) -> Result<(ServiceName, Vec<Instance>), String> {
    let damaged = || "it is a snapshot file, and damaged".to_owned();
    let (covered, tail) = text
        .strip_suffix('\n')
        .and_then(|whole| whole.rfind('\n'))
        .map(|end| text.split_at(end + 1))
        .ok_or_else(damaged)?;
    let tail: Tail = serde_json::from_str(tail).map_err(|_| damaged())?;
    let mut lines = covered.lines();
    let head: Head = serde_json::from_str(lines.next().unwrap_or_default()).map_err(|_| damaged())?;
    if head.version != VERSION {
        return Err(format!("it is a snapshot file of version {}, not {VERSION}", head.version));
    }
    let instances: Vec<_> = lines.map(parse).collect::<Result<_, _>>()?;
    if crc32fast::hash(covered.as_bytes()) != tail.crc32 || instances.len() != head.instances {
        return Err(damaged());
    }
    let below = head.root.strip_prefix(base.to_string().trim_end_matches('/'));
    let service = below.and_then(|below| below.strip_prefix('/')).and_then(|below| below.parse().ok());
    let elsewhere =
        || format!("it is about {}, which is no service below {base}: say so with --base", head.root);
    Ok((service.ok_or_else(elsewhere)?, instances))
}

fn parse(line: &str) -> Result<Instance, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let id: InstanceId = line.id.parse().map_err(|error: zk_registry::Error| error.to_string())?;
    let mut attributes = Attributes::default();
    attributes.weight = line.weight;
    attributes.zone = line.zone;
    attributes.metadata = line.metadata;
    attributes.status = if line.draining { Status::Draining } else { Status::Up };
    let instance = Instance::new(line.host, line.port).with_id(id).with_attributes(attributes);
    Ok(match line.ssl_port {
        Some(port) => instance.with_ssl_port(port),
        None => instance,
    })
}

/// The version that is read.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(
        r#"{"file":"zk-registry snapshot","version":1,"cluster":"zk1:2181","root":"/services/a/time","written":1753920000000,"instances":1}"#,
        "\n",
        r#"{"id":"one","host":"::1","port":80,"ssl_port":443,"weight":7,"zone":"a","draining":true,"metadata":{"k":"v"},"incarnation":"5c","session":7,"created":17,"modified":17}"#,
        "\n"
    );

    fn with_checksum(text: &str) -> String {
        format!("{text}{{\"crc32\":{}}}\n", crc32fast::hash(text.as_bytes()))
    }

    #[test]
    fn an_instance_is_read_as_it_was_and_the_service_is_told_by_the_path() {
        let file = with_checksum(FILE);
        assert!(begins(&file) && !begins(r#"{"service":"time"}"#));
        let (service, instances) = read(&file, &BasePath::default()).unwrap();
        assert_eq!((service.as_str(), instances.len()), ("a/time", 1));
        let one = &instances[0];
        assert_eq!((one.address().as_str(), one.ssl_port(), one.weight().get()), ("[::1]:80", Some(443), 7));
        assert_eq!((one.zone(), one.status(), one.metadata().len()), (Some("a"), Status::Draining, 1));
        let (service, _) = read(&file, &"/".parse().unwrap()).unwrap();
        assert_eq!(service.as_str(), "services/a/time");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let wrong = |text: &str, base: &str| read(text, &base.parse().unwrap()).unwrap_err();
        let whole = with_checksum(FILE);
        assert!(wrong(&whole, "/other").contains("--base"));
        for damaged in [&whole.replace(":80,", ":81,"), &whole[..whole.len() - 5], FILE, ""] {
            assert!(wrong(damaged, "/services").contains("damaged"), "{damaged}");
        }
        assert!(wrong(&whole.replace("\"version\":1", "\"version\":2"), "/services").contains("version 2"));
    }
}
