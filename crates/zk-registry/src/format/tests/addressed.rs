//! Kitex, Kratos, Armeria's legacy nodes and Dubbo's applications.

use super::sealed::{Child, Place, Reading};
use super::*;

fn record(format: &dyn Format, instance: &Instance) -> Result<(String, String), Error> {
    let (service, id) = (service(), instance.id().unwrap());
    let place = Place { service: &service, id: &id, owner: &owner(), registered: UNIX_EPOCH };
    let record = format.record(&place, instance)?;
    Ok((record.name.to_string(), String::from_utf8(record.data).unwrap()))
}

fn said(format: &dyn Format, name: &str, data: &str) -> Result<Option<String>, String> {
    let child = Child { directory: 0, name: &name.parse().unwrap(), data: data.as_bytes() };
    Ok(match format.read(&service(), child)? {
        Reading::Member(Decoded { instance, .. }) => Some(summary(&instance)),
        _ => None,
    })
}

#[test]
fn kitex_is_read_and_written() {
    let is = |name: &str, data: &str, expected: &str| {
        assert_eq!(said(&Kitex, name, data).unwrap().unwrap(), expected, "{name} {data}");
    };
    is(
        "10.0.0.1:80",
        r#"{"Weight":20,"Tags":{"k":"v","zone":"a"}}"#,
        "10.0.0.1:80 weight 20 zone a metadata k=v",
    );
    is("10.0.0.1:80", r#"{"Weight":0,"Tags":null}"#, "10.0.0.1:80 weight 10");
    is("2001:db8::1:80", r#"{"Weight":-1}"#, "[2001:db8::1]:80 weight 10");
    is("[2001:db8::1]:80", "{}", "[2001:db8::1]:80 weight 10");
    for (name, data) in [
        ("10.0.0.1:80", ""),
        ("10.0.0.1:80", "[]"),
        ("providers", "{}"),
        ("h:0", "{}"),
        ("h:1", r#"{"Weight":"1"}"#),
    ] {
        assert!(said(&Kitex, name, data).is_err(), "{name} {data}");
    }
    let instance = Instance::new("10.0.0.1", 80);
    assert_eq!(
        record(&Kitex, &instance).unwrap(),
        ("10.0.0.1:80".into(), r#"{"Weight":10,"Tags":null}"#.into())
    );
    let full =
        instance.clone().with_weight(NonZeroU16::new(2).unwrap()).with_zone("a").with_metadata("k", "v");
    assert_eq!(record(&Kitex, &full).unwrap().1, r#"{"Weight":20,"Tags":{"k":"v","zone":"a"}}"#);
    for bad in [
        Instance::new("2001:db8::1", 80),
        instance.clone().with_ssl_port(1),
        instance.with_metadata("zone", "x"),
    ] {
        assert_eq!(record(&Kitex, &bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn kratos_is_read_and_written() {
    let data = |endpoints: &str| {
        format!(
            r#"{{"id":"i1","name":"time","version":"v1","metadata":{{"weight":"10","k":"v"}},"endpoints":[{endpoints}]}}"#
        )
    };
    let is = |format: &str, endpoints: &str, expected: &str| {
        let said = said(&*named(format).unwrap(), "i1", &data(endpoints)).unwrap();
        assert_eq!(said.unwrap(), expected, "{format} {endpoints}");
    };
    let both = r#""http://10.0.0.1:8000","grpc://10.0.0.1:9000""#;
    is("kratos", both, "10.0.0.1:9000 weight 10 metadata k=v metadata version=v1");
    is("kratos:scheme=http", both, "10.0.0.1:8000 weight 10 metadata k=v metadata version=v1");
    is("kratos", r#""grpc://h:1","grpcs://h:2""#, "h:1 tls 2 weight 10 metadata k=v metadata version=v1");
    is("kratos", r#""grpc://h:1?isSecure=true""#, "h:0 tls 1 weight 10 metadata k=v metadata version=v1");
    assert!(said(&Kratos::default(), "i1", &data("")).is_err());
    assert!(said(&Kratos::default(), "i1", "null").is_err());
    assert_eq!(said(&Kratos::default(), "i1", r#"{"name":"other","endpoints":[]}"#), Ok(None));
    let plain = r#"{"name":"time","metadata":null,"endpoints":["grpc://h:1"]}"#;
    assert_eq!(said(&Kratos::default(), "i1", plain), Ok(Some("h:1 weight 100".into())));

    let instance =
        Instance::new("10.0.0.1", 9000).with_ssl_port(9443).with_zone("a").with_metadata("version", "v1");
    let expected = r#"{"id":"10.0.0.1:9000","name":"time","version":"v1","metadata":{"zone":"a"},"endpoints":["grpc://10.0.0.1:9000","grpcs://10.0.0.1:9443"]}"#;
    assert_eq!(record(&Kratos::default(), &instance).unwrap().1, expected);
    assert!(record(&Kratos::default(), &instance.with_metadata("weight", "2")).is_err());
    assert!(Kratos::default().directories(&"a/b".parse().unwrap()).is_err());
}

#[test]
fn armeria_is_read_and_written() {
    for (data, expected) in
        [("h", "h:0 weight 1000"), ("h:80", "h:80 weight 1000"), ("h:80:500", "h:80 weight 500")]
    {
        assert_eq!(said(&Armeria, "h_80", data).unwrap().unwrap(), expected);
    }
    for bad in ["", ":80", "h:80:1:2", "h:x", "h:80:x", "2001:db8::1:80"] {
        assert!(said(&Armeria, "h_80", bad).is_err(), "{bad}");
    }
    let instance = Instance::new("10.0.0.1", 80);
    assert_eq!(record(&Armeria, &instance).unwrap(), ("10.0.0.1_80".into(), "10.0.0.1:80:1000".into()));
    assert!(record(&Armeria, &instance.with_zone("a")).is_err());
}

#[test]
fn applications_of_dubbo_s_are_read_and_never_written() {
    let record_of = include_str!("../fixtures/dubbo-app/dubbo-app-27.json");
    let two = record_of.replace(
        r#"[{\"port\":20880,\"protocol\":\"dubbo\"}]"#,
        r#"[{\"port\":20880,\"protocol\":\"dubbo\"},{\"port\":50051,\"protocol\":\"tri\"}]"#,
    );
    for (format, data, address) in [
        ("dubbo-app", record_of, "10.0.0.1:20880"),
        ("dubbo-app:protocol=dubbo", record_of, "10.0.0.1:20880"),
        ("dubbo-app:protocol=tri", two.as_str(), "10.0.0.1:50051"),
        ("dubbo-app:protocol=rest", two.as_str(), "10.0.0.1:20880"),
    ] {
        let said = said(&*named(format).unwrap(), "10.0.0.1:20880", data).unwrap().unwrap();
        assert!(said.starts_with(address), "{format}: {said}");
    }
    let without = record_of.replace("9b60256edb64a2f1c9d0f1d1d6a1f6d5", "0");
    assert_eq!(said(&DubboApp::default(), "a", &without), Ok(None));
    assert_eq!(said(&DubboApp::default(), "a", r#"{"address":"h","port":1}"#), Ok(None));
    assert_eq!(record(&DubboApp::default(), &Instance::new("h", 1)).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_word_s_parameters_are_known_once_and_whole() {
    for good in NAMES {
        assert_eq!(named(good).unwrap().name(), good);
    }
    for (bad, why) in [
        ("json", "use one of armeria"),
        ("dubbo:grup=g", "it has group, version, protocol"),
        ("dubbo:group", "key=value"),
        ("dubbo:group=", "key=value"),
        ("dubbo:group=a,group=b", "once"),
        ("curator:x=1", "no parameters"),
    ] {
        let error = named(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}
