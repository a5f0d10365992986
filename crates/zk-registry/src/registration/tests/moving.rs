//! Records that stand in a node's name: an update wants a node of another name.

use super::*;
use crate::format::named;

#[tokio::test(start_paused = true)]
async fn an_update_before_the_node_could_be_made_makes_it_under_its_new_name_alone() {
    let cluster = Cluster::new(1);
    let locked = Foreign { user: Some("fleet"), acl: Acl::ReadOnly, ..Foreign::default() };
    cluster.put_as("/services", b"", locked);
    let world = World::beside(cluster, 0, |options| options.with_format(named("dubbo").unwrap()));
    let registration = world.registry.register(&"com.foo.Bar".parse().unwrap(), Instance::new("h", 1));
    sleep(SOON * 10).await;
    let state = registration.states().borrow().clone();
    assert!(matches!(state, RegistrationState::Retrying { .. }), "{state:?}");
    let refused = registration.update(|attributes| attributes.weight = weight(7)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoAuth, "{refused}");
    assert!(world.cluster.delete("/services"));
    sleep(SOON * 100).await;
    let providers = world.cluster.dump().into_keys().filter(|path| path.contains("/providers/"));
    let providers: Vec<_> = providers.collect();
    assert!(matches!(&*providers, [one] if one.contains("weight%3D700")), "{providers:?}");
    assert_eq!(world.registry.stats().writes.moved, 0, "it never stood under another name");
}
