use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use uuid::Uuid;

use super::sealed::{Codec, Decoded, Drain, NodeKind, Owner, Parents};
use super::*;
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, Instance, InstanceId, ServiceName, Status};

mod addressed;
mod amend;
mod dubbo;
mod motan;
mod mutations;
mod numbered;
mod spring;

fn id(id: &str) -> InstanceId {
    id.parse().unwrap()
}

fn service() -> ServiceName {
    "time".parse().unwrap()
}

fn owner() -> Owner {
    let incarnation = Uuid::parse_str("7f1d0c1e-0000-4000-8000-000000000001").unwrap();
    Owner { host: Some("0e2f-4026531840-node7".to_owned()), incarnation }
}

fn encode(format: &dyn Format, instance: &Instance) -> Result<String, Error> {
    let registered = UNIX_EPOCH + Duration::from_millis(1_795_348_502_058);
    let id = instance.id().unwrap();
    format
        .encode(&service(), &id, instance, &owner(), registered)
        .map(|bytes| String::from_utf8(bytes).unwrap())
}

fn decode(format: &dyn Format, name: &str, data: &[u8]) -> Result<Decoded, String> {
    format.decode(&service(), &id(name).into(), data)
}

/// What was read, in the words of the table of fixtures.
fn summary(instance: &Instance) -> String {
    let mut text = instance.address();
    let mut add = |part: String| text.push_str(&part);
    if let Some(port) = instance.ssl_port() {
        add(format!(" tls {port}"));
    }
    if instance.weight() != NonZeroU16::MIN {
        add(format!(" weight {}", instance.weight()));
    }
    if let Some(zone) = instance.zone() {
        add(format!(" zone {zone}"));
    }
    if instance.status() == Status::Draining {
        add(" draining".to_owned());
    }
    for (key, value) in instance.metadata() {
        add(format!(" metadata {key}={value}"));
    }
    text
}

/// `%XX` to the byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

const TABLE: &str = include_str!("../fixtures/curator/table.tsv");

#[test]
fn what_curator_accepts_is_read_and_what_it_rejects_is_rejected() {
    let mut labels = BTreeSet::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.splitn(4, '\t');
        let [verdict, label, expected, data] = [(); 4].map(|()| columns.next().unwrap());
        assert!(labels.insert(label), "twice: {label}");
        for format in [&Curator as &dyn Format, &CuratorStrict] {
            match (verdict, decode(format, "node", &unescape(data))) {
                ("ok", Ok(decoded)) => {
                    assert_eq!(summary(&decoded.instance), expected, "{label}");
                    assert_eq!(decoded.instance.explicit_id(), Some(&id("node")), "{label}");
                }
                ("no", Err(reason)) => assert!(reason.starts_with(expected), "{label}: {reason}"),
                (_, got) => panic!("{label}: {got:?}"),
            }
        }
    }
    assert!(labels.len() > 80);
}

#[test]
fn what_curator_wrote_is_read() {
    for (data, expected) in [
        (include_str!("../fixtures/curator/compatible.json"), "10.0.0.1:8080"),
        (include_str!("../fixtures/curator/disabled-with-uri-spec.json"), "10.0.0.1:8080 tls 8443 draining"),
        (include_str!("../fixtures/curator/full.json"), "10.0.0.1:80 tls 443"),
        (include_str!("../fixtures/curator/no-payload.json"), "127.0.0.1:8897"),
        (include_str!("../fixtures/curator/object-payload.json"), "127.0.0.1:8897"),
    ] {
        let decoded = decode(&Curator, "node", data.as_bytes()).unwrap();
        assert_eq!(summary(&decoded.instance), expected);
        assert_eq!(decoded.owner, None);
    }
}

#[test]
fn the_nine_fields_are_byte_for_byte_what_curator_writes() {
    let written = CuratorStrict.encode(
        &"nopayload".parse().unwrap(),
        &id("a"),
        &Instance::new("127.0.0.1", 8897),
        &owner(),
        UNIX_EPOCH + Duration::from_millis(1_795_348_502_058),
    );
    assert_eq!(
        String::from_utf8(written.unwrap()).unwrap(),
        include_str!("../fixtures/curator/no-payload.json")
    );
}

/// Every version of our own key that was ever released stays readable; the newest is what we write.
mod our_key {
    use super::*;

