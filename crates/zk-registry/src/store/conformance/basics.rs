//! Requests and their answers.

use bytes::Bytes;

use super::super::{Fault, Kind, Op};
use super::{World, exists, make, session, soon, workplace};
use crate::options::Acl;

pub(super) async fn a_created_node_can_be_read(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let path = format!("{root}/a");
    let created = soon(store.create(&path, b"one", Kind::Persistent, Acl::Open)).await.unwrap();
    assert!(created.czxid > 0);
    assert_eq!((created.mzxid, created.pzxid, created.version), (created.czxid, created.czxid, 0));

    assert_eq!(created.bytes, 3);

    let set = soon(store.set(&path, b"seven", Some(0))).await.unwrap();
    assert_eq!((set.czxid, set.version), (created.czxid, 1));
    assert_eq!(
        soon(store.list(&path)).await.unwrap().1.bytes,
        5,
        "a list says whether there is something to read"
    );
    assert!(set.mzxid > created.mzxid);

    let read = soon(store.read(std::slice::from_ref(&path))).await.unwrap().remove(0).unwrap();
    assert_eq!((read.data, read.stat), (Bytes::from_static(b"seven"), set));

    soon(store.delete(&path, Some(1))).await.unwrap();
    assert!(!exists(&store, &path).await);
}

pub(super) async fn a_kind_of_node_has_its_owner(world: &dyn World) {
    let (store, root) = workplace(world).await;
    for (kind, owner) in [(Kind::Container, 0), (Kind::Ephemeral, store.id()), (Kind::Persistent, 0)] {
        let stat = soon(store.create(&format!("{root}/{kind:?}"), b"", kind, Acl::Open)).await.unwrap();
        assert_eq!(stat.owner, owner, "{kind:?}");
    }
}

pub(super) async fn a_refusal_has_its_own_word(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let (missing, leaf) = (format!("{root}/missing"), format!("{root}/leaf"));
    make(&store, &leaf, Kind::Ephemeral).await;
    let create = |path: &str| soon(store.create(path, b"", Kind::Persistent, Acl::Open));

    assert!(matches!(create(&format!("{missing}/child")).await, Err(Fault::NoNode)));
    assert!(matches!(create(&leaf).await, Err(Fault::NodeExists)));
    assert!(matches!(create(&format!("{leaf}/child")).await, Err(Fault::NoChildrenForEphemerals)));
    assert!(matches!(soon(store.set(&missing, b"", None)).await, Err(Fault::NoNode)));
    assert!(matches!(soon(store.set(&leaf, b"", Some(7))).await, Err(Fault::BadVersion)));
    assert!(matches!(soon(store.delete(&missing, None)).await, Err(Fault::NoNode)));
    assert!(matches!(soon(store.delete(&leaf, Some(7))).await, Err(Fault::BadVersion)));
    assert!(matches!(soon(store.delete(&root, None)).await, Err(Fault::NotEmpty)));
    assert!(matches!(soon(store.list(&missing)).await, Err(Fault::NoNode)));
    for acl in [Acl::Creator, Acl::ReadOnly] {
        let refused = soon(store.create(&missing, b"", Kind::Persistent, acl)).await;
        assert!(matches!(refused, Err(Fault::InvalidAcl)), "{acl:?}");
    }
}

pub(super) async fn a_request_is_ordered_at_the_call(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let path = format!("{root}/a");
    let create = store.create(&path, b"1", Kind::Ephemeral, Acl::Open);
    let multi = store.multi(vec![Op::Set { path: path.clone(), data: "2".into(), version: None }]);
    let set = store.set(&path, b"3", None);
    let read = store.read(std::slice::from_ref(&path));
    let delete = store.delete(&path, None);
    let list = store.list(&root);
    // The answers are fetched in the opposite order.
    assert!(soon(list).await.unwrap().0.is_empty());
    soon(delete).await.unwrap();
    assert_eq!(soon(read).await.unwrap().remove(0).unwrap().data, "3");
    assert_eq!(soon(set).await.unwrap().version, 2);
    soon(multi).await.unwrap();
    soon(create).await.unwrap();
}

pub(super) async fn a_dropped_request_is_executed(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let path = format!("{root}/a");
    drop(store.create(&path, b"", Kind::Persistent, Acl::Open));
    drop(store.multi(vec![Op::Set { path: path.clone(), data: "x".into(), version: None }]));
    let read = soon(store.read(&[path])).await.unwrap().remove(0).unwrap();
    assert_eq!(read.data, "x");
}

