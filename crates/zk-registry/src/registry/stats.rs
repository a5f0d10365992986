//! What a registry is and has been through, in numbers: for a metrics exporter to read.

use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, Registry};
use crate::discovery::Channel;
use crate::instance::{ServiceName, Status};
use crate::registration::{ForeignWrites, RegistrationState};
use crate::session::ConnectionState;
use crate::snapshot::{Freshness, Snapshot};

/// The figures of a [`Registry`] at one moment. Counts only grow; they begin at 0 with the registry.
///
/// Reading them looks at every watched service and every registration; what is counted as it happens costs an atomic addition
/// for each session, write and change of a service.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RegistryStats {
    /// Whether every session is connected.
    pub is_connected: bool,
    /// The number of sessions: see [`Registry::sessions`].
    pub sessions: usize,
    /// The session timeout that the server granted; `None` while there is no connection.
    pub session_timeout: Option<Duration>,
    /// How sessions have ended.
    pub sessions_ended: SessionsEnded,
    /// Each watched service, by name.
    pub services: Vec<ServiceStats>,
    /// Where the registrations stand.
    pub registrations: RegistrationStats,
    /// The writes of registrations that ZooKeeper acknowledged.
    pub writes: WriteStats,
    /// What others wrote to our nodes, over all registrations so far.
    pub foreign_writes: ForeignWrites,
}

/// How many sessions have ended, by how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionsEnded {
    /// The server said that they had expired.
    pub expired: u64,
    /// They were given up after a long silence, or lost to another session.
    pub lost: u64,
    /// The server refused our credentials, or lacks an operation.
    pub refused: u64,
    /// We closed them.
    pub closed: u64,
}

/// The view of one service.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// The service's name.
    pub service: ServiceName,
    /// The number of listed instances whose status is [`Status::Up`].
    pub up: usize,
    /// The number of listed instances with any other status.
    pub draining: usize,
    /// The number of suspects: listed no more, perhaps alive.
    pub suspects: usize,
    /// The number of nodes that are no usable instance.
    pub rejected: usize,
    /// How fresh that is.
    pub freshness: Freshness,
    /// For how long it has been stale; zero while it is not.
    pub stale_for: Duration,
    /// The number of times that an instance came, went or was written.
    pub changes: u64,
    /// The number of times that everything was read: at the beginning, and after a reconnect.
    pub resyncs: u64,
    /// The number of times that an audit found a change of which no event had told. Anything but 0 is worth a report.
    pub audit_repairs: u64,
}

/// How many registrations are in each state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegistrationStats {
    /// They wait for ZooKeeper.
    pub pending: usize,
    /// Their nodes stand.
    pub registered: usize,
    /// Their nodes stand, and ZooKeeper is not heard.
    pub suspended: usize,
    /// They drain in a format that cannot say so: there is no node of theirs, and none is wanted.
    pub drained: usize,
    /// ZooKeeper refuses a write, or does not answer; it is tried again.
    pub retrying: usize,
    /// A foreign node is in their place.
    pub in_conflict: usize,
    /// Waiting cannot cure them.
    pub failed: usize,
}

/// How many writes were acknowledged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct WriteStats {
    /// Nodes that were created.
    pub created: u64,
    /// Nodes that were written in place, also those that were taken over.
    pub written: u64,
    /// Nodes that moved to another name or directory.
    pub moved: u64,
    /// Nodes that were deleted.
    pub deleted: u64,
}

impl Registry {
    /// The figures of this moment.
    pub fn stats(&self) -> RegistryStats {
        self.0.stats()
    }
}

/// A registry that is not kept alive.
#[cfg(feature = "metrics")]
pub(crate) struct WeakRegistry(std::sync::Weak<Inner>);

#[cfg(feature = "metrics")]
impl Registry {
    pub(crate) fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(std::sync::Arc::downgrade(&self.0))
    }

    /// Runs a task on the background side.
    pub(crate) fn run_in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.slots.background.spawn(task);
    }
}

#[cfg(feature = "metrics")]
impl WeakRegistry {
    /// The figures of this moment; `None` once it was dropped.
    pub(crate) fn stats(&self) -> Option<RegistryStats> {
        self.0.upgrade().map(|registry| registry.stats())
    }
}

impl Inner {
    pub(crate) fn stats(&self) -> RegistryStats {
        let counters = &self.slots.context.counters;
        let session_timeout = match *self.first.borrow() {
            ConnectionState::Connected { session_timeout, .. } => Some(session_timeout),
            _ => None,
        };
        let now = Instant::now();
        let views = self.views.channels();
        let mut services: Vec<_> = views.into_iter().map(|view| ServiceStats::new(view, now)).collect();
        services.sort_by(|one, other| one.service.cmp(&other.service));
        let (sessions, writes) = (&counters.sessions, &counters.writes);
        RegistryStats {
            is_connected: matches!(*self.connection.borrow(), ConnectionState::Connected { .. }),
            sessions: self.slots.count(),
            session_timeout,
            sessions_ended: SessionsEnded {
                expired: sessions.expired.get(),
                lost: sessions.lost.get(),
                refused: sessions.refused.get(),
                closed: sessions.closed.get(),
            },
            services,
            registrations: self.registrations(),
            writes: WriteStats {
                created: writes.created.get(),
                written: writes.written.get(),
                moved: writes.moved.get(),
                deleted: writes.deleted.get(),
            },
            foreign_writes: ForeignWrites {
                adopted: counters.adopted.get(),
                written_over: counters.written_over.get(),
            },
        }
    }

