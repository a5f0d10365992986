//! The markers of services with shards: how many there are, as the nodes say and as this registry was asked for.
//!
//! A registrar does not watch them: ten thousand would each hear of every change. It looks before the first registration of a service,
//! with every audit, and before anything else in a new session. A pure step decides what is written; each write is guarded by what was seen.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tracing::{info, warn};

use super::holders::Key;
use super::stage::Stage;
use crate::format::shards::{Marker, OwnNode, Shards, marker};
use crate::options::Acl;
use crate::store::{Fault, Kind, Op, Stat, Store};

/// How often one look tries to write a marker that others write at the same time.
const TRIES: u32 = 8;

/// What is known of the markers.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// What was asked for at first, and what was found last.
    known: HashMap<String, (Ask, Found)>,
    /// What to look at in the next round, and who waits for it.
    waiting: BTreeMap<String, (Ask, Vec<Key>)>,
    /// The nodes whose data were warned of.
    warned: HashSet<String>,
}

/// A marker that is looked at, and written if need be.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The nodes above the service's own, and what kind they are made of where they are missing.
    pub(super) parents: Vec<String>,
    pub(super) kind: Kind,
    pub(super) wish: Wish,
}

/// What a marker should say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    /// At least so many. Once it was so it is not said again: a number that an operator lowers later holds.
    AtLeast(u16),
    /// What it says, and this where there is none.
    AsItIs(Shards),
}

/// What a look made of a marker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// It says so.
    Shards(Shards),
    /// Somebody else's data stand there.
    Foreign,
    /// It may not be read or written.
    Forbidden(Shards),
}

/// What follows from what a service's own node says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// There is none: it is made, to stay.
    Make(Shards),
    /// It has no children, and may be a container, which would go: another one takes its place, to stay. We may write it.
    Replace {
        shards: Shards,
        version: i32,
    },
    Rest(Found),
    Write {
        shards: Shards,
        node: OwnNode,
        version: i32,
    },
}

impl Markers {
    /// The shards of the service at this node; `None`: the registration is due again once they are known. One that makes its node next
    /// waits for a look that is due: in a new session the marker may be another one than in the last.
    pub(super) fn judge(
        &mut self,
        root: &str,
        (key, stage): (Key, Stage),
        ask: impl FnOnce() -> Ask,
    ) -> Option<Shards> {
        let is_due = self.waiting.contains_key(root);
        if let Some((_, found)) = self.known.get(root).filter(|_| !is_due || stage != Stage::Create) {
            return Some(found.shards());
        }
        self.waiting.entry(root.to_owned()).or_insert_with(|| (ask(), Vec::new())).1.push(key);
        None
    }

    /// Every marker is looked at again in the next round.
    pub(super) fn look_again(&mut self, is_of_interest: impl Fn(&str) -> bool) {
        self.known.retain(|root, _| is_of_interest(root));
        for (root, (ask, found)) in &self.known {
            // What could not be written so far is still wished for.
            let wish = match found {
                Found::Shards(shards) => Wish::AsItIs(*shards),
                Found::Foreign | Found::Forbidden(_) => ask.wish,
            };
            let ask = Ask { wish, ..ask.clone() };
            self.waiting.entry(root.clone()).or_insert((ask, Vec::new()));
        }
    }

    /// What to look at.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (String, Ask)> {
        self.waiting.iter().map(|(root, (ask, _))| (root.clone(), ask.clone()))
    }

    /// What a look found: who waited for it; the shards, where they are others than were known; and why it has to be tried
    /// again, if so.
    pub(super) fn saw(
        &mut self,
        root: &str,
        found: Result<Found, Fault>,
    ) -> (Vec<Key>, Option<Shards>, Option<Fault>) {
        let Some((ask, waiting)) = self.waiting.remove(root) else { return (Vec::new(), None, None) };
        let found = match found {
            Ok(found) => found,
            Err(fault) => return (waiting, None, Some(fault)),
        };
        let shards = found.shards();
        if let Some(why) = found.differs_from(ask.wish)
            && self.warned.insert(root.to_owned())
        {
            warn!(root, shards = shards.count, "{why}");
        }
        let (_, before) = self.known.entry(root.to_owned()).or_insert((ask, found));
        let is_news = std::mem::replace(before, found).shards() != shards;
        (waiting, is_news.then_some(shards), None)
    }
}

impl Found {
    fn shards(self) -> Shards {
        match self {
            Self::Shards(shards) | Self::Forbidden(shards) => shards,
            Self::Foreign => Shards::NONE,
        }
    }

    /// Why it is not what was wished for.
    fn differs_from(self, wish: Wish) -> Option<&'static str> {
        match (self, wish) {
            (Self::Foreign, _) => {
                Some("the service's node or its data are somebody else's: it has no shards")
            }
            (Self::Forbidden(_), _) => {
                Some("the marker of the service may not be read or written: its shards are as it says")
            }
            (Self::Shards(shards), Wish::AtLeast(wish)) if shards.count > wish => {
                Some("the service has more shards than were asked for: those hold")
            }
            (Self::Shards(_), _) => None,
        }
    }
}

