//! The one door for the hooks of this library's own integration tests and benchmarks; no part of its stable interface.

use std::sync::Arc;
use std::time::Duration;

pub use super::dialects::WRITTEN_DIALECTS;
use crate::instance::ServiceName;
use crate::options::Options;

/// Asks the ZooKeeper at `server` (`host:port`) whether it behaves as the one in memory, on which everything else is tested.
/// For the integration tests of this library; no part of its stable interface.
///
/// # Panics
///
/// When it does not; the message names what failed.
pub async fn conformance(server: &str) {
    crate::store::conformance::ask(server).await;
}

/// What a user relies on, asked of this registry and of a real ZooKeeper. For the integration tests of this library; no part
/// of its stable interface.
pub mod behaviours {
    pub use crate::testing::behaviours::{ALL, Behaviour, Network, Process, World};
}

/// A view of `instances` instances, each of a session of its own, as a function: every call decodes one change, applies it
/// and gives the next snapshot. For the benchmarks of this library; no part of its stable interface.
///
/// # Panics
///
/// When there is to be no instance.
pub fn publications(instances: usize) -> impl FnMut() -> crate::Snapshot {
    use crate::discovery::view::{Batch, Read, View};
    use crate::format::Format;
    use crate::format::sealed::Owner;
    use crate::store::{Fault, Node, Stat};

    assert!(instances > 0, "a view without instances has no change to publish");
    let format: Arc<dyn Format> = Arc::new(crate::format::Curator);
    let service: ServiceName = "time".parse().expect("it is a valid name");
    let owner = Owner { host: Some("a host".to_owned()), incarnation: uuid::Uuid::new_v4() };
    let options = Options::default();
    let mut view = View::new(
        service.clone(),
        format.clone(),
        options.suspicion,
        options.record_limits,
        Duration::from_secs(10),
    );
    let children = u32::try_from(instances).expect("a service has fewer children");
    let mut zxid = 0;
    let mut node = move |n: usize| {
        zxid += 1;
        let instance = crate::Instance::new(format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255), 80);
        let id = instance.id().expect("an address is a valid id");
        let now = std::time::SystemTime::now();
        let data = format.encode(&service, &id, &instance, &owner, now).expect("it has no attributes");
        let stat = Stat { czxid: zxid, mzxid: zxid, owner: zxid, ..Stat::default() };
        (id.to_string(), Node { data: data.into(), stat })
    };
    let mut now = tokio::time::Instant::now();
    let parent = |children| Some(Stat { children, ..Stat::default() });
    let items = (0..instances).map(&mut node).map(|(name, node)| Read::answer(name, Ok(node))).collect();
    view.listed(Batch { items, parent: parent(children), gapless: true }, now);
    let (mut next, mut gone) = (0, false);
    move || {
        // Each goes and comes back; the next one is in another leaf.
        next = if gone { next } else { (next + 7_919) % instances };
        gone = !gone;
        now += Duration::from_millis(5);
        let (name, node) = node(next);
        let answer = if gone { Err(Fault::NoNode) } else { Ok(node) };
        let children = if gone { children - 1 } else { children };
        view.mark(&name, now);
        let items = view.take_marks(1).pop().map(|name| Read::answer(name, answer)).into_iter().collect();
        view.loaded(Batch { items, parent: parent(children), gapless: true }, now);
        view.publish().expect("every call changes one instance")
    }
}
