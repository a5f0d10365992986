//! Spring Cloud Zookeeper's records, and what `curator` reads of Spring's and Dubbo's payloads.

use super::*;

/// What Curator's serializer wrote with a class of Spring's or Dubbo's name, and what it says.
const FIXTURES: [(&str, &str); 4] = [
    (include_str!("../fixtures/spring/spring-up.json"), "10.0.0.1:8040"),
    (include_str!("../fixtures/spring/spring-ssl.json"), "10.0.0.1:8040 tls 8443"),
    (include_str!("../fixtures/spring/spring-nested-name.json"), "10.0.0.1:8040"),
    (include_str!("../fixtures/spring/spring-out-of-service.json"), "10.0.0.1:8040 weight 3 zone a draining"),
];

#[test]
fn what_spring_wrote_is_read_by_spring_and_by_curator() {
    for format in [&Spring as &dyn Format, &Curator, &CuratorStrict] {
        for (data, expected) in FIXTURES {
            let decoded = decode(format, "node", data.as_bytes()).unwrap();
            assert_eq!(summary(&decoded.instance), expected);
            assert_eq!(decoded.owner, None);
        }
    }
}

#[test]
fn the_record_is_spring_s_byte_for_byte_but_for_the_owner() {
    for (data, service, node) in [
        (FIXTURES[0].0, "time", "06c0af4c-03c4-4cc1-a702-050303b41b8b"),
        (FIXTURES[1].0, "time", "a"),
        (FIXTURES[2].0, "a/b/time", "a"),
        (FIXTURES[3].0, "time", "a"),
    ] {
        let Decoded { instance, .. } = decode(&Spring, node, data.as_bytes()).unwrap();
        let registered = UNIX_EPOCH + Duration::from_millis(1_795_348_502_058);
        let written = Spring
            .encode(&service.parse().unwrap(), &id(node), &instance, &owner(), registered)
            .map(|bytes| String::from_utf8(bytes).unwrap());
        let written = written.unwrap();
        // The application context's id, which nothing reads, is our instance's id.
        let expected = data.trim_end().replace(r#""id":"time-1""#, &format!(r#""id":"{node}""#));
        let (nine, ours) = written.split_at(expected.len() - 1);
        assert_eq!(nine, &expected[..expected.len() - 1]);
        let draining = if instance.status() == Status::Draining { r#","enabled":false"# } else { "" };
        assert!(ours.starts_with(&format!(r#"{draining},"zk-registry":{{"v":1,"owner":{{"#)), "{ours}");
    }
}

#[test]
fn every_status_of_spring_s_but_up_is_draining() {
    let record = |metadata: &str| {
        format!(
            r#"{{"address":"h","port":1,"payload":{{"metadata":{metadata},"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance"}}}}"#
        )
    };
    for (metadata, expected) in [
        ("null", "h:1"),
        ("{}", "h:1"),
        (r#"{"instance_status":"up"}"#, "h:1"),
        (r#"{"instance_status":""}"#, "h:1"),
        (r#"{"instance_status":null}"#, "h:1"),
        (r#"{"instance_status":"OUT_OF_SERVICE"}"#, "h:1 draining"),
        (r#"{"instance_status":"DOWN"}"#, "h:1 draining"),
        (r#"{"weight":"0"}"#, "h:1"),
        (r#"{"weight":"x"}"#, "h:1"),
        (r#"{"weight":7}"#, "h:1 weight 7"),
        (r#"{"weight":"70000"}"#, "h:1 weight 65535"),
        (r#"{"a":1,"b":true,"c":null,"d":{}}"#, "h:1 metadata a=1 metadata b=true"),
        ("[]", "h:1"),
    ] {
        for format in [&Spring as &dyn Format, &Curator] {
            let decoded = decode(format, "node", record(metadata).as_bytes()).unwrap();
            assert_eq!(summary(&decoded.instance), expected, "{metadata}");
        }
    }
}

#[test]
fn of_dubbo_s_payload_curator_reads_the_metadata() {
    for data in [
        include_str!("../fixtures/dubbo-app/dubbo-app-27.json"),
        include_str!("../fixtures/dubbo-app/dubbo-app-local.json"),
    ] {
        let Decoded { instance, .. } = decode(&Curator, "node", data.as_bytes()).unwrap();
        assert_eq!(instance.metadata()["dubbo.metadata.storage-type"], "local");
        assert_eq!((instance.status(), instance.metadata().len()), (Status::Up, 5));
    }
}

#[test]
fn what_spring_s_readers_cannot_read_is_refused() {
    let instance = Instance::new("10.0.0.1", 80);
    for bad in [
        Instance::new("10.0.0.1", 0).with_ssl_port(443),
        instance.clone().with_metadata("weight", "2"),
        instance.clone().with_metadata("zone", "a"),
        instance.with_metadata("instance_status", "UP"),
    ] {
        assert_eq!(encode(&Spring, &bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn an_ipv6_address_stands_in_brackets_for_the_uri() {
    let instance = Instance::new("2001:db8::1", 80);
    let written = encode(&Spring, &instance).unwrap();
    assert!(written.contains(r#""address":"[2001:db8::1]""#), "{written}");
    assert_eq!(decode(&Spring, "node", written.as_bytes()).unwrap().instance.host(), "2001:db8::1");
}

proptest! {
    #[test]
    fn what_spring_format_writes_it_reads(
        instance in any_instance().prop_filter("Spring needs a port", |instance| instance.port() != 0),
        attributes in any_attributes(),
    ) {
        let zone = attributes.zone.clone().filter(|zone| !zone.is_empty());
        let instance = instance.with_attributes(Attributes { zone, ..attributes });
        let data = Spring.encode(&service(), &id("node"), &instance, &owner(), UNIX_EPOCH).unwrap();
        prop_assert_eq!(decode(&Spring, "node", &data), Ok(Decoded { instance, owner: Some(owner()) }));
    }
}
