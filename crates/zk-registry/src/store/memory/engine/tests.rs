//! What the engine does by itself and over time, and what it weighs. What it answers is compared with Apache ZooKeeper by the
//! differential run of the integration tests.

use std::time::Duration;

use tokio::time::Instant;

use super::record::{AclEntry, Id};
use super::record::{Answer, Code, Create, Event, EventKind, Form, Read, Request, SetWatches, Write, perms};
use super::{ConnectionId, Effect, Engine, Greeting, Hello, Settings};

struct World {
    engine: Engine,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut engine = Engine::new(Settings {
            began: now,
            wall: 0,
            zxid: 0,
            session: 0,
            tick: Duration::from_secs(2),
            longest_timeout: Duration::from_secs(40),
            container_check: Duration::from_secs(60),
            superuser: None,
        });
        engine.add_member();
        Self { engine, now }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.engine.expire_due(self.now);
        self.engine.inspect(self.now);
    }

    fn connect(&mut self, connection: ConnectionId, session: i64, password: &[u8]) -> Greeting {
        let hello = Hello { last_zxid: 0, timeout: Duration::from_secs(10), session, password };
        self.engine.connect(connection, 0, [127, 0, 0, 1].into(), hello, self.now)
    }

    fn ask(&mut self, connection: ConnectionId, request: &Request) -> Result<Answer, Code> {
        self.engine.request(connection, request, self.now).result
    }

    fn create(
        &mut self,
        connection: ConnectionId,
        path: &str,
        flags: i32,
        form: Form,
    ) -> Result<Answer, Code> {
        self.ask(connection, &Request::Write(create(path, flags, form)))
    }

    fn exists(&mut self, path: &str) -> bool {
        self.engine.node(path).is_some()
    }

    fn events(&mut self) -> Vec<(ConnectionId, EventKind, String)> {
        let told = |effect| match effect {
            Effect::Close(_) => None,
            Effect::Event(connection, Event { kind, path, .. }) => Some((connection, kind, path.to_string())),
        };
        self.engine.effects().into_iter().filter_map(told).collect()
    }
}

fn create(path: &str, flags: i32, form: Form) -> Write {
    let anyone = AclEntry { perms: perms::ALL, id: Id::new("world", "anyone") };
    Write::Create(Create {
        path: Some(path.to_owned()),
        data: Some(vec![b'x'; 200].into()),
        acl: vec![Ok(anyone)],
        flags,
        form,
    })
}

