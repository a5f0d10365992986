//! Motan's servers, in both encodings and both directories.

use super::sealed::{Child, Place, Reading};
use super::*;

const TEXT: &[u8] = include_bytes!("../fixtures/motan/motan-string.bin");
const JAVA: &[u8] = include_bytes!("../fixtures/motan/motan-java-serialized.bin");

fn interface() -> ServiceName {
    "com.example.TimeService".parse().unwrap()
}

fn read(format: &dyn Format, directory: usize, name: &str, data: &[u8]) -> Option<String> {
    match format.read(&interface(), Child { directory, name: &name.parse().unwrap(), data }) {
        Ok(Reading::Member(Decoded { instance, .. })) => Some(summary(&instance)),
        Ok(Reading::Ignored) => None,
        other => panic!("{other:?}"),
    }
}

fn record(format: &dyn Format, instance: &Instance) -> Result<(String, String, Vec<u8>), Error> {
    let (service, id) = (interface(), instance.id().unwrap());
    let place = Place { service: &service, id: &id, owner: &owner(), registered: UNIX_EPOCH };
    let record = format.record(&place, instance)?;
    Ok((record.directory.to_string(), record.name.to_string(), record.data))
}

#[test]
fn what_the_jdk_and_a_text_writer_wrote_is_read() {
    for data in [TEXT, JAVA] {
        assert_eq!(read(&Motan::default(), 0, "10.0.0.1:8002", data).unwrap(), "10.0.0.1:8002 weight 10");
        assert_eq!(
            read(&Motan::default(), 1, "10.0.0.1:8002", data).unwrap(),
            "10.0.0.1:8002 weight 10 draining"
        );
    }
    // motan-go: the group first, nothing encoded, no `&` at the end.
    let go = b"motan2://10.0.0.1:8002/com.example.TimeService?group=g&nodeType=service&META_WEIGHT=30&META_ZONE=a&x=1";
    assert_eq!(
        read(&Motan::default(), 0, "10.0.0.1:8002", go).unwrap(),
        "10.0.0.1:8002 weight 30 zone a metadata x=1"
    );
}

#[test]
fn without_a_url_the_name_says_everything_and_another_url_is_ignored() {
    for data in [&b""[..], b"junk", b"\xac\xed\x00\x05\x70", b"\xff\xff"] {
        assert_eq!(read(&Motan::default(), 0, "10.0.0.1:8002", data).unwrap(), "10.0.0.1:8002 weight 10");
    }
    for (format, counts) in [
        ("motan", true),
        ("motan:protocol=motan2", true),
        ("motan:protocol=motan", true),
        ("motan:protocol=grpc", false),
        ("motan:version=2.0", false),
    ] {
        assert_eq!(read(&*named(format).unwrap(), 0, "10.0.0.1:8002", JAVA).is_some(), counts, "{format}");
    }
    let client = b"motan2://10.0.0.1:0/com.example.TimeService?nodeType=referer&";
    assert_eq!(read(&Motan::default(), 0, "10.0.0.1:1", client), None);
}

#[test]
fn the_record_is_what_the_jdk_would_write_and_the_directory_its_status() {
    let instance = Instance::new("10.0.0.1", 8002);
    let format = named("motan:group=time-rpc,application=time-server").unwrap();
    let (directory, name, data) = record(&*format, &instance).unwrap();
    assert_eq!((directory.as_str(), name.as_str()), ("com.example.TimeService/server", "10.0.0.1:8002"));
    assert_eq!(data, JAVA);
    let text = named("motan:group=time-rpc,application=time-server,data=text").unwrap();
    assert_eq!(record(&*text, &instance).unwrap().2, TEXT);

    let status = Attributes { status: Status::Draining, ..Attributes::default() };
    let (directory, ..) = record(&*format, &instance.with_attributes(status)).unwrap();
    assert_eq!(directory, "com.example.TimeService/unavailableServer");
}

#[test]
fn what_motan_cannot_carry_is_refused() {
    let instance = || Instance::new("10.0.0.1", 80);
    for bad in [
        Instance::new("2001:db8::1", 80),
        Instance::new("10.0.0.1", 0),
        instance().with_ssl_port(443),
        instance().with_weight(NonZeroU16::new(51).unwrap()),
        instance().with_metadata("group", "x"),
        instance().with_id(id("other")),
    ] {
        assert_eq!(record(&Motan::default(), &bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert!(named("motan:data=xml").is_err());
}

#[test]
fn both_directories_are_of_the_service() {
    let directories = Motan::default().directories(&interface()).unwrap();
    for directory in &directories {
        assert_eq!(Motan::default().service_of(directory), Some(interface()));
    }
    assert_eq!(Motan::default().service_of(&"a/client".parse().unwrap()), None);
}

proptest! {
    #[test]
    fn what_motan_format_writes_it_reads(port in 1u16.., weight in 1u16..=50, zone in proptest::option::of("[^\\p{C}]{1,8}"), metadata in prop::collection::btree_map("x.{0,6}", any::<String>(), 0..4)) {
        let attributes = Attributes { weight: NonZeroU16::new(weight).unwrap(), zone, status: Status::Up, metadata };
        let instance = Instance::new("h", port).with_attributes(attributes);
        for format in ["motan", "motan:data=text"] {
            let format = named(format).unwrap();
            let (_, name, data) = record(&*format, &instance).unwrap();
            let decoded = decode(&*format, &name, &data).unwrap().instance;
            prop_assert_eq!(decoded.weight().get(), weight * 10);
            prop_assert_eq!((decoded.zone(), decoded.metadata()), (instance.zone(), instance.metadata()));
        }
    }
}
