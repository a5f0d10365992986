//! What a user sees of a registration, over ZooKeeper in memory.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

mod moving;
mod neighbours;
mod promises;
mod resting;
mod schedules;
mod sources;
mod under_way;

use super::desired::Desired;
use super::take_over::largest_record;
use super::{ForeignWrites, OnConflict, Registering, Registration, RegistrationState};
use crate::error::ErrorKind;
use crate::instance::{Attributes, Instance, InstanceId, ServiceName, Status};
use crate::options::{Acl, Chroot, Options, RecordLimits};
use crate::registry::Registry;
use crate::registry::background::Background;
use crate::resolve::{Closed, Resolve as _};
use crate::session::ConnectionState;
use crate::snapshot::Freshness;
use crate::store::memory::{Cluster, Connector, Fate, Foreign};
use crate::store::{ConnectFault, Fault};
use crate::withdrawn::Withdrawn;

const SESSION: Duration = Duration::from_secs(4);
/// Much longer than anything takes that is not an audit.
const AUDIT: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(100);
const NODE: &str = "/services/time/h:1";

/// One process and the ZooKeeper that it uses.
struct World {
    cluster: Cluster,
    network: Connector,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> Self {
        Self::below(0, change)
    }

    /// Below a chroot of so many bytes.
    fn below(chroot_len: usize, change: impl FnOnce(Options) -> Options) -> Self {
        Self::beside(Cluster::new(1), chroot_len, change)
    }

    /// Another process that uses this ZooKeeper.
    fn beside(cluster: Cluster, chroot_len: usize, change: impl FnOnce(Options) -> Options) -> Self {
        let network = cluster.connector(SESSION);
        let options = change(Options::default().with_session_timeout(SESSION).with_audit_interval(AUDIT));
        let background = options.validate().map(|()| Background::on(Handle::current()));
        let registry = Registry::over(Arc::new(network.clone()), chroot_len, options, background, 1);
        Self { cluster, network, registry }
    }

    fn register(&self, how: Registering) -> Registration {
        self.registry.register_with(&time(), Instance::new("h", 1).with_weight(weight(3)), how)
    }

    async fn registered(&self) -> Registration {
        let mut registration = self.register(Registering::default());
        registered(&mut registration).await;
        registration
    }

    fn record(&self) -> String {
        String::from_utf8(self.cluster.node(NODE).expect("the node is there").data.to_vec()).unwrap()
    }

    /// An operator rewrites the record.
    fn rewrite(&self, from: &str, to: &str) {
        let record = self.record();
        assert!(record.contains(from), "{record}");
        self.cluster.put_as(NODE, record.replacen(from, to, 1).as_bytes(), Foreign::default());
    }
}

fn time() -> ServiceName {
    "time".parse().unwrap()
}

fn weight(weight: u16) -> NonZeroU16 {
    weight.try_into().unwrap()
}

fn or_fail() -> Registering {
    Registering { on_conflict: OnConflict::Fail, ..Registering::default() }
}

async fn registered(registration: &mut Registration) {
    timeout(SOON, registration.registered()).await.expect("registered in time").unwrap();
}