impl Wish {
    fn on(self, shards: Shards) -> Shards {
        match self {
            Self::AtLeast(count) if count > shards.count => shards.changed_to(count),
            _ => shards,
        }
    }

    /// Where there is no marker.
    fn anew(self) -> Shards {
        match self {
            Self::AtLeast(count) => Shards::new(count),
            Self::AsItIs(shards) => shards,
        }
    }
}

impl Step {
    /// What follows from what stands there; `None`: no node does.
    fn of(seen: Option<(&Bytes, Stat)>, wish: Wish) -> Self {
        let Some((data, Stat { version, children, owner, .. })) = seen else {
            return Self::Make(wish.anew());
        };
        match Marker::read(data) {
            Marker::Foreign => Self::Rest(Found::Foreign),
            // It goes with the session that owns it.
            Marker::Absent if owner != 0 => Self::Rest(Found::Foreign),
            Marker::Absent => Self::Write { shards: wish.anew(), node: OwnNode::Passing, version },
            Marker::Shards { shards, node } => match wish.on(shards) {
                wanted if wanted != shards => Self::Write { shards: wanted, node, version },
                _ if node == OwnNode::Passing && children == 0 && owner == 0 => {
                    Self::Replace { shards, version }
                }
                _ => Self::Rest(Found::Shards(shards)),
            },
        }
    }
}