    fn full() -> Instance {
        Instance::new("2001:db8::1", 8897)
            .with_ssl_port(8443)
            .with_weight(NonZeroU16::new(7).unwrap())
            .with_zone("zone-a")
            .with_metadata("emoji", "\u{1f600}")
            .with_metadata("quote", "\"/\u{1f}")
            .with_metadata("text", "héllo 世界")
    }

    fn draining(instance: Instance) -> Instance {
        let attributes = Attributes { status: Status::Draining, ..instance.attributes().clone() };
        instance.with_attributes(attributes)
    }

    #[test]
    fn version_1_is_read() {
        let full_record = include_bytes!("../fixtures/ours/v1-full.json");
        let decoded = decode(&Curator, "[2001:db8::1]:8897", full_record).unwrap();
        assert_eq!(decoded.instance, draining(full()).with_id(id("[2001:db8::1]:8897")));
        assert_eq!(decoded.owner, Some(owner()));

        let defaults = include_bytes!("../fixtures/ours/v1-defaults.json");
        let decoded = decode(&Curator, "127.0.0.1:8897", defaults).unwrap();
        assert_eq!(summary(&decoded.instance), "127.0.0.1:8897");
        assert_eq!(decoded.owner, Some(Owner { host: None, ..owner() }));
    }

    #[test]
    fn version_1_is_written() {
        let registered = UNIX_EPOCH + Duration::from_millis(1_795_348_502_058);
        let written = |service: &str, instance: &Instance, owner: &Owner| {
            let id = instance.id().unwrap();
            let bytes = Curator.encode(&service.parse().unwrap(), &id, instance, owner, registered);
            String::from_utf8(bytes.unwrap()).unwrap()
        };
        assert_eq!(
            written("com/example/time", &draining(full()), &owner()),
            include_str!("../fixtures/ours/v1-full.json")
        );
        assert_eq!(
            written("time", &Instance::new("127.0.0.1", 8897), &Owner { host: None, ..owner() }),
            include_str!("../fixtures/ours/v1-defaults.json")
        );
    }
}

#[test]
fn characters_are_escaped_as_jackson_does() {
    let instance =
        Instance::new("h", 1).with_zone("\u{1}\u{1f}\u{7f}\t\u{8}/\\\"é世\u{2028}\u{1f600}x\u{10ffff}");
    let written = encode(&Curator, &instance).unwrap();
    let expected = "\"zone\":\"\\u0001\\u001F\u{7f}\\t\\b/\\\\\\\"é世\u{2028}\\uD83D\\uDE00x\\uDBFF\\uDFFF\"";
    assert!(written.contains(expected), "{written}");
}

#[test]
fn what_a_format_cannot_carry_is_refused_by_name() {
    let instance = || Instance::new("10.0.0.1", 80);
    let two = NonZeroU16::new(2).unwrap();
    for format in [&CuratorStrict as &dyn Format, &Plain] {
        for (instance, what) in [
            (instance().with_weight(two), "a weight"),
            (instance().with_zone("a"), "a zone"),
            (instance().with_metadata("a", "b"), "metadata"),
        ] {
            let error = encode(format, &instance).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(format.name()), "{text}");
            assert!(encode(&Curator, &instance).is_ok());
        }
        assert_eq!(format.carries().drain, Drain::Remove);
    }
    assert_eq!(Curator.carries().drain, Drain::Record);
}

#[test]
fn a_plain_node_is_its_name() {
    assert_eq!(encode(&Plain, &Instance::new("10.0.0.1", 80)).unwrap(), "");
    for (name, address) in [
        ("127.0.0.1:8897", "127.0.0.1:8897"),
        ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
        ("time.example:80", "time.example:80"),
    ] {
        for data in ["", "anything", "\0"] {
            let decoded = decode(&Plain, name, data.as_bytes()).unwrap();
            assert_eq!(summary(&decoded.instance), address);
            assert_eq!(decoded.instance.id().unwrap(), id(name));
        }
    }
    for bad in ["time", "time:x", "time:0", "::1:80", ":80", "a b:80", "[::1]"] {
        let reason = decode(&Plain, bad, b"").unwrap_err();
        assert!(reason.starts_with("the name is no address: "), "{bad}: {reason}");
    }
}

