//! Keeps every listener registered, and takes the registrations back before the listeners close.
//!
//! One task per listener, which is one straight line: find the address, register, tell what becomes of it, and in the end
//! say "draining", wait until that is known, and withdraw.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use zk_registry::{
    Announced, Attributes, ConnectionState, Error, ErrorKind, Leave, Registration, RegistrationState,
    Registry, ServiceName, Withdrawn,
};

use crate::daemon::advertise::{Advertise, HostPort};
use crate::daemon::board::{Board, word};

/// All registrations of the process. Dropping it withdraws them, best effort.
#[derive(Debug)]
pub(crate) struct Announcer {
    leaving: CancellationToken,
    tasks: JoinSet<()>,
}

/// What is announced, and how it ends.
#[derive(Clone, Debug)]
pub(crate) struct Announcing {
    pub(crate) registry: Registry,
    pub(crate) service: ServiceName,
    /// What the configuration says of every instance, now and from now on.
    pub(crate) attributes: watch::Receiver<Attributes>,
    /// How long readers have to see that we are draining; `None` where the format cannot say so.
    pub(crate) notice: Option<Duration>,
    /// How long ZooKeeper has to acknowledge, for each of the two steps of leaving.
    pub(crate) patience: Duration,
    pub(crate) board: Board,
    /// Where it is told that a listener can never be registered as it was asked for: why it was refused before it ever stood.
    pub(crate) refusal: watch::Sender<Option<Error>>,
}

impl Announcer {
    /// Registers the listeners, those whose address is known at once.
    ///
    /// # Errors
    ///
    /// What makes a registration impossible from the start, such as metadata that is too large. Nothing is registered
    /// then.
    pub(crate) fn start(
        announcing: &Announcing,
        listeners: Vec<(SocketAddr, Advertise)>,
    ) -> Result<Self, Error> {
        let configured = announcing.attributes.borrow().clone();
        let mut announced = Vec::with_capacity(listeners.len());
        for (n, (listener, advertise)) in listeners.into_iter().enumerate() {
            let advertise = advertise.of(listener).with_attributes(configured.clone());
            announced.push((n, listener, announcing.registry.announce(&announcing.service, advertise)?));
        }
        let leaving = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (n, listener, announced) in announced {
            let configured = configured.clone();
            tasks.spawn(announcing.clone().run(n, listener, announced, configured, leaving.clone()));
        }
        Ok(Self { leaving, tasks })
    }

    /// Withdraws every registration, politely, and waits for it.
    pub(crate) async fn leave(self) {
        self.leaving.cancel();
        self.tasks.join_all().await;
    }
}

impl Announcing {
    async fn run(
        self,
        n: usize,
        listener: SocketAddr,
        mut announced: Announced,
        configured: Attributes,
        leaving: CancellationToken,
    ) {
        let known = tokio::select! {
            // An address that is known has a registration, which is taken back politely however soon we leave.
            biased;
            known = announced.address() => known,
            () = leaving.cancelled() => return info!(%listener, "was never registered"),
        };
        let address = match known {
            Ok(address) => address.to_owned(),
            Err(error) => {
                let hint = if error.kind() == ErrorKind::Invalid { "; use --advertise" } else { "" };
                let why = format!("{error}{hint}");
                error!(%listener, "cannot be registered: {why}");
                return self.board.set_failed(n, &why);
            }
        };
        let Ok(registration) = announced.registration().await else { return };
        self.board.set_address(n, &address, registration.path());
        leaving.run_until_cancelled(self.follow(n, &address, registration, configured)).await;
        let stood = stands(&registration.states().borrow());
        self.leave(n, &address, announced, stood).await;
    }