/// Looks at the marker on this node, and writes it until it says what it should.
pub(super) async fn settle(store: &dyn Store, root: &str, ask: &Ask, acl: Acl) -> Result<Found, Fault> {
    for _ in 0..TRIES {
        let read = store.read(&[root.to_owned()]).await?.into_iter().next();
        let node = match read {
            Some(Ok(node)) => Some(node),
            Some(Err(Fault::NoNode)) | None => None,
            Some(Err(Fault::NoAuth)) => return Ok(Found::Forbidden(Shards::NONE)),
            Some(Err(fault)) => return Err(fault),
        };
        let step = Step::of(node.as_ref().map(|node| (&node.data, node.stat)), ask.wish);
        let stands = || Marker::read(node.as_ref().map_or(b"", |node| &node.data)).shards();
        let written = match step {
            Step::Rest(found) => return Ok(found),
            Step::Make(shards) => {
                let above: Vec<_> =
                    ask.parents.iter().map(|path| store.create(path, b"", ask.kind, acl)).collect();
                let made = store.create(root, &marker(shards, OwnNode::Kept), Kind::Persistent, acl);
                for parent in above {
                    // One that is there, or that may not be made, tells with the node itself.
                    drop(parent.await);
                }
                made.await.map(drop)
            }
            Step::Write { shards, node, version } => {
                let written = store.set(root, &marker(shards, node), Some(version)).await;
                if written.is_ok() {
                    info!(
                        root,
                        from = stands().count,
                        to = shards.count,
                        "the service has another number of shards"
                    );
                }
                written.map(drop)
            }
            Step::Replace { shards, version } => {
                match store.acl(root).await {
                    Ok(found) if found == acl => {}
                    // It would be ours to give away, and not its owner's.
                    Ok(_) | Err(Fault::NoAuth) => return Ok(Found::Shards(shards)),
                    Err(Fault::NoNode) => continue,
                    Err(fault) => return Err(fault),
                }
                let delete = Op::Delete { path: root.to_owned(), version: Some(version) };
                let data = Bytes::from(marker(shards, OwnNode::Kept));
                let create = Op::Create { path: root.to_owned(), data, kind: Kind::Persistent, acl };
                store.multi(vec![delete, create]).await.map(drop)
            }
        };
        let fault = match written {
            Err(Fault::Multi { fault, .. }) => *fault,
            Err(fault) => fault,
            Ok(()) => continue,
        };
        match (fault, step) {
            (Fault::BadVersion | Fault::NodeExists | Fault::NotEmpty, _) => {}
            (Fault::NoNode, Step::Make(_)) => {
                let message = format!("the parents of {root} cannot be made: does the chroot exist?");
                return Err(Fault::Definite(message));
            }
            (Fault::NoNode, _) => {}
            (Fault::NoAuth, _) => return Ok(Found::Forbidden(stands())),
            (fault, _) => return Err(fault),
        }
    }
    Err(Fault::Ambiguous(format!("the marker on {root} is written all the time")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Connect as _;
    use crate::store::memory::{Cluster, Foreign};

    const ROOT: &str = "/services/time";

    fn ask(wish: Wish) -> Ask {
        Ask { parents: vec!["/services".to_owned()], kind: Kind::Container, wish }
    }

    #[test]
    fn what_is_written_follows_from_what_was_seen() {
        let stat = |children| Stat { version: 3, children, ..Stat::default() };
        let step = |data: &[u8], children, wish| {
            Step::of(Some((&Bytes::copy_from_slice(data), stat(children))), wish)
        };
        let (four, eight) = (Shards::new(4), Shards::new(8));
        let at_least = Wish::AtLeast(8);
        assert_eq!(Step::of(None, at_least), Step::Make(eight));
        assert_eq!(step(b"", 0, at_least), Step::Write { shards: eight, node: OwnNode::Passing, version: 3 });
        assert_eq!(step(b"", 5, at_least), Step::Write { shards: eight, node: OwnNode::Passing, version: 3 });
        assert_eq!(step(b"10.0.0.1", 5, at_least), Step::Rest(Found::Foreign));
        let kept = marker(four, OwnNode::Kept);
        assert_eq!(step(&kept, 0, at_least), Step::Write { shards: eight, node: OwnNode::Kept, version: 3 });
        assert_eq!(step(&kept, 0, Wish::AtLeast(2)), Step::Rest(Found::Shards(four)), "the larger holds");
        assert_eq!(
            step(&kept, 0, Wish::AsItIs(eight)),
            Step::Rest(Found::Shards(four)),
            "what is lowered holds"
        );
        let passing = marker(four, OwnNode::Passing);
        assert_eq!(step(&passing, 0, Wish::AtLeast(4)), Step::Replace { shards: four, version: 3 });
        assert_eq!(step(&passing, 1, Wish::AtLeast(4)), Step::Rest(Found::Shards(four)));
        assert_eq!(
            step(b"", 1, Wish::AsItIs(four)),
            Step::Write { shards: four, node: OwnNode::Passing, version: 3 }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_writers_with_several_numbers_the_largest_wins_and_what_was_read_is_read_on() {
        let cluster = Cluster::new(0);
        cluster.put(&format!("{ROOT}/h:1"), b"an instance");
        let mut looks = Vec::new();
        for count in [4, 16, 2, 8] {
            let store = cluster.connector(Duration::from_secs(4)).connect().await.unwrap();
            looks.push(tokio::spawn(async move {
                settle(&*store, ROOT, &ask(Wish::AtLeast(count)), Acl::Open).await.unwrap()
            }));
        }
        for look in looks {
            let Found::Shards(shards) = look.await.unwrap() else { panic!() };
            assert!(shards.read >= shards.count);
        }
        let stands = Marker::read(&cluster.node(ROOT).unwrap().data);
        assert_eq!(stands, Marker::Shards { shards: Shards::new(16), node: OwnNode::Passing });
        // Its children are gone: from now on it stays without any.
        cluster.delete(&format!("{ROOT}/h:1"));
        let store = cluster.connector(Duration::from_secs(4)).connect().await.unwrap();
        settle(&*store, ROOT, &ask(Wish::AsItIs(Shards::new(16))), Acl::Open).await.unwrap();
        let stands = Marker::read(&cluster.node(ROOT).unwrap().data);
        assert_eq!(stands, Marker::Shards { shards: Shards::new(16), node: OwnNode::Kept });
    }

    #[tokio::test(start_paused = true)]
    async fn the_data_of_others_are_left_alone() {
        let cluster = Cluster::new(0);
        cluster.put(ROOT, b"10.0.0.1");
        let store = cluster.connector(Duration::from_secs(4)).connect().await.unwrap();
        let found = settle(&*store, ROOT, &ask(Wish::AtLeast(4)), Acl::Open).await.unwrap();
        assert_eq!(found, Found::Foreign);
        assert_eq!(&cluster.node(ROOT).unwrap().data[..], b"10.0.0.1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_of_others_is_not_taken_away_from_them() {
        let cluster = Cluster::new(0);
        let session = 0x77;
        cluster.put_as(ROOT, b"", Foreign { session, ..Foreign::default() });
        let store = cluster.connector(Duration::from_secs(4)).connect().await.unwrap();
        let found = settle(&*store, ROOT, &ask(Wish::AtLeast(4)), Acl::Open).await.unwrap();
        assert_eq!((found, cluster.node(ROOT).unwrap().stat.owner), (Found::Foreign, session));

        let cluster = Cluster::new(0);
        let theirs = Foreign { user: Some("admin"), acl: Acl::ReadOnly, ..Foreign::default() };
        cluster.put_as(ROOT, b"", theirs);
        let czxid = cluster.node(ROOT).unwrap().stat.czxid;
        for user in [None, Some("admin")] {
            let store = cluster.connector_as(user, Duration::from_secs(4)).connect().await.unwrap();
            let found = settle(&*store, ROOT, &ask(Wish::AtLeast(4)), Acl::Open).await.unwrap();
            let written =
                if user.is_some() { Found::Shards(Shards::new(4)) } else { Found::Forbidden(Shards::NONE) };
            assert_eq!((found, cluster.node(ROOT).unwrap().stat.czxid), (written, czxid));
        }
        // One that is as ours would be is replaced.
        let store = cluster.connector_as(Some("admin"), Duration::from_secs(4)).connect().await.unwrap();
        settle(&*store, ROOT, &ask(Wish::AtLeast(4)), Acl::ReadOnly).await.unwrap();
        let node = cluster.node(ROOT).unwrap();
        assert!(node.stat.czxid > czxid);
        assert_eq!(Marker::read(&node.data), Marker::Shards { shards: Shards::new(4), node: OwnNode::Kept });
    }
}
