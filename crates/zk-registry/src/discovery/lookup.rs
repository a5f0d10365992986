//! One read of one service, for scripts: the same judgement as a view's, without a watch.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::assembly::Assembly as _;
use super::bulk;
use super::join::Join;
use super::merge::Merge;
use super::shard_union::{OWN, ShardUnion};
use super::view::{Batch, View};
use crate::error::Error;
use crate::format::sealed::Sharding;
use crate::format::shards::{LONGEST_MARKER, Marker, Shards};
use crate::instance::ServiceName;
use crate::options::{RecordLimits, Source, Suspicion};
use crate::snapshot::Snapshot;
use crate::store::{Fault, Node, Stat, Store};

/// The service as it is now: everything that ZooKeeper acknowledged to any client before the call is in it.
pub(crate) async fn read(
    store: &dyn Store,
    service: &ServiceName,
    sources: &[Source],
    limits: RecordLimits,
) -> Result<Snapshot, Error> {
    let mut join = Join::new(service, sources.iter().map(|source| source.format.weight_unit()));
    let mut only = None;
    for (n, source) in sources.iter().enumerate() {
        let snapshot = read_source(store, service, source, limits).await?;
        only = (sources.len() == 1).then(|| snapshot.clone());
        join.take_up(n, snapshot);
    }
    Ok(only.unwrap_or_else(|| join.snapshot()))
}

async fn read_source(
    store: &dyn Store,
    service: &ServiceName,
    source: &Source,
    limits: RecordLimits,
) -> Result<Snapshot, Error> {
    if source.format.mapping(service).is_none() {
        return read_directories(store, service, source, limits).await;
    }
    let names = names(store, service, source).await?;
    let mut join = Join::new(service, names.iter().map(|_| source.format.weight_unit()));
    for (n, name) in names.iter().enumerate() {
        join.take_up(n, read_directories(store, name, source, limits).await?);
    }
    Ok(join.snapshot())
}

/// The names under which a service stands in a source: its own, unless a node of its own says otherwise. Never none.
pub(crate) async fn names(
    store: &dyn Store,
    service: &ServiceName,
    source: &Source,
) -> Result<Vec<ServiceName>, Error> {
    let mapped = match source.format.mapping(service) {
        Some(mapping) => mapped(store, mapping, source).await?,
        None => Vec::new(),
    };
    Ok(if mapped.is_empty() { vec![service.clone()] } else { mapped })
}

/// The names that the mapping node at this path lists; none where there is no such node.
async fn mapped(store: &dyn Store, path: String, source: &Source) -> Result<Vec<ServiceName>, Error> {
    let paths = [path];
    let failed = |fault: Fault| fault.while_reading(&paths[0]);
    // Both are sent at once; the server answers in order.
    let (synced, read) = (store.sync(&paths[0]), store.read(&paths));
    synced.await.map_err(failed)?;
    match read.await.map_err(failed)?.into_iter().next() {
        Some(Ok(node)) => Ok(source.format.mapped(&node.data)),
        None | Some(Err(Fault::NoNode)) => Ok(Vec::new()),
        Some(Err(fault)) => Err(failed(fault)),
    }
}

async fn read_directories(
    store: &dyn Store,
    service: &ServiceName,
    source: &Source,
    limits: RecordLimits,
) -> Result<Snapshot, Error> {
    let Source { base, format, .. } = source;
    if format.sharding() != Sharding::Never {
        return read_shards(store, service, source, limits).await;
    }
    let directories = format.directories(service)?;
    let mut merge = Merge::new(service, format.clone(), directories.len());
    let mut only = None;
    for (n, directory) in directories.iter().enumerate() {
        let view = View::new(service.clone(), format.clone(), Suspicion::Forget, limits, Duration::ZERO);
        let root = base.service(directory);
        let (snapshot, _) = read_directory(store, &root, service, view.in_directory(n), limits).await?;
        only = (!format.is_composed()).then(|| snapshot.clone());
        merge.take_up(n, snapshot);
    }
    Ok(only.unwrap_or_else(|| merge.snapshot()))
}

/// The service's own node, and its shards if the marker says that it has some.
async fn read_shards(
    store: &dyn Store,
    service: &ServiceName,
    source: &Source,
    limits: RecordLimits,
) -> Result<Snapshot, Error> {
    let reading = ShardReading { store, service, source, limits };
    let (root, own, parent) = reading.node(OWN, source.base.service(service)).await?;
    let mut shards = match parent {
        Some(Stat { bytes: 1..=LONGEST_MARKER, .. }) => shards(store, &root).await?,
        _ => Shards::NONE,
    };
    if shards.read == 0 {
        return Ok(own);
    }
    let mut union = ShardUnion::new(own, Shards::NONE);
    let mut seen = vec![(root, parent)];
    for _ in 0..CHANGES {
        union.reshard(shards);
        reading.add_new(shards, &mut union, &mut seen).await?;
        // An instance that moved meanwhile may have been in neither place when it was read: what changed is read once more.
        if reading.read_changed(&mut union, &mut seen).await? == OwnData::Same {
            break;
        }
        // It may have moved to a shard that was not read.
        shards = self::shards(store, &seen[OWN].0).await?;
    }
    // What is in no place at the end went while it was read, and is listed.
    Ok(union.snapshot())
}

/// A service whose nodes are read one after the other.
struct ShardReading<'a> {
    store: &'a dyn Store,
    service: &'a ServiceName,
    source: &'a Source,
    limits: RecordLimits,
}

/// Whether the data of the service's own node were written while its other nodes were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OwnData {
    Same,
    Written,
}

/// A node, and what ZooKeeper knew of it when it was read.
type Seen = (String, Option<Stat>);