pub(super) async fn a_multi_is_all_or_nothing(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let create =
        |path: &String, kind| Op::Create { path: path.clone(), data: Bytes::new(), kind, acl: Acl::Open };

    let failed = soon(store.multi(vec![
        create(&a, Kind::Ephemeral),
        Op::Delete { path: b.clone(), version: None },
        create(&b, Kind::Ephemeral),
    ]));
    let Err(Fault::Multi { index, fault }) = failed.await else { panic!() };
    assert_eq!(index, 1);
    assert!(matches!(*fault, Fault::NoNode));
    assert!(!exists(&store, &a).await);

    let stats =
        soon(store.multi(vec![create(&a, Kind::Ephemeral), create(&b, Kind::Persistent)])).await.unwrap();
    let (a, b) = (stats[0].unwrap(), stats[1].unwrap());
    assert!(a.czxid > 0);
    assert_eq!(a.czxid, b.czxid, "one transaction");
    assert_eq!((a.owner, b.owner), (store.id(), 0));
    assert!(soon(store.multi(Vec::new())).await.unwrap().is_empty());
}

pub(super) async fn a_multi_can_replace_a_node(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let path = format!("{root}/a");
    let other = session(world).await;
    make(&other, &path, Kind::Ephemeral).await;

    let set = Op::Set { path: path.clone(), data: "mine".into(), version: None };
    let stats = soon(store.multi(vec![
        Op::Delete { path: path.clone(), version: Some(0) },
        Op::Create { path: path.clone(), data: "x".into(), kind: Kind::Ephemeral, acl: Acl::Open },
        set.clone(),
        set,
    ]));
    let stats = stats.await.unwrap();
    assert_eq!(stats[0], None);
    let (created, set) = (stats[1].unwrap(), stats[3].unwrap());
    assert_eq!((created.version, created.owner), (0, store.id()));
    assert_eq!((set.version, set.czxid, set.owner), (2, created.czxid, store.id()));

    assert!(soon(other.close(super::SOON)).await);
    assert!(exists(&store, &path).await, "the death of the old owner does not remove the new node");
}

pub(super) async fn an_item_that_cannot_be_read_fails_alone(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let (there, missing) = (format!("{root}/there"), format!("{root}/missing"));
    make(&store, &there, Kind::Persistent).await;
    let items = soon(store.read(&[missing.clone(), there, missing])).await.unwrap();
    assert!(matches!(items[..], [Err(Fault::NoNode), Ok(_), Err(Fault::NoNode)]));
    assert!(soon(store.read(&[])).await.unwrap().is_empty());
}

pub(super) async fn a_list_has_the_names_and_the_parents_stat(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let (_, before) = soon(store.list(&root)).await.unwrap();
    make(&store, &format!("{root}/b"), Kind::Persistent).await;
    make(&store, &format!("{root}/a"), Kind::Persistent).await;
    make(&store, &format!("{root}/a/deeper"), Kind::Persistent).await;
    let (mut names, after) = soon(store.list(&root)).await.unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((before.children, after.children), (0, 2));
    assert!(after.pzxid > before.pzxid);
    assert_eq!(after.mzxid, before.mzxid);

    let root_and_all = soon(store.list("/")).await.unwrap().0;
    assert!(root_and_all.contains(&root[1..].to_owned()));
}

pub(super) async fn a_request_that_is_too_large_costs_nothing(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let huge = vec![b'x'; 1_100_000];
    let mut states = store.states();
    let path = format!("{root}/a");
    let refused = soon(store.create(&path, &huge, Kind::Persistent, Acl::Open)).await;
    assert!(matches!(refused, Err(Fault::TooLarge)));
    assert!(matches!(soon(store.set(&root, &huge, None)).await, Err(Fault::TooLarge)));
    let paths = vec![format!("{root}/{}", "y".repeat(1_000)); 1_100];
    assert!(matches!(soon(store.read(&paths)).await, Err(Fault::TooLarge)));
    let half = Bytes::from(vec![b'x'; 600_000]);
    let ops = vec![Op::Set { path: root.clone(), data: half, version: None }; 2];
    assert!(matches!(soon(store.multi(ops)).await, Err(Fault::TooLarge)));

    let large = vec![b'x'; 900_000];
    soon(store.create(&path, &large, Kind::Persistent, Acl::Open)).await.unwrap();
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(1), states.changed()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    soon(store.delete(&path, None)).await.unwrap();
}

