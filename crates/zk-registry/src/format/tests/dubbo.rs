//! Dubbo's names: what real programs wrote, what is written, and what operators' rules make of it.

use super::sealed::{Child, Place, Reading};
use super::*;

/// Writer, kind of node, directory, name and data, as they stood in ZooKeeper.
const NAMES: &str = include_str!("../fixtures/dubbo/names.tsv");

fn interface(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn read(format: &dyn Format, service: &str, directory: usize, name: &str) -> Result<Reading, String> {
    format.read(&interface(service), Child { directory, name: &name.parse().unwrap(), data: b"whatever" })
}

fn member(format: &dyn Format, service: &str, name: &str) -> Option<Instance> {
    match read(format, service, 0, name) {
        Ok(Reading::Member(Decoded { instance, owner: None })) => Some(instance),
        Ok(Reading::Ignored) => None,
        other => panic!("{name}: {other:?}"),
    }
}

fn record(format: &dyn Format, instance: &Instance) -> Result<String, Error> {
    let id = instance.id().unwrap();
    let registered = UNIX_EPOCH + Duration::from_millis(1_663_550_532_949);
    let service = interface("com.foo.Bar$Iface");
    let record =
        format.record(&Place { service: &service, id: &id, owner: &owner(), registered }, instance)?;
    assert_eq!(record.directory.as_str(), "com.foo.Bar%24Iface/providers");
    assert!(record.data.is_empty());
    Ok(record.name.to_string())
}

#[test]
fn what_real_programs_wrote_is_read() {
    let lines = NAMES.lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
    let of = |format: &str, service: &str, row: usize| {
        member(&*named(format).unwrap(), service, rows[row][3]).map(|instance| summary(&instance))
    };
    let python = of("dubbo:version=1.0.0", "com.foo.BarService", 0).unwrap();
    assert!(python.starts_with("10.0.0.1:50051 weight 200 metadata application=demo"), "{python}");
    assert!(python.contains("note=a+b%2Cc"), "decoded once: {python}");
    assert!(of("dubbo:version=1.0.0", "com.leak.Svc", 3).unwrap().starts_with("10.0.0.7:20880 weight 100"));
    let java = of("dubbo:group=g,version=1.0.0", "com.foo.BarService", 4).unwrap();
    assert!(java.starts_with("10.0.0.1:20880 weight 200") && java.contains("methods=sayHello,sayHelloAsync"));
    let ipv6 = of("dubbo", "com.foo.BarService", 5).unwrap();
    assert!(ipv6.starts_with("[2001:db8::1]:50051") && ipv6.contains("a b=c+d*e-f.g_h~i"), "{ipv6}");
    assert!(ipv6.contains("k=é,中"), "{ipv6}");
    for consumer in [1, 2] {
        assert_eq!(of("dubbo:version=*", "com.foo.BarService", consumer), None, "no provider");
    }
}

#[test]
fn group_version_protocol_and_interface_have_to_match() {
    let name =
        "tri%3A%2F%2F10.0.0.1%3A1%2Fctx%2Fcom.foo.Bar%3Finterface%3Dcom.foo.Bar%26group%3Dg%26version%3D2";
    for (format, is_member) in [
        ("dubbo:group=g,version=2", true),
        ("dubbo:group=g,version=2,protocol=tri", true),
        ("dubbo:group=*,version=*", true),
        ("dubbo:group=g,version=2,protocol=dubbo", false),
        ("dubbo:group=g", false),
        ("dubbo:version=2", false),
    ] {
        let format = named(format).unwrap();
        assert_eq!(member(&*format, "com.foo.Bar", name).is_some(), is_member, "{format:?}");
        assert!(member(&*format, "com.foo.Baz", name).is_none());
    }
}

#[test]
fn an_instance_is_written_as_one_url_that_java_reads() {
    let instance = Instance::new("10.0.0.1", 20880)
        .with_weight(NonZeroU16::new(2).unwrap())
        .with_zone("a")
        .with_metadata("note", "héllo, 世界 100%~");
    let format = named("dubbo:group=g,version=1.0.0,protocol=tri,application=time").unwrap();
    let name = record(&*format, &instance).unwrap();
    assert!(name.starts_with(
        "tri%3A%2F%2F10.0.0.1%3A20880%2Fcom.foo.Bar%24Iface%3Fapplication%3Dtime%26deprecated%3Dfalse"
    ));
    for part in
        ["%26timestamp%3D1663550532949%26", "%26weight%3D200%26", "%26side%3Dprovider%26", "%26group%3Dg%26"]
    {
        assert!(name.contains(part), "{part}: {name}");
    }
    let read = member(&*format, "com.foo.Bar$Iface", &name).unwrap();
    assert_eq!((read.weight().get(), read.zone(), read.status()), (200, Some("a"), Status::Up));
    assert_eq!(read.metadata()["note"], "héllo, 世界 100%~");

    let draining = Attributes { status: Status::Draining, ..Attributes::default() };
    let name = record(&*format, &instance.with_attributes(draining)).unwrap();
    assert!(name.contains("%26disabled%3Dtrue%26"), "{name}");
    assert_eq!(member(&*format, "com.foo.Bar$Iface", &name).unwrap().status(), Status::Draining);
}

#[test]
fn what_a_url_cannot_carry_is_refused() {
    let format = named("dubbo").unwrap();
    let instance = || Instance::new("10.0.0.1", 80);
    for bad in [
        instance().with_metadata("k", "a&b"),
        instance().with_metadata("k", "a;b"),
        instance().with_metadata("k", "a#b"),
        instance().with_metadata("k", " a"),
        instance().with_metadata("k", ""),
        instance().with_metadata("a=b", "c"),
        instance().with_metadata("weight", "2"),
        instance().with_metadata("application", "x"),
        instance().with_metadata("my.timestamp", "2"),
        instance().with_metadata("stupid", "2"),
        instance().with_metadata("default.x", "2"),
        instance().with_ssl_port(443),
        instance().with_zone("a&b"),
        instance().with_id(id("other")),
        Instance::new("10.0.0.1", 0),
    ] {
        assert_eq!(record(&*format, &bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert_eq!(named("dubbo:version=a&b").unwrap_err().kind(), ErrorKind::Invalid);
    assert!(record(&*named("dubbo:version=*").unwrap(), &instance()).is_err());
    assert!(format.directories(&interface("a/b")).is_err());
}

#[test]
fn disabled_and_weightless_providers_are_draining() {
    for (parameters, expected) in [
        ("weight=0", "weight 100 draining"),
        ("weight=-1", "weight 100 draining"),
        ("weight=x", "weight 100"),
        ("weight=70000", "weight 65535"),
        ("disabled=true", "weight 100 draining"),
        ("enabled=false", "weight 100 draining"),
        ("disabled=false&enabled=false", "weight 100"),
        ("default.weight=7", "weight 7 metadata default.weight=7"),
        ("weight=7;category=providers", "weight 7"),
    ] {
        let url = format!("dubbo://10.0.0.1:20880/time?{parameters}");
        let name = percent::encode(&url);
        let instance = member(&Dubbo::default(), "time", &name).unwrap();
        assert_eq!(summary(&instance), format!("10.0.0.1:20880 {expected}"), "{parameters}");
    }
}

#[test]
fn a_provider_that_asks_for_a_warm_up_has_one() {
    for (parameters, left) in [
        ("timestamp=1000&warmup=600000", Some(600_000)),
        ("timestamp=1000", None),
        ("warmup=600000", None),
        ("timestamp=1000&warmup=0", None),
        ("timestamp=1000&warmup=-1", None),
        ("timestamp=1000&warmup=99999999999", None),
        ("timestamp=x&warmup=600000", None),
        ("default.timestamp=1000&default.warmup=5", Some(5)),
    ] {
        let name = percent::encode(&format!("dubbo://10.0.0.1:20880/time?{parameters}"));
        let warm_up = member(&Dubbo::default(), "time", &name).unwrap().warm_up();
        let began = UNIX_EPOCH + Duration::from_secs(1);
        let expected = left.map(Duration::from_millis);
        assert_eq!(warm_up.map(|warm_up| warm_up.left(began)), expected, "{parameters}");
        let over = began + Duration::from_secs(601);
        assert!(warm_up.is_none_or(|warm_up| warm_up.left(over).is_zero()), "{parameters}");
    }
}

#[test]
fn a_name_that_java_cannot_read_is_rejected() {
    for bad in [
        "%3A%2F%2Fh%3A1%2Ftime",
        "dubbo%3A%2F%2Fh%3Ax%2Ftime",
        "node",
        "dubbo%3A%2F%2Fh%3A99999%2Ftime",
        "%3F",
    ] {
        assert!(read(&Dubbo::default(), "time", 0, bad).is_err(), "{bad}");
    }
    assert!(read(&Dubbo::default(), "time", 0, "dubbo%3A%2F%2Fh%2Ftime").is_err(), "no port");
}

fn ruled(rules: &[&str], instance: &Instance) -> String {
    summary(&under(rules, instance))
}

/// The instance as these rules make it.
fn under(rules: &[&str], instance: &Instance) -> Instance {
    let format = named("dubbo:group=g,version=1.0.0").unwrap();
    let rules: Vec<_> = rules
        .iter()
        .filter_map(|url| match read(&*format, "time", 1, &percent::encode(url)) {
            Ok(Reading::Rules(rules)) => Some(std::sync::Arc::new(rules)),
            Ok(Reading::Ignored) => None,
            other => panic!("{url}: {other:?}"),
        })
        .collect();
    format.apply(&rules, &"node".parse().unwrap(), instance).unwrap_or_else(|| instance.clone())
}

#[test]
fn overrides_apply_to_the_warm_up_of_a_provider_as_to_its_weight() {
    let rule = |rest: &str| {
        format!("override://10.0.0.1:20880/time?category=configurators&group=g&version=1.0.0&{rest}")
    };
    let absent = |rest: &str| rule(rest).replace("override", "absent");
    let (both, began) = ("timestamp=1000&warmup=5000", "timestamp=1000");
    for (stated, rules, left) in [
        (both, [rule("warmup=9000"), rule("priority=-1&warmup=7000")], Some(9_000)),
        (both, [rule("warmup=0"), rule("enabled=false&warmup=7000")], None),
        (both, [rule("warmup=x"), rule("warmup=7000").replace("10.0.0.1", "10.0.0.2")], Some(5_000)),
        (both, [rule("timestamp=500"), rule("timestamp=x")], Some(4_500)),
        (both, [absent("warmup=9000"), absent("timestamp=500")], Some(5_000)),
        (began, [absent("warmup=9000"), rule("timeout=1")], Some(9_000)),
        (began, [rule("timeout=1"), rule("weight=50")], None),
        ("warmup=5000", [rule("timestamp=1000"), rule("weight=50")], Some(5_000)),
        ("warmup=0", [rule("timestamp=1000"), absent("warmup=5000")], None),
    ] {
        let name = percent::encode(&format!("dubbo://10.0.0.1:20880/time?group=g&version=1.0.0&{stated}"));
        let provider = member(&*named("dubbo:group=g,version=1.0.0").unwrap(), "time", &name).unwrap();
        let [first, second] = &rules;
        let after = under(&[first, second], &provider);
        let at = UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(
            after.warm_up().map(|warm_up| warm_up.left(at)),
            left.map(Duration::from_millis),
            "{stated}: {rules:?}"
        );
        let metadata = after.metadata();
        assert!(["timestamp", "warmup"].iter().all(|key| !metadata.contains_key(*key)), "{metadata:?}");
    }
}

#[test]
fn overrides_apply_to_whom_they_name_and_the_last_one_wins() {
    let weight = NonZeroU16::new(100).unwrap();
    let instance = Instance::new("10.0.0.1", 20880).with_weight(weight).with_metadata("application", "a");
    let here = "override://10.0.0.1:20880/time?category=configurators&dynamic=false&enabled=true&group=g&version=1.0.0";
    let all = "override://0.0.0.0/time?category=configurators&group=*&version=*";
    let is = |rules: &[&str], expected: &str| {
        let rest = if expected.is_empty() { String::new() } else { format!(" {expected}") };
        assert_eq!(ruled(rules, &instance), format!("10.0.0.1:20880{rest}"), "{rules:?}");
    };
    is(&[&format!("{here}&weight=50")], "weight 50 metadata application=a");
    is(&[&format!("{here}&disabled=true")], "weight 100 draining metadata application=a");
    is(&[&format!("{here}&weight=0")], "weight 100 draining metadata application=a");
    is(
        &[&format!("{here}&weight=50&enabled=false").replace("enabled=true&", "")],
        "weight 100 metadata application=a",
    );
    is(&[&format!("{here}&weight=50").replace(":20880", ":1")], "weight 100 metadata application=a");
    is(&[&format!("{here}&weight=50").replace("group=g", "group=h")], "weight 100 metadata application=a");
    is(&[&format!("{all}&weight=50&application=b")], "weight 100 metadata application=a");
    is(&[&format!("{all}&weight=50&application=a&~application=a")], "weight 50 metadata application=a");
    is(&[&format!("{here}&weight=50"), &format!("{all}&weight=60")], "weight 50 metadata application=a");
    is(
        &[&format!("{all}&weight=50&priority=2"), &format!("{all}&weight=60&priority=1")],
        "weight 50 metadata application=a",
    );
    is(
        &[&format!("{all}&timeout=9").replace("override", "absent")],
        "weight 100 metadata application=a metadata timeout=9",
    );
    is(&["route://0.0.0.0/time?category=routers&rule=x"], "weight 100 metadata application=a");
}

#[test]
fn a_directory_is_the_service_of_its_interface() {
    let format = Dubbo::default();
    let directories = format.directories(&interface("com.foo.Bar$Iface")).unwrap();
    let names: Vec<_> = directories.iter().map(ServiceName::as_str).collect();
    assert_eq!(names, ["com.foo.Bar%24Iface/providers", "com.foo.Bar%24Iface/configurators"]);
    assert_eq!(format.service_of(&directories[0]), Some(interface("com.foo.Bar$Iface")));
    for other in
        ["com.foo.Bar/consumers", "com.foo.Bar/configurators", "com.foo.Bar", "providers", "a/b/providers"]
    {
        assert_eq!(format.service_of(&interface(other)), None, "{other}");
    }
}

proptest! {
    #[test]
    fn what_dubbo_format_writes_it_reads(
        host in "[a-z][a-z0-9.-]{0,9}|10\\.0\\.0\\.[0-9]|2001:db8::[1-9a-f]{1,4}",
        port in 1u16..,
        weight in 1u16..600,
        draining: bool,
        zone in proptest::option::of("[a-z0-9é]{1,8}"),
        metadata in prop::collection::btree_map("x[a-z.]{0,6}x", "[^&;#\\p{C}\\s]{1,12}", 0..4),
    ) {
        let status = if draining { Status::Draining } else { Status::Up };
        let attributes = Attributes { weight: NonZeroU16::new(weight).unwrap(), zone, status, metadata };
        let instance = Instance::new(host, port).with_attributes(attributes);
        let name = record(&Dubbo::default(), &instance).unwrap();
        let read = member(&Dubbo::default(), "com.foo.Bar$Iface", &name).unwrap();
        prop_assert_eq!(read.address(), instance.address());
        prop_assert_eq!(read.weight().get(), (u32::from(weight) * 100).min(65535) as u16);
        prop_assert_eq!((read.zone(), read.status()), (instance.zone(), instance.status()));
        for (key, value) in instance.metadata() {
            prop_assert_eq!(&read.metadata()[key], value);
        }
    }
}