fn accepted(greeting: Greeting) -> (i64, [u8; 16]) {
    match greeting {
        Greeting::Accepted { session, password, .. } => (session, password),
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn a_session_moves_to_the_connection_that_names_it() {
    let mut world = World::new();
    let (session, password) = accepted(world.connect(1, 0, &[]));
    world.create(1, "/mine", 1, Form::Plain).unwrap();
    assert_eq!(accepted(world.connect(2, session, &password)).0, session);
    assert_eq!(world.engine.effects(), [Effect::Close(1)]);
    world.later(8);
    world.engine.touch(session, world.now);
    world.later(8);
    assert!(world.exists("/mine"), "the session was heard on its new connection");
    world.later(8);
    assert!(!world.exists("/mine"));
    assert_eq!(world.connect(3, session, &password), Greeting::Expired);
}

#[test]
fn a_wrong_password_gives_no_session_and_costs_the_connection() {
    let mut world = World::new();
    let (session, password) = accepted(world.connect(1, 0, &[]));
    assert_eq!(world.connect(2, session, &[7; 16]), Greeting::Expired);
    assert_eq!(world.engine.effects(), [Effect::Close(1)]);
    assert_eq!(accepted(world.connect(3, session, &password)).0, session);
}

#[test]
fn a_transaction_sees_itself_and_leaves_nothing_behind_when_it_is_refused() {
    let mut world = World::new();
    world.connect(1, 0, &[]);
    world.create(1, "/a", 0, Form::Plain).unwrap();
    let refused = Request::Multi(vec![
        create("/a/b", 0, Form::Plain),
        create("/a/b/n-", 2, Form::Plain),
        Write::Delete { path: "/none".to_owned(), version: -1 },
        Write::Check { path: "/a".to_owned(), version: 0 },
    ]);
    assert_eq!(world.ask(1, &refused), Ok(Answer::Refused { index: 2, code: Code::NoNode, of: 4 }));
    assert!(!world.exists("/a/b"));
    let taken = Request::Multi(vec![create("/a/n-", 2, Form::Plain), create("/a/n-", 2, Form::Plain)]);
    let named = |name: &str| Ok(Answer::Created(name.to_owned()));
    assert_eq!(
        world.ask(1, &taken),
        Ok(Answer::Multi(vec![named("/a/n-0000000000"), named("/a/n-0000000001")]))
    );
}

#[test]
fn children_are_listed_as_zookeeper_does_and_a_refused_transaction_changes_nothing_of_it() {
    let mut world = World::new();
    world.connect(1, 0, &[]);
    for path in ["/p", "/p/i", "/p/b", "/p/a"] {
        world.create(1, path, 0, Form::Plain).unwrap();
    }
    let listed = |world: &mut World| {
        let read = Read::Children { path: "/p".to_owned(), watch: false };
        match world.ask(1, &Request::Read(read)) {
            Ok(Answer::Children(names)) => names.concat(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(listed(&mut world), "iab");
    let many = ["k", "l", "m", "n", "o"].map(|name| create(&format!("/p/{name}"), 0, Form::Plain));
    let fails = Write::Delete { path: "/none".to_owned(), version: -1 };
    let gone = Write::Delete { path: "/p/i".to_owned(), version: -1 };
    let refused = Request::Multi([gone.clone()].into_iter().chain(many).chain([fails]).collect());
    assert!(matches!(world.ask(1, &refused), Ok(Answer::Refused { .. })));
    assert_eq!(listed(&mut world), "iab");
    world.ask(1, &Request::Multi(vec![gone, create("/p/i", 0, Form::Plain)])).unwrap();
    assert_eq!(listed(&mut world), "aib");
}

#[test]
fn what_a_server_begins_with_is_listed_before_what_is_created_into_the_same_bucket() {
    let mut world = World::new();
    world.connect(1, 0, &[]);
    // Its bucket is that of `zookeeper`, and it is the first that a client creates.
    world.create(1, "/d13001", 0, Form::Plain).unwrap();
    let read = Request::Read(Read::Children { path: "/".to_owned(), watch: false });
    assert_eq!(world.ask(1, &read), Ok(Answer::Children(vec!["zookeeper".to_owned(), "d13001".to_owned()])));
}

#[test]
fn a_node_with_a_time_to_live_goes_when_it_was_neither_changed_nor_has_children() {
    let mut world = World::new();
    let (session, _) = accepted(world.connect(1, 0, &[]));
    world.create(1, "/ttl", 5, Form::Ttl(30_000)).unwrap();
    world.later(20);
    world.connect(1, session, &[]);
    world.connect(2, 0, &[]);
    let set = Write::SetData { path: "/ttl".to_owned(), data: None, version: -1 };
    world.ask(2, &Request::Write(set)).unwrap();
    world.create(2, "/ttl/child", 0, Form::Plain).unwrap();
    world.later(100);
    assert!(world.exists("/ttl"), "it has a child");
    world.connect(3, 0, &[]);
    world.ask(3, &Request::Write(Write::Delete { path: "/ttl/child".to_owned(), version: -1 })).unwrap();
    world.later(100);
    assert!(!world.exists("/ttl"));
}

#[test]
fn watches_that_are_set_again_tell_what_was_missed() {
    let mut world = World::new();
    world.connect(1, 0, &[]);
    for path in ["/kept", "/changed", "/gone"] {
        world.create(1, path, 0, Form::Plain).unwrap();
    }
    let since = world.engine.census().zxid;
    let set = Write::SetData { path: "/changed".to_owned(), data: None, version: -1 };
    world.ask(1, &Request::Write(set)).unwrap();
    world.ask(1, &Request::Write(Write::Delete { path: "/gone".to_owned(), version: -1 })).unwrap();
    world.create(1, "/new", 0, Form::Plain).unwrap();
    world.connect(2, 0, &[]);
    let paths = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
    let watches = SetWatches {
        since,
        data: paths(&["/kept", "/changed", "/gone"]),
        exist: paths(&["/new", "/never"]),
        child: paths(&["/"]),
        persistent: vec!["/kept".to_owned()],
        recursive: vec![],
    };
    assert_eq!(world.ask(2, &Request::SetWatches(Box::new(watches))), Ok(Answer::Nothing));
    assert_eq!(
        world.events(),
        [
            (2, EventKind::DataChanged, "/changed".to_owned()),
            (2, EventKind::Deleted, "/gone".to_owned()),
            (2, EventKind::Created, "/new".to_owned()),
            (2, EventKind::ChildrenChanged, "/".to_owned()),
        ]
    );
    let set = Write::SetData { path: "/kept".to_owned(), data: None, version: -1 };
    for _ in 0..2 {
        world.ask(1, &Request::Write(set.clone())).unwrap();
    }
    let changed = (2, EventKind::DataChanged, "/kept".to_owned());
    assert_eq!(world.events(), [changed.clone(), changed]);
    assert!(world.ask(2, &Request::Read(Read::Data { path: "/kept".to_owned(), watch: false })).is_ok());
}

#[test]
fn a_hundred_thousand_nodes_of_200_bytes_fit_into_60_mebibytes() {
    let mut kept = None;
    let used = allocation_counter::measure(|| {
        let mut world = World::new();
        world.connect(1, 0, &[]);
        for n in 0..100_000 {
            world.create(1, &format!("/i-{n:08}"), 0, Form::Plain).unwrap();
            world.engine.effects();
        }
        kept = Some(world);
    });
    let mebibytes = used.bytes_current / (1 << 20);
    println!("{mebibytes} MiB");
    assert!(mebibytes <= 60, "{mebibytes} MiB");
    drop(kept);
}