pub(super) async fn a_creators_node_is_closed_to_others(world: &dyn World) {
    let owner = world.process(Some("owner"), "").open().await;
    let (stranger, root) = workplace(world).await;
    let path = format!("{root}/a");
    soon(owner.create(&path, b"", Kind::Persistent, Acl::Creator)).await.unwrap();

    assert!(exists(&owner, &path).await);
    let read = soon(stranger.read(&[path.clone(), root.clone()])).await.unwrap();
    assert!(matches!(read[..], [Err(Fault::NoAuth), Ok(_)]));
    assert!(matches!(soon(stranger.set(&path, b"", None)).await, Err(Fault::NoAuth)));
    assert!(matches!(soon(stranger.list(&path)).await, Err(Fault::NoAuth)));
    let child = soon(stranger.create(&format!("{path}/b"), b"", Kind::Persistent, Acl::Open)).await;
    assert!(matches!(child, Err(Fault::NoAuth)));
    assert_eq!(soon(stranger.list(&root)).await.unwrap().0, ["a"], "its name is the parent's");
    soon(stranger.delete(&path, None)).await.expect("so is its deletion");
}

pub(super) async fn a_read_only_node_is_open_for_reading(world: &dyn World) {
    let owner = world.process(Some("owner"), "").open().await;
    let (stranger, root) = workplace(world).await;
    let path = format!("{root}/a");
    soon(owner.create(&path, b"", Kind::Persistent, Acl::ReadOnly)).await.unwrap();
    make(&owner, &format!("{path}/b"), Kind::Persistent).await;

    assert!(exists(&stranger, &path).await);
    assert_eq!(soon(stranger.list(&path)).await.unwrap().0, ["b"]);
    assert!(matches!(soon(stranger.set(&path, b"", None)).await, Err(Fault::NoAuth)));
    assert!(matches!(soon(stranger.delete(&format!("{path}/b"), None)).await, Err(Fault::NoAuth)));
    soon(owner.set(&path, b"", None)).await.unwrap();
}

pub(super) async fn an_acl_can_be_read_by_who_may_read_the_node(world: &dyn World) {
    let owner = world.process(Some("owner"), "").open().await;
    let (stranger, root) = workplace(world).await;
    for acl in [Acl::Creator, Acl::Open, Acl::ReadOnly] {
        let path = format!("{root}/{acl:?}");
        soon(owner.create(&path, b"", Kind::Persistent, acl)).await.unwrap();
        assert_eq!(soon(owner.acl(&path)).await.unwrap(), acl);
        match soon(stranger.acl(&path)).await {
            Err(Fault::NoAuth) => assert_eq!(acl, Acl::Creator),
            seen => assert_eq!((seen.unwrap(), acl != Acl::Creator), (acl, true)),
        }
    }
    assert!(matches!(soon(stranger.acl(&format!("{root}/missing"))).await, Err(Fault::NoNode)));
}

pub(super) async fn an_identity_shows_in_the_schemes(world: &dyn World) {
    let nobody = soon(session(world).await.auth_schemes()).await.unwrap();
    let somebody = soon(world.process(Some("owner"), "").open().await.auth_schemes()).await.unwrap();
    assert!(nobody.iter().all(|scheme| scheme == "ip"), "{nobody:?}");
    assert!(somebody.iter().any(|scheme| scheme == "digest"), "{somebody:?}");
}

pub(super) async fn a_chroot_is_made_and_hidden(world: &dyn World) {
    let chroot = format!("{}/deep/er", world.fresh());
    let store = world.process(None, &chroot).open().await;
    let refused = soon(store.create("/a", b"", Kind::Ephemeral, Acl::Open)).await;
    assert!(matches!(refused, Err(Fault::NoNode)));
    soon(store.make_chroot(Acl::Open)).await.unwrap();
    soon(store.make_chroot(Acl::Open)).await.expect("it may exist");

    let mut watch = soon(store.watch("/")).await.unwrap();
    make(&store, "/a", Kind::Ephemeral).await;
    assert_eq!(watch.try_next(), Some(super::super::Event::Node("/a".to_owned())));
    assert_eq!(soon(store.list("/")).await.unwrap().0, ["a"]);
    assert_eq!(soon(store.ephemerals()).await.unwrap(), ["/a"]);
    soon(store.multi(vec![Op::Set { path: "/a".to_owned(), data: "x".into(), version: Some(0) }]))
        .await
        .unwrap();

    let outside = session(world).await;
    make(&store, "/b", Kind::Persistent).await;
    assert!(exists(&outside, &format!("{chroot}/a")).await);
    assert!(exists(&store, "/").await);
}

pub(super) async fn a_container_may_have_children(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let path = format!("{root}/container");
    make(&store, &path, Kind::Container).await;
    make(&store, &format!("{path}/a"), Kind::Ephemeral).await;
    assert_eq!(soon(store.list(&path)).await.unwrap().1.children, 1);
    assert!(matches!(soon(store.delete(&path, None)).await, Err(Fault::NotEmpty)));
}