impl ShardReading<'_> {
    /// Reads the service's own node, or a shard: our server has caught up, and the chroot is there, since the first was read.
    async fn node(&self, number: usize, root: String) -> Result<(String, Snapshot, Option<Stat>), Error> {
        let Self { store, service, source, limits } = *self;
        let view =
            View::new(service.clone(), source.format.clone(), Suspicion::Forget, limits, Duration::ZERO)
                .in_directory(number);
        let (snapshot, parent) = match number {
            OWN => read_directory(store, &root, service, view, limits).await?,
            _ => read_listed(store, (&root, store.list(&root).await), service, view, limits).await?,
        };
        Ok((root, snapshot, parent))
    }

    /// Reads the shards that were not read yet.
    async fn add_new(
        &self,
        shards: Shards,
        union: &mut ShardUnion,
        seen: &mut Vec<Seen>,
    ) -> Result<(), Error> {
        let directories = shards.directories(self.service)?.into_iter().enumerate().skip(seen.len());
        let reads =
            directories.map(|(number, directory)| self.node(number, self.source.base.service(&directory)));
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        while let Some(read) = reads.next().await {
            let (root, snapshot, parent) = read?;
            union.take_up(seen.len(), snapshot);
            seen.push((root, parent));
        }
        Ok(())
    }

    /// Reads the nodes again whose children are others than those that were read.
    async fn read_changed(&self, union: &mut ShardUnion, seen: &mut [Seen]) -> Result<OwnData, Error> {
        let paths: Vec<_> = seen.iter().map(|(root, _)| root.clone()).collect();
        let mut own_data = OwnData::Same;
        for (number, (root, now)) in nodes(self.store, &paths).await?.into_iter().enumerate() {
            let now = now.map_err(|fault| fault.while_reading(&root))?;
            let before = std::mem::replace(&mut seen[number].1, now);
            let written = |stat: Option<Stat>| stat.map(|stat| (stat.czxid, stat.mzxid));
            if number == OWN && written(before) != written(now) {
                own_data = OwnData::Written;
            }
            if before.map(|stat| stat.pzxid) != now.map(|stat| stat.pzxid) {
                let (_, snapshot, parent) = self.node(number, root).await?;
                union.take_up(number, snapshot);
                seen[number].1 = parent;
            }
        }
        Ok(own_data)
    }
}

/// What ZooKeeper knows of each of these nodes; `None` of one that is not there.
pub(crate) async fn nodes(
    store: &dyn Store,
    paths: &[String],
) -> Result<Vec<(String, Result<Option<Stat>, Fault>)>, Error> {
    let limits = RecordLimits::default();
    let nodes = bulk::read(store, paths, String::clone, limits, |name, answer| (name, answer)).await;
    let nodes = nodes.map_err(|fault| fault.while_reading(paths.first().map_or("/", String::as_str)))?;
    let stat = |node: Result<Node, Fault>| match node {
        Ok(node) => Ok(Some(node.stat)),
        Err(Fault::NoNode) => Ok(None),
        Err(fault) => Err(fault),
    };
    Ok(nodes.into_iter().map(|(path, node)| (path, stat(node))).collect())
}

/// The shards that the marker on a service's own node names.
pub(crate) async fn shards(store: &dyn Store, root: &str) -> Result<Shards, Error> {
    let read = store.read(&[root.to_owned()]).await.map_err(|fault| fault.while_reading(root))?;
    Ok(match read.into_iter().next() {
        Some(Ok(node)) => Marker::read(&node.data).shards(),
        _ => Shards::NONE,
    })
}

/// How many shards are read at once.
const AT_ONCE: usize = 16;

/// How often the marker may be another one at the end than at the beginning. Beyond that it is written all the time.
const CHANGES: usize = 8;

async fn read_directory(
    store: &dyn Store,
    root: &str,
    service: &ServiceName,
    view: View,
    limits: RecordLimits,
) -> Result<(Snapshot, Option<Stat>), Error> {
    let failed = |fault: Fault| fault.while_reading(root);
    // Both are sent at once; the server answers in order.
    let (synced, listed) = (store.sync(root), store.list(root));
    synced.await.map_err(failed)?;
    let listed = listed.await;
    if let Err(Fault::NoNode) = listed {
        exists(store).await.map_err(failed)?;
    }
    read_listed(store, (root, listed), service, view, limits).await
}

/// Reads the children of a node that was listed; one that is not there has none.
async fn read_listed(
    store: &dyn Store,
    (root, listed): (&str, Result<(Vec<String>, Stat), Fault>),
    service: &ServiceName,
    mut view: View,
    limits: RecordLimits,
) -> Result<(Snapshot, Option<Stat>), Error> {
    let failed = |fault: Fault| fault.while_reading(root);
    let (names, parent) = match listed {
        Ok((names, parent)) => (names, Some(parent)),
        Err(Fault::NoNode) => (Vec::new(), None),
        Err(fault) => return Err(failed(fault)),
    };
    let path = |name: &String| format!("{root}/{name}");
    let ahead = |name, answer| view.decode_ahead(name, answer);
    let items = bulk::read(store, &names, path, limits, ahead).await.map_err(failed)?;
    view.listed(Batch { items, parent, gapless: false }, Instant::now());
    view.live();
    Ok((view.publish().unwrap_or_else(|| Snapshot::pending(service)), parent))
}

/// Whether there is anything that a service could be absent from: below a chroot that does not exist, everything is missing.
pub(crate) async fn exists(store: &dyn Store) -> Result<(), Fault> {
    match store.read(&["/".to_owned()]).await?.pop() {
        Some(Err(Fault::NoNode)) => Err(Fault::Definite("the chroot does not exist".to_owned())),
        _ => Ok(()),
    }
}
