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
    assert_eq!(operator.directory(&time()).await.unwrap().unwrap().names(), [""; 0]);
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
    let directory = operator.directory(&time()).await.unwrap().unwrap();
    assert_eq!((directory.path(), directory.names().len()), ("/services/time", 1));
    assert_eq!(directory.acl(), Ok(crate::options::Acl::Open));
    assert!(operator.directory(&"none".parse().unwrap()).await.unwrap().is_none());
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
        assert_eq!(operator.directory(&service).await.unwrap().unwrap().names().len(), 1, "{format}");
        let refused = operator.set_status(&seen, Status::Draining, None).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("format {format}")), "{refused}");
    }
}