#[test]
fn a_plain_name_must_be_the_address() {
    let instance = Instance::new("10.0.0.1", 80);
    for bad in [
        instance.clone().with_id(id("i-7")),
        instance.with_ssl_port(443),
        Instance::new("10.0.0.1", 0),
        Instance::new("no name", 80),
    ] {
        assert_eq!(encode(&Plain, &bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn a_node_that_belongs_to_the_tree_is_told_from_an_instance() {
    let node = |ephemeral, children| NodeKind { ephemeral, children };
    for format in [&Curator as &dyn Format, &CuratorStrict] {
        assert!(format.is_namespace(node(false, 0), b""));
        assert!(format.is_namespace(node(false, 1), b"{}"));
        assert!(!format.is_namespace(node(true, 0), b""));
        assert!(!format.is_namespace(node(false, 0), b"{}"));
        assert_eq!(format.parents(), Parents::Container);
    }
    assert!(Plain.is_namespace(node(false, 1), b""));
    assert!(!Plain.is_namespace(node(false, 0), b""));
    assert_eq!(Plain.parents(), Parents::Persistent);
}

#[test]
fn formats_are_chosen_by_name() {
    for name in ["curator", "curator-strict", "plain", "spring"] {
        assert_eq!(named(name).unwrap().name(), name);
    }
    assert_eq!(named("json").unwrap_err().kind(), ErrorKind::Invalid);
}

prop_compose! {
    fn any_attributes()(
        weight: NonZeroU16,
        zone: Option<String>,
        draining: bool,
        metadata in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
    ) -> Attributes {
        let status = if draining { Status::Draining } else { Status::Up };
        Attributes { weight, zone, status, metadata: BTreeMap::from_iter(metadata) }
    }
}

prop_compose! {
    fn any_instance()(host: String, port: u16, ssl_port in proptest::option::of(1u16..)) -> Instance {
        let instance = Instance::new(host, port);
        ssl_port.map_or_else(|| instance.clone(), |port| instance.clone().with_ssl_port(port)).with_id(id("node"))
    }
}

/// Texts that come close to a record.
fn nearly_records() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u",
        "d83d",
        "null",
        "true",
        "1",
        "-",
        ".5",
        "1e999",
        " ",
        "\"port\":",
        "\"enabled\":",
        "\"payload\":",
        "\"address\":",
        "\"zk-registry\":{",
        "\"v\":1",
        "\"owner\":",
        "\"metadata\":{",
        "\"weight\":",
        "\u{feff}",
        "é",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn what_curator_format_writes_it_reads(
        instance in any_instance(),
        attributes in any_attributes(),
        host: Option<String>,
        incarnation: u128,
    ) {
        let instance = instance.with_attributes(attributes);
        let owner = Owner { host, incarnation: Uuid::from_u128(incarnation) };
        let data = Curator.encode(&service(), &id("node"), &instance, &owner, UNIX_EPOCH).unwrap();
        prop_assert_eq!(decode(&Curator, "node", &data), Ok(Decoded { instance, owner: Some(owner) }));
    }

    #[test]
    fn what_strict_writes_both_read(instance in any_instance()) {
        let data = CuratorStrict.encode(&service(), &id("node"), &instance, &owner(), UNIX_EPOCH).unwrap();
        let expected = Ok(Decoded { instance, owner: None });
        prop_assert_eq!(&decode(&Curator, "node", &data), &expected);
        prop_assert_eq!(&decode(&CuratorStrict, "node", &data), &expected);
    }

    #[test]
    fn what_plain_writes_it_reads(host in "[a-z][a-z0-9.-]{0,9}|10\\.0\\.0\\.[0-9]|2001:db8::[1-9a-f]{1,4}", port in 1u16..) {
        let instance = Instance::new(host, port);
        prop_assert_eq!(encode(&Plain, &instance).unwrap(), "");
        let id = instance.id().unwrap();
        let expected = Ok(Decoded { instance: instance.with_id(id.clone()), owner: None });
        prop_assert_eq!(decode(&Plain, id.as_str(), b""), expected);
    }

    #[test]
    fn no_bytes_panic(data: Vec<u8>, name in "[^/]{1,12}", text in nearly_records()) {
        if let Ok(id) = name.parse() {
            let _whatever = Plain.decode(&service(), &id, &data);
        }
        let _whatever = decode(&Curator, "node", &data);
        let _whatever = decode(&Curator, "node", text.as_bytes());
        let _whatever = decode(&Curator, "node", format!("{{\"port\":{text}").as_bytes());
    }
}