    /// Tells what becomes of a registration, and applies what changes in the configuration, for ever.
    async fn follow(&self, n: usize, address: &str, registration: &Registration, mut configured: Attributes) {
        let mut states = registration.states();
        let mut attributes = self.attributes.clone();
        let mut told = false;
        loop {
            let state = states.borrow_and_update().clone();
            // An operator may have written that it drains; that comes with a state of its own.
            self.board.set_status(n, registration.attributes().status);
            self.board.set_state(n, &state);
            match &state {
                RegistrationState::Registered { zxid } => {
                    if !told {
                        told = true;
                        tell(&format!("registered {address} at {}", registration.path()));
                        self.warn_if_out_of_reach(address);
                    }
                    info!(%address, path = registration.path(), %zxid, "registered");
                }
                RegistrationState::Conflict { with } => {
                    warn!(%address, with, "somebody else is registered here; waiting for them to go");
                }
                RegistrationState::Failed(error) => {
                    error!(%address, %error, "cannot be registered");
                    // Of a connection that can never be it is told elsewhere.
                    let has_failed =
                        matches!(*self.registry.connection().borrow(), ConnectionState::Failed(_));
                    if !told && !has_failed && error.kind() == ErrorKind::Invalid {
                        self.refusal.send_replace(Some(error.clone()));
                    }
                }
                state => debug!(%address, state = word(state), "registration"),
            }
            tokio::select! {
                changed = states.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                }
                Ok(now) = different(&mut attributes, &configured) => {
                    reconfigure(address, registration, &configured, &now).await;
                    configured = now;
                }
            }
        }
    }

    fn warn_if_out_of_reach(&self, address: &str) {
        if let ConnectionState::Connected { local, .. } = &*self.registry.connection().borrow()
            && address.parse().is_ok_and(|address| out_of_reach(&address, *local))
        {
            warn!(%address, "advertises a loopback address, but ZooKeeper is on another host: only clients on this host can connect; use --advertise");
        }
    }

    /// Leaves so that no client is surprised; the listeners linger together, later.
    async fn leave(&self, n: usize, address: &str, announced: Announced, stood: bool) {
        let how = Leave::default()
            .with_notice(self.notice.unwrap_or_default())
            .with_linger(Duration::ZERO)
            .with_within(self.patience);
        let withdrawn = announced.leave(how).await;
        self.board.set_state(n, &RegistrationState::Withdrawn(withdrawn));
        match withdrawn {
            Withdrawn::Forbidden => {
                warn!(%address, "ZooKeeper does not let us delete the node; it goes with the session");
            }
            Withdrawn::Superseded => info!(%address, "withdrawn: somebody else had taken the place"),
            Withdrawn::Unconfirmed { gone_within } => {
                warn!(%address, ?gone_within, "ZooKeeper did not confirm the withdrawal; the node goes with its session");
            }
            _ if !stood => info!(%address, "was never registered"),
            _ => info!(%address, "withdrawn"),
        }
    }
}

/// Waits until the configuration says something else than `then`.
async fn different(
    attributes: &mut watch::Receiver<Attributes>,
    then: &Attributes,
) -> Result<Attributes, watch::error::RecvError> {
    attributes.wait_for(|now| now != then).await.map(|now| now.clone())
}

/// Changes what differs between the configuration of then and of now, and leaves what an operator has written. Does not wait
/// for ZooKeeper: the change is wanted from now on, and the registration's state tells when it is written.
async fn reconfigure(address: &str, registration: &Registration, then: &Attributes, now: &Attributes) {
    let change = registration.update(|wanted| {
        if now.weight != then.weight {
            wanted.weight = now.weight;
        }
        if now.zone != then.zone {
            wanted.zone.clone_from(&now.zone);
        }
        if now.metadata != then.metadata {
            wanted.metadata.clone_from(&now.metadata);
        }
    });
    tokio::select! {
        biased;
        Err(error) = change => warn!(%address, %error, "the changed configuration cannot be written"),
        () = std::future::ready(()) => {}
    }
}

/// Whether a node is known to stand for it.
fn stands(state: &RegistrationState) -> bool {
    matches!(
        state,
        RegistrationState::Registered { .. }
            | RegistrationState::Suspended { .. }
            | RegistrationState::Retrying { standing: Some(_), .. }
    )
}

/// Whether clients on other hosts would connect to themselves: ours is a loopback address, but not the one from which
/// ZooKeeper is reached.
fn out_of_reach(address: &HostPort, local: Option<SocketAddr>) -> bool {
    address.is_loopback() && local.is_some_and(|local| !local.ip().to_canonical().is_loopback())
}

