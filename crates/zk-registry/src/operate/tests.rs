use std::time::Duration;

use super::*;
use crate::instance::Instance;
use crate::resolve::Resolve;

fn time() -> ServiceName {
    "time".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_seen_by_readers_and_adopted_by_the_owner_over_an_expiry() {
    let registry = crate::testing::registry();
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.unwrap();
    let operator = Operator::new(&registry);
    let seen = operator.inspect(&time(), "10.0.0.1:80").await.unwrap().unwrap();
    assert_eq!(seen.instance().unwrap().port(), 80);
    assert!(seen.writer().is_some() && seen.session() != 0);
    let drained = operator.set_status(&seen, Status::Draining, None).await.unwrap();
    assert_eq!(drained.instance().unwrap().status(), Status::Draining);
    let mut watch = registry.watch(&time());
    let draining = async |watch: &mut crate::resolve::ServiceWatch| {
        while !watch.current().instances().any(|member| member.status() == Status::Draining) {
            watch.changed().await.unwrap();
        }
    };
    draining(&mut watch).await;
    // The owner has to have seen it before its session ends.
    let mut states = registration.states();
    while registration.foreign_writes().adopted == 0 {
        states.changed().await.unwrap();
    }
    let before = watch.current().instances().next().unwrap().session();
    registry.expire_session();
    while watch.current().instances().all(|member| member.session() == before) {
        watch.changed().await.unwrap();
    }
    draining(&mut watch).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_is_refused_once_the_node_is_not_the_one_that_was_seen() {
    let registry = crate::testing::registry();
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.unwrap();
    let operator = Operator::new(&registry);
    let seen = operator.inspect(&time(), "10.0.0.1:80").await.unwrap().unwrap();
    operator.set_weight(&seen, NonZeroU16::new(7).unwrap()).await.unwrap();
    let stale = operator.set_status(&seen, Status::Draining, None).await.unwrap_err();
    assert_eq!((stale.kind(), stale.to_string().contains("wrote")), (ErrorKind::Conflict, true), "{stale}");
    let seen = operator.inspect(&time(), "10.0.0.1:80").await.unwrap().unwrap();
    assert_eq!(seen.instance().unwrap().weight().get(), 7);
    registration.withdraw(Duration::from_secs(1)).await;
    let gone = operator.evict(&seen).await.unwrap_err();
    assert_eq!((gone.kind(), gone.to_string().contains("gone")), (ErrorKind::Conflict, true), "{gone}");
    assert!(operator.inspect(&time(), "10.0.0.1:80").await.unwrap().is_none());
    // The same name again, and of the same version: another node all the same.
    registry.put("/services/time/ghost", b"{}");
    let ghost = operator.inspect(&time(), "ghost").await.unwrap().unwrap();
    registry.delete("/services/time/ghost");
    registry.put("/services/time/ghost", b"{}");
    let another = operator.evict(&ghost).await.unwrap_err();
    assert!(another.to_string().contains("anew"), "{another}");
    let ghost = operator.inspect(&time(), "ghost").await.unwrap().unwrap();
    operator.evict(&ghost).await.unwrap();
    assert_eq!(operator.directories(&time()).await.unwrap()[0].names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_no_instance_is_shown_with_the_reason_and_not_written() {
    let registry = crate::testing::registry();
    registry.put("/services/time/broken", b"{\"port\":");
    let operator = Operator::new(&registry);
    let broken = operator.inspect(&time(), "broken").await.unwrap().unwrap();
    assert!(broken.instance().unwrap_err().contains("JSON"), "{broken:?}");
    let refused = operator.set_status(&broken, Status::Draining, None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let directories = operator.directories(&time()).await.unwrap();
    let [directory] = &*directories else { panic!("{directories:?}") };
    assert_eq!((directory.path(), directory.names().len()), ("/services/time", 1));
    assert_eq!(directory.acl(), Ok(crate::options::Acl::Open));
    assert!(operator.directories(&"none".parse().unwrap()).await.unwrap().is_empty());
    assert_eq!(operator.inspect(&time(), "a/b").await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_found_by_its_id_whatever_its_node_is_called() {
    for (format, service) in
        [("kitex", "time"), ("nerve", "time"), ("motan", "com.example.Time"), ("dubbo", "com.example.Time")]
    {
        let options = crate::options::Options::default().with_format(crate::format::named(format).unwrap());
        let registry = crate::testing::Registry::with(options, 1);
        let service = service.parse().unwrap();
        let mut registration = registry.register(&service, Instance::new("10.0.0.1", 80));
        registration.registered().await.unwrap();
        let operator = Operator::new(&registry);
        let id = registration.id().to_string();
        let seen = operator.inspect(&service, &id).await.unwrap();
        let seen = seen.unwrap_or_else(|| panic!("{format}: {id} is there"));
        assert_eq!(seen.instance().map(|instance| instance.port()), Ok(80), "{format}: {seen:?}");
        assert_eq!(operator.directories(&service).await.unwrap()[0].names().len(), 1, "{format}");
    }
}

/// A registry with an instance that this format writes, and what an operator sees of it.
async fn one_of(format: &str) -> (crate::testing::Registry, Operator, Inspection, crate::Registration) {
    let options = crate::options::Options::default().with_format(crate::format::named(format).unwrap());
    let registry = crate::testing::Registry::with(options, 1);
    let service: ServiceName =
        if format.starts_with("dubbo") { "com.example.Time" } else { "time" }.parse().unwrap();
    let mut registration = registry.register(&service, Instance::new("10.0.0.1", 80));
    registration.registered().await.unwrap();
    let operator = Operator::new(&registry);
    let seen = operator.inspect(&service, registration.id().as_str()).await.unwrap().unwrap();
    (registry, operator, seen, registration)
}

#[tokio::test(start_paused = true)]
async fn what_a_dialect_has_no_way_for_is_refused_with_the_reason() {
    for (format, weight, status) in [
        ("armeria", Some("another name"), "cannot say that an instance is draining"),
        ("curator-strict", Some("cannot say a weight"), "cannot say that an instance is draining"),
        ("kitex", None, "a weight of 0 means 10"),
        ("kratos", None, "cannot say that an instance is draining"),
        ("motan", None, "another directory"),
        ("nerve", Some("another name"), "another name"),
        ("plain", Some("cannot say a weight"), "cannot say that an instance is draining"),
        ("serverset", Some("another name"), "another name"),
    ] {
        let (_registry, operator, seen, _registration) = one_of(format).await;
        for wished in [Status::Draining, Status::Up] {
            let refused = operator.set_status(&seen, wished, None).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{format}: {refused}");
            let said = refused.to_string();
            assert!(said.contains(status) && said.contains(&format!("format {format}")), "{said}");
        }
        let again = operator.inspect(seen.service(), seen.name().as_str()).await.unwrap().unwrap();
        assert_eq!((again.data(), again.version()), (seen.data(), seen.version()), "{format}: not written");
        let weighed = operator.set_weight(&seen, NonZeroU16::new(30).unwrap()).await;
        match weight {
            Some(why) => assert!(weighed.unwrap_err().to_string().contains(why), "{format}"),
            None => {
                let instance = weighed.unwrap().instance().unwrap().clone();
                assert_eq!(instance.weight().get(), 30, "{format}");
                let before = seen.instance().unwrap();
                assert_eq!(instance.with_weight(before.weight()), *before, "{format}: nothing else");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_of_dubbo_is_changed_by_rules_for_its_address_and_its_node_stays() {
    let (registry, operator, seen, registration) = one_of("dubbo:group=g,version=1.0.0").await;
    let rules = async || {
        let path = format!("/services/{}/configurators", seen.service());
        let list = |store: Arc<dyn Store>| async move {
            Ok(store.list(&path).await.map(|(names, _)| names).unwrap_or_default())
        };
        operator.0.ask("listing", list).await.unwrap()
    };
    let service = seen.service().clone();
    let drained = operator.set_status(&seen, Status::Draining, Some("a deploy")).await.unwrap();
    let instance = drained.instance().unwrap();
    assert_eq!(instance.status(), Status::Draining);
    assert_eq!(instance.metadata()["drain-reason"], "a deploy");
    assert_eq!((drained.path(), drained.version()), (seen.path(), seen.version()));
    let mut watch = registry.watch(&service);
    let member = watch.wait_for(drained.watermark()).await.unwrap().get(registration.id()).unwrap().clone();
    assert_eq!(member.status(), Status::Draining);
    let heavy = operator.set_weight(&drained, NonZeroU16::new(250).unwrap()).await.unwrap();
    assert_eq!((heavy.instance().unwrap().weight().get(), rules().await.len()), (250, 2));
    // What one says as well as the other is said once.
    let again = operator.set_weight(&heavy, NonZeroU16::new(250).unwrap()).await.unwrap();
    assert_eq!((again.instance().unwrap().weight().get(), rules().await.len()), (250, 2));
    let up = operator.set_status(&again, Status::Up, None).await.unwrap();
    let instance = up.instance().unwrap();
    assert_eq!((instance.status(), instance.metadata().get("drain-reason")), (Status::Up, None));
    let usual = operator.set_weight(&up, NonZeroU16::new(100).unwrap()).await.unwrap();
    assert_eq!((usual.instance().unwrap(), rules().await), (seen.instance().unwrap(), Vec::<String>::new()));
}

#[tokio::test(start_paused = true)]
async fn rules_of_others_keep_what_else_they_say_and_one_that_wins_is_named() {
    let (registry, operator, seen, _registration) = one_of("dubbo").await;
    let service = seen.service().clone();
    let put = |url: &str| {
        let name = url
            .replace(':', "%3A")
            .replace('/', "%2F")
            .replace('?', "%3F")
            .replace('&', "%26")
            .replace('=', "%3D");
        registry.put(&format!("/services/{service}/configurators/{name}"), b"");
    };
    put("override://0.0.0.0/com.example.Time?category=configurators&disabled=true");
    put("override://10.0.0.1:80/com.example.Time?category=configurators&weight=50&timeout=7");
    let look = async || operator.inspect(&service, "10.0.0.1:80").await.unwrap().unwrap();
    let seen = look().await;
    assert_eq!(seen.instance().unwrap().status(), Status::Draining);
    assert_eq!(seen.instance().unwrap().weight().get(), 50);
    let up = operator.set_status(&seen, Status::Up, None).await.unwrap();
    assert_eq!(up.instance().unwrap().status(), Status::Up, "one rule for this address beats one for all");
    let heavy = operator.set_weight(&up, NonZeroU16::new(70).unwrap()).await.unwrap();
    let instance = heavy.instance().unwrap();
    assert_eq!((instance.weight().get(), instance.metadata()["timeout"].as_str()), (70, "7"));
    put(
        "override://10.0.0.1:80/com.example.Time?category=configurators&disabled=true&priority=9&~application=*",
    );
    let stubborn = look().await;
    assert_eq!(stubborn.instance().unwrap().status(), Status::Draining);
    let refused = operator.set_status(&stubborn, Status::Up, None).await.unwrap_err();
    assert!(refused.to_string().contains("another rule"), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

/// A registry of Dubbo's applications, and the record of an instance of one of them.
fn applications() -> (crate::testing::Registry, String) {
    let format = crate::format::named("dubbo-app:mapping=/dubbo/mapping").unwrap();
    let registry = crate::testing::Registry::with(crate::options::Options::default().with_format(format), 1);
    let record = r#"{"address":"10.0.0.1","port":80,"payload":{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","metadata":{"dubbo.metadata.revision":"9b60"}}}"#;
    (registry, record.to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_interface_is_looked_at_under_the_applications_that_it_is_mapped_to() {
    let (registry, record) = applications();
    let operator = Operator::new(&registry);
    let interface: ServiceName = "com.foo.Bar".parse().unwrap();
    registry.put("/dubbo/mapping/com.foo.Bar", b"shop,till,gone");
    registry.put("/services/shop/10.0.0.1:80", record.as_bytes());
    registry.put("/services/till/10.0.0.2:80", record.replace("0.0.1", "0.0.2").as_bytes());
    let seen = operator.inspect(&interface, "10.0.0.2:80").await.unwrap().unwrap();
    assert_eq!((seen.path(), seen.service().as_str()), ("/services/till/10.0.0.2:80", "till"));
    let directories = operator.directories(&interface).await.unwrap();
    let paths: Vec<_> = directories.iter().map(Directory::path).collect();
    assert_eq!(paths, ["/services/shop", "/services/till"], "an application without a node has none");
    operator.evict(&seen).await.unwrap();
    assert_eq!(registry.lookup(&interface).await.unwrap().len(), 1);
    // One that is not mapped is an application.
    assert!(operator.inspect(&"till".parse().unwrap(), "10.0.0.2:80").await.unwrap().is_none());
    assert_eq!(operator.directories(&"till".parse().unwrap()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_application_of_dubbo_is_neither_drained_nor_brought_back_nor_weighed() {
    let (registry, record) = applications();
    let operator = Operator::new(&registry);
    registry.put("/services/shop/10.0.0.1:80", record.as_bytes());
    let seen = operator.inspect(&"shop".parse().unwrap(), "10.0.0.1:80").await.unwrap().unwrap();
    let weight = NonZeroU16::new(30).unwrap();
    for refused in [
        operator.set_status(&seen, Status::Draining, Some("a deploy")).await,
        operator.set_status(&seen, Status::Up, None).await,
        operator.set_weight(&seen, weight).await,
    ] {
        let refused = refused.unwrap_err();
        let said = refused.to_string();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{said}");
        assert!(said.contains("only read") && said.ends_with("(format dubbo-app)"), "{said}");
    }
    assert_eq!(registry.data("/services/shop/10.0.0.1:80").unwrap(), record.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_rule_for_every_group_or_version_is_refused() {
    let url = "dubbo://10.0.0.1:80/com.example.Time?group=g&version=1";
    let name = ["%3A", "%2F", "%3F", "%3D", "%26"]
        .into_iter()
        .zip([":", "/", "?", "=", "&"])
        .fold(url.to_owned(), |name, (escape, sign)| name.replace(sign, escape));
    for format in ["dubbo:group=*,version=1", "dubbo:group=g,version=*"] {
        let options = crate::options::Options::default().with_format(crate::format::named(format).unwrap());
        let registry = crate::testing::Registry::with(options, 1);
        registry.put(&format!("/services/com.example.Time/providers/{name}"), b"");
        let operator = Operator::new(&registry);
        let service = "com.example.Time".parse().unwrap();
        let seen = operator.inspect(&service, "10.0.0.1:80").await.unwrap().unwrap();
        let refused = operator.set_status(&seen, Status::Draining, None).await.unwrap_err();
        assert!(refused.to_string().contains("name them"), "{refused}");
        assert_eq!(registry.data("/services/com.example.Time/configurators"), None, "{format}");
    }
}