    fn registrations(&self) -> RegistrationStats {
        let mut stats = RegistrationStats::default();
        self.slots.context.census.each(|state| match state {
            RegistrationState::Pending => stats.pending += 1,
            RegistrationState::Registered { .. } => stats.registered += 1,
            RegistrationState::Suspended { .. } => stats.suspended += 1,
            RegistrationState::Retrying { .. } => stats.retrying += 1,
            RegistrationState::Conflict { .. } => stats.in_conflict += 1,
            RegistrationState::Failed(_) => stats.failed += 1,
            RegistrationState::Drained { .. } => stats.drained += 1,
            RegistrationState::Withdrawn(_) => {}
        });
        stats
    }
}

impl ServiceStats {
    fn new((service, channel): (ServiceName, Channel), now: Instant) -> Self {
        let snapshot: Snapshot = channel.snapshots.borrow().clone();
        let up = snapshot.instances().filter(|member| member.status() == Status::Up).count();
        let freshness = channel.last_heard.judge(snapshot.freshness(), now);
        let stale_for = match freshness {
            Freshness::Stale { since } => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        Self {
            service,
            up,
            draining: snapshot.len() - up,
            suspects: snapshot.suspects().len(),
            rejected: snapshot.rejected().len(),
            freshness,
            stale_for,
            changes: channel.counters.changes.get(),
            resyncs: channel.counters.resyncs.get(),
            audit_repairs: channel.counters.repairs.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::instance::Instance;
    use crate::resolve::Resolve as _;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn what_a_registry_goes_through_is_counted() {
        let registry = testing::registry();
        let service: ServiceName = "time".parse().unwrap();
        let mut watch = registry.watch(&service);
        watch.live().await.unwrap();
        let mut kept = registry.register(&service, Instance::new("10.0.0.1", 1));
        kept.registered().await.unwrap();
        let mut gone = registry.register(&service, Instance::new("10.0.0.1", 2));
        let zxid = gone.registered().await.unwrap();
        watch.wait_for(zxid).await.unwrap();
        let zxid = kept.update(|attributes| attributes.status = Status::Draining).await.unwrap();
        watch.wait_for(zxid).await.unwrap();

        let stats = registry.stats();
        assert!(stats.is_connected && stats.session_timeout.is_some());
        assert_eq!((stats.sessions, stats.registrations.registered), (1, 2));
        assert_eq!((stats.writes.created, stats.writes.written, stats.writes.deleted), (2, 1, 0));
        let [time] = stats.services.as_slice() else { panic!("{stats:?}") };
        assert_eq!((time.up, time.draining, time.freshness), (1, 1, Freshness::Live));
        assert_eq!((time.changes, time.audit_repairs), (3, 0));

        gone.withdraw(Duration::from_secs(1)).await;
        registry.expire_session();
        sleep(Duration::from_secs(30)).await;
        let stats = registry.stats();
        assert_eq!((stats.registrations.registered, stats.writes.created, stats.writes.deleted), (1, 3, 1));
        assert_eq!(stats.sessions_ended, SessionsEnded { expired: 1, ..SessionsEnded::default() });
        assert!(stats.services[0].resyncs >= 2, "{stats:?}");

        registry.stop_zookeeper();
        sleep(Duration::from_secs(60)).await;
        let stats = registry.stats();
        assert!(!stats.is_connected && stats.registrations.registered == 0, "{stats:?}");
        assert!(stats.services[0].stale_for > Duration::from_secs(40), "{stats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_write_is_counted() {
        let registry = testing::registry();
        let service: ServiceName = "time".parse().unwrap();
        let mut registration = registry.register(&service, Instance::new("10.0.0.1", 1));
        registration.registered().await.unwrap();
        let path = registration.path().to_owned();
        registry.put(&path, b"rubbish");
        sleep(Duration::from_secs(120)).await;
        let mut record: serde_json::Value = serde_json::from_slice(&registry.data(&path).unwrap()).unwrap();
        record["enabled"] = false.into();
        registry.put(&path, record.to_string().as_bytes());
        sleep(Duration::from_secs(120)).await;
        let foreign = registry.stats().foreign_writes;
        assert_eq!((foreign.written_over, foreign.adopted), (1, 1));
        assert_eq!(foreign, registration.foreign_writes());
    }
}