/// One line on standard output for the program's starter; a reader that went away is no failure.
fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, timeout};
    use zk_registry::{Options, Tls, testing};

    use super::*;
    use crate::daemon::advertise::plan;
    use crate::daemon::metrics::Metrics;

    const NODE: &str = "/services/time/127.0.0.1:8897";

    struct World {
        zookeeper: testing::Registry,
        board: Board,
        announcer: Announcer,
        refusal: watch::Sender<Option<Error>>,
    }

    impl World {
        fn new(zookeeper: testing::Registry, listener: &str) -> Self {
            Self::of(Registry::clone(&zookeeper), zookeeper, listener)
        }

        fn of(registry: Registry, zookeeper: testing::Registry, listener: &str) -> Self {
            let listener: SocketAddr = listener.parse().unwrap();
            let board = Board::new([listener], Metrics::default());
            let refusal = watch::Sender::new(None);
            let announcing = Announcing {
                registry,
                service: "time".parse().unwrap(),
                attributes: watch::Sender::new(Attributes::default()).subscribe(),
                notice: Some(Duration::from_millis(300)),
                patience: Duration::from_secs(3),
                board: board.clone(),
                refusal: refusal.clone(),
            };
            let advertise = plan(&[listener], &[], None).unwrap().remove(0);
            let announcer = Announcer::start(&announcing, vec![(listener, advertise)]).unwrap();
            Self { zookeeper, board, announcer, refusal }
        }

        async fn ready(&self) {
            let ready = async {
                while !self.board.is_ready() {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(60), ready).await.unwrap();
        }
    }

    fn word_of(board: &Board) -> String {
        let listings = serde_json::to_value(board.current()).unwrap();
        listings[0]["state"].as_str().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_says_draining_and_waits_before_it_unlists() {
        let world = World::new(testing::registry(), "127.0.0.1:8897");
        world.ready().await;
        let began = Instant::now();
        let leaving = tokio::spawn(world.announcer.leave());
        sleep(Duration::from_millis(250)).await;
        let record = String::from_utf8(world.zookeeper.data(NODE).unwrap()).unwrap();
        assert!(record.contains(r#""enabled":false"#), "{record}");
        leaving.await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(world.zookeeper.data(NODE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_on_every_address_is_registered_once_zookeeper_is_reached() {
        let zookeeper = testing::registry();
        zookeeper.stop_zookeeper();
        let world = World::new(zookeeper, "0.0.0.0:8897");
        sleep(Duration::from_secs(30)).await;
        assert!(!world.board.is_ready());
        world.zookeeper.start_zookeeper();
        world.ready().await;
        assert!(world.zookeeper.data(NODE).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_an_operator_drains_is_not_ready() {
        let world = World::new(testing::registry(), "127.0.0.1:8897");
        world.ready().await;
        let record = String::from_utf8(world.zookeeper.data(NODE).unwrap()).unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
        record["enabled"] = false.into();
        world.zookeeper.put(NODE, record.to_string().as_bytes());
        sleep(Duration::from_secs(60)).await;
        assert!(!world.board.is_ready());

        record["enabled"] = true.into();
        world.zookeeper.put(NODE, record.to_string().as_bytes());
        world.ready().await;
    }

    /// What Dubbo 3 keeps beside it: its readers would lose all by a record of ours.
    const DUBBO: &str = r#"{"name":"time","id":"x","address":"10.0.0.9","port":80,"payload":{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","metadata":{}}}"#;

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_before_it_ever_stood_is_told() {
        let zookeeper = testing::registry();
        zookeeper.put("/services/time/x", DUBBO.as_bytes());
        let world = World::new(zookeeper, "127.0.0.1:8897");
        let mut refusal = world.refusal.subscribe();
        let refused = timeout(Duration::from_secs(60), refusal.wait_for(Option::is_some)).await.unwrap();
        assert!(refused.unwrap().as_ref().unwrap().to_string().contains("Dubbo"));
        assert_eq!(world.zookeeper.data(NODE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stood_once_is_never_refused() {
        let world = World::new(testing::registry(), "127.0.0.1:8897");
        world.ready().await;
        world.zookeeper.put("/services/time/x", DUBBO.as_bytes());
        world.zookeeper.expire_session();
        sleep(Duration::from_secs(30)).await;
        world.ready().await;
        assert!(world.refusal.borrow().is_none());
    }

    #[tokio::test]
    async fn a_registry_that_has_failed_leaves_no_listener_pending() {
        let options = Options::default().with_tls(Tls::new("no certificate"));
        let registry = Registry::open("127.0.0.1:1".parse().unwrap(), options);
        let world = World::of(registry, testing::registry(), "0.0.0.0:8897");
        let failed = async {
            while word_of(&world.board) != "failed" {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), failed).await.expect("failed, too");
    }

    #[test]
    fn only_a_loopback_address_with_zookeeper_elsewhere_is_out_of_reach() {
        let beyond = |address: &str, local: Option<&str>| {
            out_of_reach(&address.parse().unwrap(), local.map(|local| local.parse().unwrap()))
        };
        assert!(beyond("127.0.0.1:8897", Some("10.0.0.7:40000")));
        assert!(beyond("localhost:8897", Some("[2001:db8::7]:40000")));
        assert!(!beyond("10.0.0.7:8897", Some("10.0.0.7:40000")));
        assert!(!beyond("127.0.0.1:8897", Some("127.0.0.1:40000")));
        assert!(!beyond("127.0.0.1:8897", Some("[::ffff:127.0.0.1]:40000")));
        assert!(!beyond("127.0.0.1:8897", None), "not known");
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_session_changes_nothing_in_the_end() {
        let world = World::new(testing::registry(), "127.0.0.1:8897");
        world.ready().await;
        world.zookeeper.expire_session();
        sleep(Duration::from_secs(30)).await;
        world.ready().await;
        assert!(world.zookeeper.data(NODE).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn zookeeper_cannot_keep_us_from_leaving() {
        let world = World::new(testing::registry(), "127.0.0.1:8897");
        world.ready().await;
        world.zookeeper.freeze();
        let began = Instant::now();
        world.announcer.leave().await;
        assert!(began.elapsed() <= Duration::from_secs(7), "left after {:?}", began.elapsed());
    }
}
