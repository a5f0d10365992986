//! What a registration promises while ZooKeeper refuses, answers late, or shows what others forged.

use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::time::Instant;

use super::*;
use crate::error::Error;
use crate::instance::Instance;
use crate::registration::FencingToken;
use crate::snapshot::Zxid;
use crate::store::limits::MOST_PER_REQUEST;

/// More than the longest delay between two tries.
const CURED: Duration = Duration::from_secs(6);
const STRANGER: i64 = 0x99;

fn state(registration: &Registration) -> RegistrationState {
    registration.states().borrow().clone()
}

/// The cause of the retries, and the write that stands meanwhile.
fn retrying(registration: &Registration) -> (Error, Option<Zxid>) {
    match state(registration) {
        RegistrationState::Retrying { cause, standing } => (cause, standing),
        state => panic!("it is {state:?}"),
    }
}

fn audited_every(interval: Duration) -> World {
    World::with(|options| options.with_audit_interval(interval))
}

#[tokio::test(start_paused = true)]
async fn what_an_administrator_can_lift_is_tried_until_he_does() {
    let refusals = [
        (Fault::NoAuth, ErrorKind::NoAuth, "access control"),
        (Fault::InvalidAcl, ErrorKind::NoAuth, "identity"),
        (Fault::Definite("the quota is exceeded".to_owned()), ErrorKind::Other, "quota"),
        (Fault::Ambiguous("code -120".to_owned()), ErrorKind::Unavailable, "-120"),
    ];
    for (fault, kind, why) in refusals {
        let world = World::new();
        world.cluster.refuse_writes_for(Duration::from_secs(60), fault);
        let mut registration = world.register(Registering::default());
        let refused = registration.registered_within(Duration::from_secs(59)).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        let (cause, standing) = retrying(&registration);
        assert!(cause.to_string().contains(why), "{cause}");
        assert_eq!((cause.kind(), standing, registration.token()), (kind, None, None));
        let reads = world.cluster.counts().reads;
        assert!(reads < 200, "{reads} reads in a minute");
        sleep(Duration::from_secs(1)).await;
        registration.registered_within(CURED).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_mid_life_is_tried_until_it_is_lifted() {
    let world = World::new();
    let mut registration = world.registered().await;
    world.cluster.refuse_writes_for(Duration::from_secs(60), Fault::NoAuth);
    world.cluster.delete(NODE);
    world.network.blip();
    sleep(Duration::from_secs(59)).await;
    let (cause, standing) = retrying(&registration);
    assert_eq!((cause.kind(), standing, registration.token()), (ErrorKind::NoAuth, None, None));
    sleep(Duration::from_secs(1)).await;
    registration.registered_within(CURED).await.unwrap();
    assert!(world.cluster.node(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn of_a_registration_that_stands_only_an_update_is_refused() {
    let quota = Fault::Definite("the quota is exceeded".to_owned());
    for (fault, kind, why) in
        [(Fault::NoAuth, ErrorKind::NoAuth, "access control"), (quota, ErrorKind::Other, "quota")]
    {
        let world = audited_every(Duration::from_secs(4));
        let mut registration = world.registered().await;
        let zxid = registration.registered().await.unwrap();
        let token = registration.token();
        world.cluster.refuse_writes_for(Duration::from_secs(60), fault);
        let update = registration.update(|attributes| attributes.status = Status::Draining);
        let refused = timeout(SOON, update).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), kind);
        assert!(refused.to_string().contains(why), "{refused}");
        assert_eq!(retrying(&registration).1, Some(zxid));
        assert_eq!(registration.token(), token);
        let before = world.cluster.node(NODE).unwrap().stat;
        sleep(Duration::from_secs(59)).await;
        assert_eq!(world.cluster.node(NODE).unwrap().stat, before, "no audit takes it for a leftover");
        sleep(Duration::from_secs(1)).await;
        registration.registered_within(CURED).await.unwrap();
        assert!(world.record().contains("\"enabled\":false"), "{}", world.record());
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_of_a_failed_registration_stays_until_its_guard_is_dropped() {
    let world = audited_every(Duration::from_secs(4));
    let registration = world.registered().await;
    world.cluster.refuse_next_write(Fault::TooLarge);
    let update = registration.update(|attributes| attributes.status = Status::Draining).await;
    assert_eq!(update.unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(matches!(state(&registration), RegistrationState::Failed(_)));
    sleep(Duration::from_secs(60)).await;
    assert!(world.cluster.node(NODE).is_some());
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
    assert!(world.cluster.node(NODE).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_missing_chroot_is_waited_for() {
    let cluster = Cluster::new(1);
    let network = cluster.connector(SESSION).with_chroot("/apps/mine");
    let options = Options::default().with_session_timeout(SESSION);
    let background = Ok(Background::on(Handle::current()));
    let registry = Registry::over(Arc::new(network), 10, options, background, 1);
    let mut registration = registry.register(&time(), Instance::new("h", 1));
    sleep(Duration::from_secs(60)).await;
    let (cause, _) = retrying(&registration);
    assert!(cause.to_string().contains("chroot"), "{cause}");
    cluster.put("/apps/mine", b"");
    registration.registered_within(CURED).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_processes_of_one_host_with_one_id_and_two_ports_leave_each_other_alone() {
    let first = World::new();
    let second = World::beside(first.cluster.clone(), 0, |options| options);
    let exclusive = Registering::new().with_exclusive(true);
    let id: InstanceId = "x".parse().unwrap();
    let instance = |port| Instance::new("h", port).with_id(id.clone());
    let mut holder = first.registry.register_with(&time(), instance(1), exclusive);
    registered(&mut holder).await;
    let node = first.cluster.node("/services/time/x").unwrap();
    let other = second.registry.register_with(&time(), instance(2), exclusive);
    sleep(SESSION).await;
    assert!(matches!(state(&other), RegistrationState::Conflict { .. }), "{other:?}");
    assert_eq!(first.cluster.node("/services/time/x").unwrap(), node);
    assert!(matches!(state(&holder), RegistrationState::Registered { .. }), "{holder:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_our_record_in_a_strangers_session_costs_no_session() {
    let world = World::new();
    let mut registration = world.registered().await;
    let mut bystander = world.registry.register(&time(), Instance::new("h", 2));
    registered(&mut bystander).await;
    let (session, beside) = (world.network.session(), world.cluster.node("/services/time/h:2"));
    let record = world.record();
    world.cluster.delete(NODE);
    let stranger = Foreign { session: STRANGER, ..Foreign::default() };
    world.cluster.put_as(NODE, record.as_bytes(), stranger);
    world.network.blip();
    sleep(SESSION).await;
    assert!(matches!(state(&registration), RegistrationState::Conflict { .. }), "{registration:?}");
    assert_eq!(registration.token(), None);
    assert_eq!((world.network.session(), world.cluster.node("/services/time/h:2")), (session, beside));
    assert_eq!(world.cluster.counts().connects, 1);
    assert_eq!(world.cluster.node(NODE).unwrap().stat.owner, STRANGER, "it is not ours to touch");
    world.cluster.delete(NODE);
    registration.registered_within(CURED).await.unwrap();
    world.cluster.delete(NODE);
    world.cluster.put_as(NODE, record.as_bytes(), stranger);
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Superseded);
    assert_eq!(world.cluster.node(NODE).unwrap().stat.owner, STRANGER);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_is_not_confirmed_before_a_create_that_is_under_way() {
    let world = World::new();
    world.registry.connected().await.unwrap();
    world.cluster.put("/services/time", b"");
    world.cluster.set_latency(Duration::from_millis(10));
    world.cluster.lose_next_write(Fate::Delayed(Duration::from_secs(20)));
    let registration = world.register(Registering::default());
    // The create was lost, and the connection is not back yet.
    sleep(Duration::from_millis(12)).await;
    assert_eq!(registration.withdraw(SESSION).await, Withdrawn::Confirmed);
    // Before another transaction, what was under way is committed.
    world.cluster.put("/services/other", b"");
    assert!(world.cluster.node(NODE).is_none(), "the create came after its withdrawal was confirmed");
    sleep(Duration::from_secs(30)).await;
    assert!(world.cluster.node(NODE).is_none(), "it came back");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_before_anything_was_written_is_confirmed_at_once_also_while_a_read_is_under_way() {
    let world = World::new();
    let first = world.registered().await;
    let second = world.register(Registering::default());
    sleep(SOON).await;
    assert!(matches!(state(&second), RegistrationState::Conflict { .. }), "{second:?}");
    world.cluster.set_latency(SOON);
    assert_eq!(first.withdraw(SESSION).await, Withdrawn::Confirmed);
    // The second one looks whether the place is free.
    let before = world.cluster.counts().reads;
    sleep(SOON * 3 / 4).await;
    assert_eq!(world.cluster.counts().reads, before + 1, "the read was executed, its answer is on the way");
    let began = Instant::now();
    assert_eq!(second.withdraw(SESSION).await, Withdrawn::Confirmed);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_appears_after_the_last_registration_went_is_found_by_one_more_audit() {
    let world = audited_every(Duration::from_secs(4));
    let registration = world.registered().await;
    let record = world.record();
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
    let session = world.network.session().unwrap();
    world.cluster.put_as(NODE, record.as_bytes(), Foreign { session, ..Foreign::default() });
    sleep(Duration::from_secs(12)).await;
    assert!(world.cluster.node(NODE).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_could_not_be_deleted_goes_later_also_from_a_session_that_the_server_put_in_the_place_of_ours()
 {
    for replaces in [false, true] {
        let world = audited_every(Duration::from_secs(60));
        world.cluster.replace_sessions(replaces);
        let registration = world.registered().await;
        world.network.cut();
        if replaces {
            world.cluster.expire(world.network.session().unwrap());
        }
        world.network.heal();
        sleep(SOON).await;
        assert!(world.cluster.node(NODE).is_some(), "it stands again");
        world.cluster.refuse_writes_for(SESSION, Fault::NoAuth);
        assert_eq!(registration.withdraw(SOON).await, Withdrawn::Forbidden);
        sleep(Duration::from_secs(130)).await;
        assert!(world.cluster.node(NODE).is_none(), "replaced: {replaces}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_was_taken_back_is_not_adopted_when_it_comes_late() {
    let world = audited_every(Duration::from_secs(4));
    let registration = world.registered().await;
    world.cluster.lose_next_write(Fate::Delayed(Duration::from_secs(20)));
    let draining = registration.update(|attributes| attributes.status = Status::Draining);
    assert!(timeout(Duration::from_millis(5), draining).await.is_err());
    registration.update(|attributes| attributes.status = Status::Up).await.unwrap();
    sleep(Duration::from_secs(40)).await;
    assert_eq!(registration.attributes().status, Status::Up);
    assert!(!world.record().contains("\"enabled\":false"), "{}", world.record());
    assert_eq!(registration.foreign_writes(), ForeignWrites::default());
}

/// Registers a thousand more, in two transactions of which each meets a node that stands there already: their round takes
/// three round trips.
async fn register_slowly(world: &World) -> Vec<Registration> {
    let ports = 2..=2 * MOST_PER_REQUEST as u16 + 1;
    for port in [ports.start(), ports.end()] {
        world.cluster.put(&format!("/services/time/h:{port}"), b"somebody's");
    }
    sleep(SOON).await;
    world.cluster.set_latency(Duration::from_millis(100));
    ports.map(|port| world.registry.register(&time(), Instance::new("h", port))).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_registered_while_the_connection_is_lost() {
    let world = World::new();
    let registration = world.registered().await;
    let unchanged = registration.update(|_| {});
    let others = register_slowly(&world).await;
    // Half of the creates were answered, the round is not over.
    assert!(timeout(Duration::from_millis(250), unchanged).await.is_err());
    world.network.cut();
    sleep(SOON).await;
    let registered = |other: &Registration| matches!(state(other), RegistrationState::Registered { .. });
    assert!(!others.iter().any(registered), "an answer that came before the cut was taken up after it");
    assert!(matches!(state(&registration), RegistrationState::Suspended { .. }), "{registration:?}");
    world.network.heal();
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(state(&registration), RegistrationState::Registered { .. }), "{registration:?}");
    drop(others);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_seen_while_a_round_is_under_way_is_not_forgotten() {
    let world = World::new();
    let registration = world.registered().await;
    let mut watch = world.registry.watch(&time());
    watch.live().await.unwrap();
    let unchanged = registration.update(|_| {});
    let others = register_slowly(&world).await;
    // The read was executed, the round is not over.
    assert!(timeout(Duration::from_millis(60), unchanged).await.is_err());
    world.cluster.delete(NODE);
    sleep(Duration::from_secs(2)).await;
    assert!(world.cluster.node(NODE).is_some(), "{registration:?}");
    drop(others);
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_is_closed_gracefully_is_never_pending() {
    let world = World::new();
    let registration = world.registered().await;
    let mut states = registration.states();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while states.changed().await.is_ok() {
            seen.push(states.borrow_and_update().clone());
        }
        seen
    });
    assert_eq!(world.registry.clone().close(SOON).await, Withdrawn::Confirmed);
    drop((registration, world));
    let seen = timeout(SOON, seen).await.unwrap().unwrap();
    assert_eq!(seen, [RegistrationState::Withdrawn(Withdrawn::Confirmed)]);
}

#[tokio::test(start_paused = true)]
async fn an_own_node_that_cannot_be_read_is_not_called_somebody_elses() {
    let world = World::new();
    let registration = world.registered().await;
    world.cluster.refuse_next_read(Fault::NoAuth);
    assert_eq!(registration.withdraw(SESSION).await, Withdrawn::Confirmed);
    assert!(world.cluster.node(NODE).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_refused_leaves_nothing_that_could_be_forbidden() {
    let world = World::new();
    world.registry.connected().await.unwrap();
    world.cluster.put("/services/time", b"");
    world.cluster.set_latency(Duration::from_millis(100));
    world.cluster.refuse_next_write(Fault::NoAuth);
    let registration = world.register(Registering::default());
    sleep(Duration::from_millis(10)).await;
    assert_eq!(registration.withdraw(SESSION).await, Withdrawn::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_host_and_every_port_are_checked_before_anything_is_sent() {
    let world = World::new();
    for instance in [
        Instance::new("", 1),
        Instance::new("", 0).with_ssl_port(8443).with_id("x".parse().unwrap()),
        Instance::new("h", 1).with_ssl_port(0),
        Instance::new("h", 0),
    ] {
        let mut registration = world.registry.register(&time(), instance);
        assert_eq!(registration.registered().await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fencing_token_names_the_node_that_stands_and_grows_with_its_successors() {
    let world = World::new();
    let mut registration = world.register(Registering::default());
    assert_eq!(registration.token(), None);
    let mut last = None;
    for _ in 0..3 {
        registered(&mut registration).await;
        let stat = world.cluster.node(NODE).unwrap().stat;
        let token = FencingToken { created: Zxid(stat.czxid), session: stat.owner };
        assert_eq!(registration.token(), Some(token));
        assert!(last < Some(token));
        last = Some(token);
        world.cluster.expire(world.network.session().unwrap());
        let mut states = registration.states();
        states.wait_for(|state| *state == RegistrationState::Pending).await.unwrap();
        assert_eq!(registration.token(), None);
    }
}

/// An executor without a clock: it parks the thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn no_call_needs_a_runtime_of_the_caller() {
    let cluster = Cluster::new(1);
    let network = cluster.connector(SESSION);
    let options = Options::default().with_session_timeout(SESSION);
    let background = Background::own_thread().map_err(|error| panic!("{error}"));
    let registry = Registry::over(Arc::new(network.clone()), 0, options, background, 1);
    cluster.put(NODE, b"somebody's");
    let mut registration = registry.register(&time(), Instance::new("h", 1));
    let refused = block_on(registration.registered_within(Duration::from_millis(50)));
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::Conflict | ErrorKind::Unavailable));
    cluster.delete(NODE);
    block_on(registration.registered_within(Duration::from_secs(60))).unwrap();
    network.freeze();
    let withdrawn = block_on(registration.withdraw(Duration::from_millis(50)));
    assert_eq!(withdrawn, Withdrawn::Unconfirmed { gone_within: SESSION });
}

#[tokio::test(start_paused = true)]
async fn a_close_is_confirmed_once_nothing_of_a_session_that_was_given_up_can_stand() {
    let world = World::new();
    let mut registration = world.registered().await;
    world.network.freeze();
    sleep(SESSION * 2).await;
    world.network.heal();
    timeout(SESSION, registration.registered()).await.expect("it is registered again").unwrap();
    sleep(SOON).await;
    assert_eq!(world.registry.close(SESSION).await, Withdrawn::Confirmed);
    assert!(world.cluster.node(NODE).is_none());
}
