//! Serversets and nerve, whose nodes are numbered.

use std::sync::Arc;

use super::sealed::{Child, Place, Reading};
use super::*;

fn record(format: &dyn Format, instance: &Instance) -> Result<(String, String), Error> {
    let (service, id) = (service(), instance.id().unwrap());
    let place = Place { service: &service, id: &id, owner: &owner(), registered: UNIX_EPOCH };
    let record = format.record(&place, instance)?;
    Ok((record.name.to_string(), String::from_utf8(record.data).unwrap()))
}

fn read(format: &dyn Format, name: &str, data: &[u8]) -> Result<Reading, String> {
    format.read(&service(), Child { directory: 0, name: &name.parse().unwrap(), data })
}

#[test]
fn what_gson_and_python_wrote_is_read() {
    for (data, expected) in [
        (include_str!("../fixtures/serverset/serverset-gson-minimal.json"), "10.0.0.1:8080 weight 100"),
        (
            include_str!("../fixtures/serverset/serverset-gson-full.json"),
            "10.0.0.1:8080 weight 100 zone a metadata shard=7",
        ),
        (
            include_str!("../fixtures/serverset/serverset-python27.json"),
            "10.0.0.1:8080 weight 100 metadata shard=3",
        ),
    ] {
        let decoded = decode(&ServerSet::default(), "member_0000000001", data.as_bytes()).unwrap();
        assert_eq!(summary(&decoded.instance), expected);
        let http = named("serverset:endpoint=http").unwrap();
        let named =
            decode(&*http, "member_0000000001", data.as_bytes()).map(|decoded| decoded.instance.port());
        assert_eq!(named.ok(), data.contains("\"http\"").then_some(8081));
    }
}