#[tokio::test(start_paused = true)]
async fn withdrawing_a_failed_registration_leaves_its_successor_alone() {
    let world = World::new();
    world.cluster.put(NODE, b"somebody's");
    let mut first = world.register(or_fail());
    assert_eq!(first.registered().await.unwrap_err().kind(), ErrorKind::Conflict);
    world.cluster.delete(NODE);
    let mut second = world.register(or_fail());
    registered(&mut second).await;
    assert_eq!(first.withdraw(SOON).await, Withdrawn::Superseded);
    sleep(SOON).await;
    assert!(world.cluster.node(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_update_may_look_at_its_registration() {
    let world = World::new();
    let registration = world.registered().await;
    let doubled = registration.update(|attributes| {
        attributes.weight = registration.attributes().weight.saturating_add(1);
    });
    timeout(SOON, doubled).await.expect("updated in time").unwrap();
    assert_eq!(registration.attributes().weight, weight(4));
}

#[test]
fn what_is_adopted_while_an_update_is_thought_about_stays() {
    let wanted = Desired::new(Attributes::default(), |_| Ok(())).unwrap();
    let foreign = Attributes { status: Status::Draining, weight: weight(9), ..Attributes::default() };
    let change = |attributes: &mut Attributes| {
        assert!(wanted.adopt(wanted.latest().revision, &foreign));
        attributes.weight = weight(5);
    };
    wanted.change(change).unwrap();
    assert_eq!(
        wanted.current(),
        Attributes { status: Status::Draining, weight: weight(5), ..Attributes::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_that_meets_a_foreign_write_wins() {
    let world = World::new();
    let registration = world.registered().await;
    world.cluster.set_latency(Duration::from_millis(100));
    let update = registration.update(|attributes| attributes.status = Status::Draining);
    let operator = async {
        // Between the read of the update and its write.
        sleep(Duration::from_millis(120)).await;
        world.rewrite("\"weight\":3", "\"weight\":9");
    };
    let (updated, ()) = tokio::join!(update, operator);
    updated.unwrap();
    assert_eq!(registration.attributes().status, Status::Draining);
    assert!(world.record().contains("\"enabled\":false"), "{}", world.record());
}

#[test]
fn nothing_is_adopted_over_a_wish_that_was_not_written_yet() {
    let wanted = Desired::new(Attributes::default(), |_| Ok(())).unwrap();
    let written = wanted.latest();
    wanted.change(|attributes| attributes.status = Status::Draining).unwrap();
    let foreign = Attributes { weight: weight(9), ..Attributes::default() };
    assert!(!wanted.adopt(written.revision, &foreign));
    assert_eq!(wanted.current(), Attributes { status: Status::Draining, ..Attributes::default() });
}

#[tokio::test(start_paused = true)]
async fn a_foreign_write_is_adopted_after_an_update_that_was_taken_back() {
    let world = World::new();
    let registration = world.registered().await;
    let mut watch = world.registry.watch(&time());
    watch.live().await.unwrap();
    world.cluster.lose_next_write(Fate::Lost);
    let draining = registration.update(|attributes| attributes.status = Status::Draining);
    assert!(timeout(Duration::from_millis(5), draining).await.is_err());
    registration.update(|attributes| attributes.status = Status::Up).await.unwrap();
    sleep(SOON).await;
    world.rewrite("\"weight\":3", "\"weight\":9");
    sleep(SOON).await;
    assert_eq!(registration.attributes().weight, weight(9));
    assert!(world.record().contains("\"weight\":9"), "{}", world.record());
}

#[tokio::test(start_paused = true)]
async fn whoever_closes_again_is_told_the_same() {
    let world = World::new();
    let _registration = world.registered().await;
    world.network.freeze();
    let again = world.registry.clone();
    let within = Duration::from_millis(100);
    let first = world.registry.clone().close(within);
    let during = world.registry.clone().close(Duration::from_secs(10));
    let unconfirmed = Withdrawn::Unconfirmed { gone_within: SESSION };
    assert_eq!(tokio::join!(first, during), (unconfirmed, unconfirmed));
    assert_eq!(again.close(within).await, unconfirmed);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_deadline_too_far_away() {
    let world = World::new();
    let registration = world.registered().await;
    assert_eq!(world.registry.clone().close(Duration::MAX).await, Withdrawn::Confirmed);
    assert!(world.cluster.node(NODE).is_none());
    drop(registration);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_waits_for_ends_every_registration() {
    let world = World::new();
    let mut registration = world.registered().await;
    assert!(timeout(Duration::ZERO, world.registry.clone().close(SOON)).await.is_err());
    sleep(SOON).await;
    assert!(matches!(*registration.states().borrow(), RegistrationState::Withdrawn(Withdrawn::Confirmed)));
    assert_eq!(registration.registered().await.unwrap_err().kind(), ErrorKind::Closed);
    let mut late = world.register(Registering::default());
    let late = timeout(SOON, late.registered()).await.expect("answered in time");
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_closed_registry_opens_no_further_session() {
    let world = World::below(300_000, |options| options);
    let _first = world.registered().await;
    world.registry.clone().close(SOON).await;
    let _second = world.register(Registering::default());
    sleep(SOON).await;
    assert_eq!((world.registry.sessions(), world.cluster.counts().connects), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_cure_is_told_by_every_call() {
    let world = World::new();
    world.network.refuse(Some(ConnectFault::Invalid("no authorities".to_owned())));
    let mut registration = world.register(Registering::default());
    let mut watch = world.registry.watch(&time());
    let all = async {
        let refusals = tokio::join!(
            world.registry.connected(),
            async { registration.registered().await.map(|_| ()) },
            async { world.registry.lookup(&time()).await.map(|_| ()) },
            async { world.registry.services().await.map(|_| ()) },
            async { watch.live().await.map(|_| ()) },
        );
        let (connected, registered, lookup, services, live) = refusals;
        for refusal in [connected, registered, lookup, services] {
            assert_eq!(refusal.unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(live.unwrap_err().kind(), ErrorKind::Invalid);
        let mut late = world.register(Registering::default());
        assert_eq!(late.registered().await.unwrap_err().kind(), ErrorKind::Invalid);
        let update = registration.update(|attributes| attributes.status = Status::Draining).await;
        assert_eq!(update.unwrap_err().kind(), ErrorKind::Invalid);
        let unready = world.registry.watch(&time()).ready().await.unwrap_err();
        assert_eq!(unready.kind(), ErrorKind::Invalid);
        assert_eq!(registration.withdraw(SESSION).await, Withdrawn::Confirmed);
        assert_eq!(world.registry.close(SESSION).await, Withdrawn::Confirmed);
    };
    timeout(SOON, all).await.expect("answered in time");
}

#[tokio::test(start_paused = true)]
async fn a_registry_whose_options_cannot_work_ends_its_watches() {
    let world = World::with(|options| options.with_audit_interval(Duration::ZERO));
    let mut watch = world.registry.watch(&time());
    assert_eq!(watch.current().cause().unwrap().kind(), ErrorKind::Invalid);
    let ended = timeout(SOON, watch.changed()).await.expect("answered in time");
    assert_eq!(ended.map(|_| ()), Err(Closed));
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_told_by_every_call_and_each_works_once_they_are_taken() {
    let world = World::new();
    let mut before = world.registered().await;
    let mut watched = world.registry.watch(&time());
    watched.live().await.unwrap();
    world.network.refuse(Some(ConnectFault::Auth("the password is wrong".to_owned())));
    world.cluster.expire(world.network.session().unwrap());
    let mut registration = world.registry.register(&time(), Instance::new("h", 2));
    let update_of = world.registry.register(&time(), Instance::new("h", 3));
    let mut watch = world.registry.watch(&"other".parse().unwrap());
    let refused = async {
        let told = |state: &ConnectionState| matches!(state, ConnectionState::Connecting { last: Some(_) });
        world.registry.connection().wait_for(told).await.unwrap();
        let refusals = tokio::join!(
            async { before.registered().await.map(|_| ()) },
            async { registration.registered().await.map(|_| ()) },
            async { update_of.update(|attributes| attributes.status = Status::Draining).await.map(|_| ()) },
            async { world.registry.lookup(&time()).await.map(|_| ()) },
            async { world.registry.services().await.map(|_| ()) },
            async { watch.live().await.map(|_| ()) },
            async { watched.live().await.map(|_| ()) },
        );
        let (a, b, c, d, e, f, g) = refusals;
        for refusal in [a, b, c, d, e, f, g] {
            assert_eq!(refusal.unwrap_err().kind(), ErrorKind::AuthFailed);
        }
    };
    timeout(SOON, refused).await.expect("answered in time");
    assert_eq!(watched.current().len(), 1, "what was known stays");
    world.network.refuse(None);
    sleep(Duration::from_secs(60)).await;
    before.registered().await.unwrap();
    assert!(
        world
            .cluster
            .node("/services/time/h:3")
            .is_some_and(|node| node.data.windows(8).any(|part| part == b"DRAINING" || part == b"draining"))
    );
    registration.registered().await.unwrap();
    watch.live().await.unwrap();
    assert_eq!(watched.live().await.unwrap().cause(), None);
    world.registry.lookup(&time()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_live_after_a_close() {
    let world = World::new();
    let _registration = world.registered().await;
    let mut watch = world.registry.watch(&time());
    watch.live().await.unwrap();
    world.registry.clone().close(SOON).await;
    let end = async { while watch.changed().await.is_ok() {} };
    timeout(SOON, end).await.expect("ended in time");
    assert!(matches!(watch.current().freshness(), Freshness::Stale { .. }));
    assert_eq!(watch.current().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_id_whose_withdrawal_is_under_way_is_registered_right_after_it() {
    for how in [or_fail(), Registering::default()] {
        let world = World::new();
        let first = world.registered().await;
        drop(first);
        let mut second = world.register(how);
        registered(&mut second).await;
        sleep(SOON).await;
        assert!(world.cluster.node(NODE).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_still_wanted_is_a_conflict_until_it_is_withdrawn() {
    let world = World::new();
    let first = world.registered().await;
    let mut refused = world.register(or_fail());
    assert_eq!(refused.registered().await.unwrap_err().kind(), ErrorKind::Conflict);
    let mut second = world.register(Registering::default());
    sleep(SESSION).await;
    assert!(matches!(*second.states().borrow(), RegistrationState::Conflict { .. }));
    assert_eq!(first.withdraw(SOON).await, Withdrawn::Confirmed);
    registered(&mut second).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_somebody_looks_once_a_second_however_often_it_is_asked() {
    let world = World::new();
    world.cluster.put(NODE, b"somebody's");
    let waiting = world.register(Registering::default());
    for _ in 0..20 {
        world.network.blip();
        sleep(SOON).await;
    }
    let before = world.cluster.counts().reads;
    sleep(Duration::from_secs(10)).await;
    let reads = world.cluster.counts().reads - before;
    assert!((5..15).contains(&reads), "{reads} reads: {waiting:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_somebody_writes_nothing_in_a_new_session_either() {
    let world = World::new();
    world.cluster.put(NODE, b"somebody's");
    let waiting = world.register(Registering::default());
    sleep(SOON).await;
    let mut states = waiting.states();
    assert!(matches!(*states.borrow_and_update(), RegistrationState::Conflict { .. }), "{waiting:?}");
    // A write would be told in the state.
    world.cluster.refuse_next_write(Fault::Definite("the quota is exceeded".to_owned()));
    world.cluster.expire(world.network.session().unwrap());
    assert!(timeout(SESSION, states.changed()).await.is_err(), "{waiting:?}");
}

#[tokio::test(start_paused = true)]
async fn intervals_and_timeouts_that_no_clock_can_add_are_refused() {
    let too_long: [fn(Options) -> Options; 3] = [
        |options| options.with_audit_interval(Duration::MAX),
        |options| options.with_audit_interval(Duration::from_secs(u64::MAX / 2)),
        |options| options.with_session_timeout(Duration::MAX),
    ];
    for change in too_long {
        let world = World::with(change);
        assert_eq!(world.registry.connected().await.unwrap_err().kind(), ErrorKind::Invalid);
        assert!(world.registry.watch(&time()).ready().await.is_err());
    }
}

/// Makes a record longer by so many bytes.
fn fill(bytes: usize) -> impl Fn(&mut Attributes) + Send {
    move |attributes| drop(attributes.metadata.insert("fill".to_owned(), "x".repeat(bytes)))
}

#[tokio::test(start_paused = true)]
async fn a_record_that_readers_reject_is_not_written() {
    let world = World::new();
    let most = RecordLimits::default().record;
    let registration = world.registered().await;
    let refused = registration.update(fill(most)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    registration.update(fill(most - 1_000)).await.unwrap();
    assert_eq!(world.registry.watch(&time()).live().await.unwrap().rejected(), []);

    let mut attributes = Attributes::default();
    fill(most)(&mut attributes);
    let mut larger = world.registry.register(&time(), Instance::new("h", 2).with_attributes(attributes));
    let refused = larger.registered().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn the_largest_record_that_is_taken_is_taken_over_at_every_version() {
    let all = RecordLimits::default().with_record(1 << 20);
    let world = World::with(|options| options.with_record_limits(all));
    let mut registration = world.registered().await;
    let most = largest_record(NODE);
    let refused = registration.update(fill(most)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    let overhead = world.record().len() + 100;
    for version in 0..10 {
        registration.update(fill(most - overhead - version)).await.unwrap();
        let before = world.network.session();
        // The server keeps the session, and the node with it.
        world.network.expire_locally();
        let mut states = registration.states();
        states.wait_for(|state| !matches!(state, RegistrationState::Registered { .. })).await.unwrap();
        registered(&mut registration).await;
        assert_ne!(world.network.session(), before);
        assert_eq!(world.cluster.node(NODE).unwrap().stat.owner, world.network.session().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_is_forbidden_does_not_promise_that_the_node_goes() {
    let world = World::new();
    let registration = world.registered().await;
    world.cluster.refuse_next_write(Fault::NoAuth);
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Forbidden);
    assert!(world.cluster.node(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_fails_on_a_connection_that_lasts_is_repeated() {
    let world = World::new();
    for _ in 0..3 {
        world.cluster.refuse_next_read(Fault::Definite("throttled".to_owned()));
        sleep(Duration::from_millis(1)).await;
    }
    timeout(Duration::from_secs(2), world.registry.connected()).await.expect("connected in time").unwrap();
    assert_eq!(world.cluster.counts().connects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lacks_an_operation_is_too_old_for_good() {
    let world = World::new();
    world.cluster.refuse_next_read(Fault::Unimplemented);
    let mut registration = world.register(Registering::default());
    assert_eq!(registration.registered().await.unwrap_err().kind(), ErrorKind::ServerTooOld);
    assert_eq!(world.registry.connected().await.unwrap_err().kind(), ErrorKind::ServerTooOld);
    sleep(SESSION).await;
    assert_eq!(world.cluster.counts().connects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_says_why_it_failed() {
    let faults = [
        (Fault::NoAuth, ErrorKind::NoAuth),
        (Fault::AuthFailed, ErrorKind::AuthFailed),
        (Fault::Over, ErrorKind::SessionLost),
        (Fault::Ambiguous("cut".to_owned()), ErrorKind::Unavailable),
    ];
    let world = World::new();
    world.registry.connected().await.unwrap();
    for (fault, kind) in faults {
        world.cluster.refuse_next_read(fault.clone());
        assert_eq!(world.registry.lookup(&time()).await.unwrap_err().kind(), kind);
        world.cluster.refuse_next_read(fault);
        assert_eq!(world.registry.services().await.unwrap_err().kind(), kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chroot_below_what_is_locked_is_created() {
    let cluster = Cluster::new(1);
    let fleet = Foreign { user: Some("fleet"), acl: Acl::ReadOnly, ..Foreign::default() };
    cluster.put_as("/apps", b"", fleet);
    cluster.put_as("/apps/mine", b"", Foreign { user: Some("fleet"), ..Foreign::default() });
    let network = cluster.connector_as(Some("us"), SESSION).with_chroot("/apps/mine/deep");
    let options = Options::default().with_session_timeout(SESSION).with_chroot(Chroot::Create);
    let registry = Registry::over(Arc::new(network), 15, options, Ok(Background::on(Handle::current())), 1);
    let mut registration = registry.register(&time(), Instance::new("h", 1));
    registered(&mut registration).await;
    assert!(cluster.node("/apps/mine/deep/services/time/h:1").is_some());
}

#[tokio::test(start_paused = true)]
async fn names_of_any_length_can_be_read() {
    let world = World::new();
    let long = |n: u16| format!("{n}-{}", "x".repeat(2_500)).parse::<InstanceId>().unwrap();
    let mut registrations: Vec<_> =
        (1..=450).map(|n| world.registry.register(&time(), Instance::new("h", n).with_id(long(n)))).collect();
    for registration in &mut registrations {
        registered(registration).await;
    }
    assert_eq!(world.registry.lookup(&time()).await.unwrap().len(), 450);
    assert_eq!(world.registry.services().await.unwrap(), [time()]);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_foreign_write_can_be_seen() {
    let world = World::new();
    let registration = world.registered().await;
    let mut watch = world.registry.watch(&time());
    watch.live().await.unwrap();
    world.rewrite("\"weight\":3", "\"weight\":9");
    sleep(SOON).await;
    assert_eq!(registration.foreign_writes(), ForeignWrites { adopted: 1, written_over: 0 });
    world.cluster.put_as(NODE, b"nonsense", Foreign::default());
    sleep(SOON).await;
    assert_eq!(registration.foreign_writes(), ForeignWrites { adopted: 1, written_over: 1 });
    assert!(world.record().contains("\"weight\":9"), "{}", world.record());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_write_is_adopted_across_the_loss_of_the_session() {
    let world = World::new();
    let mut registration = world.registered().await;
    world.network.expire_locally();
    world.rewrite("\"weight\":3", "\"weight\":9");
    let mut states = registration.states();
    states.wait_for(|state| !matches!(state, RegistrationState::Registered { .. })).await.unwrap();
    registered(&mut registration).await;
    assert_eq!(registration.attributes().weight, weight(9));
    assert!(world.record().contains("\"weight\":9"), "{}", world.record());
    assert_eq!(world.cluster.node(NODE).unwrap().stat.owner, world.network.session().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_takeover_that_comes_too_late_leaves_the_successor_alone() {
    let exclusive = Registering { exclusive: true, ..Registering::default() };
    for millis in (0..1_000).step_by(10) {
        let world = World::new();
        let predecessor = world.registered().await;
        world.cluster.set_latency(Duration::from_millis(100));
        // The server keeps the session, so that its next one takes the node over.
        world.network.expire_locally();
        sleep(Duration::from_millis(millis)).await;
        let other = World::beside(world.cluster.clone(), 0, |options| options);
        let mut successor = other.register(exclusive);
        timeout(SESSION, successor.registered()).await.expect("registered in time").unwrap();
        sleep(Duration::from_secs(2)).await;
        world.network.blip();
        sleep(Duration::from_secs(2)).await;
        let owner = world.cluster.node(NODE).map(|node| node.stat.owner);
        assert_eq!(owner, other.network.session(), "after {millis} ms");
        let state = predecessor.states().borrow().clone();
        assert!(matches!(state, RegistrationState::Conflict { .. }), "after {millis} ms: {state:?}");
    }
}
