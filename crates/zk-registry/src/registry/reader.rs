//! The task that lists this process among the readers of a service for as long as it watches the service, in a format that has such a
//! list: Dubbo's `consumers`.
//!
//! The view does not wait for it: a refusal of ZooKeeper is logged by the registrar, and the registration tried again.

use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::slots::Slots;
use crate::error::Error;
use crate::instance::ServiceName;
use crate::options::Source;
use crate::registration::{Context, Prepared, Registrar, Registration};
use crate::session::Link;

/// A reader that is about to be listed.
pub(super) struct Reader {
    context: Context,
    room: Room,
    /// The link of the view's session. Its connection tells the address of this host, which the reader's node states.
    link: watch::Receiver<Link>,
    source: Source,
    service: ServiceName,
}

/// The path bytes of a reader's node, counted among those that its session may register. Dropping it takes them out of the count.
struct Room {
    registrar: Registrar,
    load: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.registrar.load().fetch_sub(self.load, Ordering::Relaxed);
    }
}

impl Reader {
    /// The reader of a service in `source`; `None` if the format lists no readers, or, which is logged, cannot list this one.
    pub(super) fn of(
        source: &Source,
        service: &ServiceName,
        slots: &Slots,
        link: watch::Receiver<Link>,
    ) -> Option<Self> {
        let load = match Prepared::reader(&slots.context, source, service, LONGEST_HOST)? {
            Ok(prepared) => prepared.load(),
            Err(error) => {
                unlisted(service, &error);
                return None;
            }
        };
        let room = Room { registrar: slots.registrar_for(load), load };
        let (context, source, service) = (slots.context.clone(), source.clone(), service.clone());
        Some(Self { context, room, link, source, service })
    }

    /// Keeps the reader listed until the future is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        let _listed = match self.host().await {
            Some(host) => self.register(&host.to_string()),
            None => None,
        };
        pending().await
    }

    /// The address of this end of the connection to ZooKeeper, once there is one; `None` if the registry is closed before.
    async fn host(&mut self) -> Option<IpAddr> {
        let local = |link: &Link| link.store.as_ref().and_then(|store| store.local());
        let link = self.link.wait_for(|link| local(link).is_some()).await.ok()?;
        local(&link).map(|local| local.ip().to_canonical())
    }

    fn register(&self, host: &str) -> Option<Registration> {
        match Prepared::reader(&self.context, &self.source, &self.service, host)? {
            // A guard keeps its registry open. This one gets `()` in the place of the registry, which a reader must not keep open.
            Ok(prepared) => {
                let registrar = self.room.registrar.clone();
                let (registration, _) = prepared.without_load().register(registrar, Arc::new(()));
                debug!(path = registration.path(), "listing the reader");
                Some(registration)
            }
            Err(error) => {
                unlisted(&self.service, &error);
                None
            }
        }
    }
}

/// Logs why a reader is not listed.
fn unlisted(service: &ServiceName, error: &Error) {
    warn!(%service, %error, "the reader of the service cannot be listed");
}

/// The longest text of an address: path bytes are counted before the address is known.
const LONGEST_HOST: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::format::named;
    use crate::options::Options;
    use crate::resolve::Resolve as _;
    use crate::testing::Registry;

    #[tokio::test(start_paused = true)]
    async fn readers_are_spread_over_sessions_and_make_room_again() {
        let format = named("dubbo:consumer=shop").unwrap();
        let world = Registry::with(Options::default().with_format(format), 1);
        let name = |n: usize| format!("{}-{n:04}", "s".repeat(20)).parse().unwrap();
        let mut sessions = Vec::new();
        for turn in 0..3 {
            // About 390 bytes each: 1,340 of them fit beside each other.
            let mut watches: Vec<_> = (0..1_000).map(|n| world.watch(&name(1_000 * turn + n))).collect();
            for watch in &mut watches {
                watch.live().await.unwrap();
            }
            sessions.push(world.sessions());
            drop(watches);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(sessions, [sessions[0]; 3]);
    }
}