#[test]
fn a_member_is_written_as_gson_does_under_a_number_of_its_own() {
    let instance = Instance::new("10.0.0.1", 8080);
    let (name, data) = record(&ServerSet::default(), &instance).unwrap();
    assert_eq!(data, include_str!("../fixtures/serverset/serverset-gson-minimal.json").trim_end());
    let digits = name.strip_prefix("member_").unwrap();
    assert!((11..=19).contains(&digits.len()) && digits.parse::<i64>().is_ok(), "{name}");
    let (other, data) =
        record(&ServerSet::default(), &instance.clone().with_zone("a").with_metadata("shard", "7")).unwrap();
    assert_ne!(other, name, "what says something else has another name");
    assert!(data.ends_with(r#""status":"ALIVE","shard":7,"metadata":{"zone":"a"}}"#), "{data}");
    for bad in [
        instance.clone().with_weight(NonZeroU16::new(2).unwrap()),
        instance.clone().with_metadata("zone", "a"),
        instance.with_metadata("shard", "x"),
    ] {
        assert_eq!(record(&ServerSet::default(), &bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn a_member_counts_by_its_status() {
    let data = |rest: &str| {
        format!(r#"{{"serviceEndpoint":{{"host":"h","port":1}},"additionalEndpoints":{{}}{rest}}}"#)
    };
    for status in ["DEAD", "STARTING", "STOPPING", "STOPPED", "WARNING"] {
        let record = data(&format!(r#","status":"{status}""#));
        let decoded = decode(&ServerSet::default(), "member_1", record.as_bytes()).unwrap();
        assert_eq!(decoded.instance.status(), Status::Draining, "{status}");
    }
    for bad in [
        data(""),
        data(r#","status":"alive""#),
        r#"{"serviceEndpoint":{"host":"h","port":"1"},"status":"ALIVE"}"#.to_owned(),
        r#"{"serviceEndpoint":{"host":"h","port":1.5},"status":"ALIVE"}"#.to_owned(),
        "\0\x01binary Thrift".to_owned(),
        String::new(),
        "[]".to_owned(),
    ] {
        assert!(decode(&ServerSet::default(), "member_1", bad.as_bytes()).is_err(), "{bad}");
    }
    for ignored in ["singleton_candidate_0000000001", "x"] {
        assert!(matches!(read(&ServerSet::default(), ignored, b"x"), Ok(Reading::Ignored)));
    }
}

#[test]
fn vectors_multiply_and_hide() {
    let format = ServerSet::default();
    let member = Instance::new("10.0.0.1", 8080)
        .with_weight(NonZeroU16::new(100).unwrap())
        .with_metadata("shard", "7");
    let apply = |vectors: &[&str]| {
        let rules: Vec<_> = vectors
            .iter()
            .map(|entries| {
                match read(&format, "vector_a", format!(r#"{{"vector":[{entries}]}}"#).as_bytes()) {
                    Ok(Reading::Rules(rules)) => Arc::new(rules),
                    other => panic!("{entries}: {other:?}"),
                }
            })
            .collect();
        let name = "member_0000000012".parse().unwrap();
        let after = format.apply(&rules, &name, &member).unwrap_or_else(|| member.clone());
        (after.weight().get(), after.status())
    };
    let inet = r#"{"select":"inet=10.0.0.1:8080","weight":0.5,"priority":1}"#;
    assert_eq!(apply(&[inet]), (50, Status::Up));
    assert_eq!(apply(&[inet, r#"{"select":"member=member_0000000012","weight":1.5}"#]), (75, Status::Up));
    assert_eq!(apply(&[r#"{"select":"shard=7","weight":-1.0}"#]), (100, Status::Draining));
    assert_eq!(apply(&[r#"{"select":"shard=8","weight":-1.0}"#]), (100, Status::Up));
    assert_eq!(apply(&[r#"{"select":"shard=7","weight":2}"#]), (100, Status::Up), "a whole number is 1.0");
    assert_eq!(apply(&[r#"{"select":"inet=10.0.0.1:*","weight":0.1}"#]), (10, Status::Up));
    assert_eq!(
        apply(&[r#"{"select":"inet=10.0.0.1:8080:1","weight":0.1},{"select":"rack=a","weight":0.1},7"#]),
        (100, Status::Up)
    );
    assert_eq!(apply(&[r#"{"select":"shard=7","weight":1e300}"#]), (65535, Status::Up));
    assert!(read(&format, "vector_a", b"{}").is_err());
}

/// Put together by nerve's rules: name, data, and what it says.
const NERVE: [(&str, &str, &str); 5] = [
    (
        "i-0a1b2c3d_0000000007",
        r#"{"host":"10.0.0.1","port":8080,"name":"i-0a1b2c3d","weight":10,"haproxy_server_options":"check inter 2s","labels":{"az":"us-east-1a","region":"us-east-1"}}"#,
        "10.0.0.1:8080 weight 10 zone us-east-1a metadata region=us-east-1",
    ),
    ("i-1_", r#"{"host":"h","port":"80","name":"i-1"}"#, "h:80"),
    ("i-1_0000000001", r#"{"host":"h","port":80,"name":"i-1","weight":0}"#, "h:80 draining"),
    // {"host":"h_?","port":80}
    ("base64_32_eyJob3N0IjoiaF8_IiwicG9ydCI6ODB9_0000000001", "junk", "h_?:80"),
    ("base64_99_broken_0000000001", r#"{"host":"h","port":80}"#, "h:80"),
];

#[test]
fn both_forms_of_nerve_s_names_are_read() {
    for (name, data, expected) in NERVE {
        let decoded =
            decode(&Nerve::default(), name, data.as_bytes()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(summary(&decoded.instance), expected, "{name}");
    }
    for bad in ["{}", "", "null", r#"{"host":"h"}"#, r#"{"host":"h","port":0}"#, r#"{"host":1,"port":1}"#] {
        assert!(decode(&Nerve::default(), "i_1", bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn nerve_is_written_with_a_number_and_drains_by_weight_0() {
    let instance = Instance::new("10.0.0.1", 8080).with_zone("b").with_metadata("region", "r");
    let (name, data) = record(&Nerve::default(), &instance).unwrap();
    assert!(name.starts_with("10.0.0.1:8080_") && name.len() > "10.0.0.1:8080_".len() + 10, "{name}");
    assert_eq!(
        data,
        r#"{"host":"10.0.0.1","port":8080,"name":"10.0.0.1:8080","labels":{"az":"b","region":"r"}}"#
    );
    assert_eq!(
        summary(&decode(&Nerve::default(), &name, data.as_bytes()).unwrap().instance),
        summary(&instance)
    );
    let draining = Attributes { status: Status::Draining, ..Attributes::default() };
    let (_, data) = record(&Nerve::default(), &instance.with_attributes(draining)).unwrap();
    assert!(data.contains(r#""weight":0"#), "{data}");
}
