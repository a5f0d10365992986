//! The number of shards of a service, as an operator changes it.

use std::sync::Arc;

use super::{Operator, refused};
use crate::discovery::lookup;
use crate::error::{Error, ErrorKind};
use crate::format::sealed::Sharding;
use crate::format::shards::{MOST, Marker, Shards, marker};
use crate::instance::ServiceName;
use crate::store::{Fault, Store};

/// What becomes of the shards that no registration stands in any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unused {
    /// Readers that start from now on read them no more. Refused as long as one of them has a child.
    Drop,
    /// Readers go on to read them: an instance may be on its way from there, or come from a process that has not heard of the
    /// change.
    Read,
}

impl Operator {
    /// Changes over how many nodes the registrations of a service are spread that were made with [`Options::shards`]
    /// above 1; 1: they stand below the service's own node. Registrations that stand move within their audit interval, and are
    /// listed all the while. Returns the number of shards that are read.
    ///
    /// Only [`Unused::Drop`] makes readers read fewer shards than before. It is right once no registration has moved for an audit interval,
    /// and every process has been connected for as long: of an instance that registers in such a shard later, a new reader learns only when it moves.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for another number than 1 to 1,024, or a format other than `curator`; [`ErrorKind::Conflict`] when the
    /// service has no marker yet, the data of its node are somebody else's, or were written meanwhile, or a shard that should be dropped
    /// has children; as [`Operator::set_status`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the write back.
    ///
    /// [`Options::shards`]: crate::Options::shards
    pub async fn set_shards(&self, service: &ServiceName, count: u16, unused: Unused) -> Result<u16, Error> {
        let context = self.0.context();
        if context.format.sharding() != Sharding::ReadAndWrite {
            let message = format!("format {} cannot have shards; use curator", context.format.name());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if !(1..=MOST).contains(&count) {
            return Err(Error::new(ErrorKind::Invalid, format!("{count} shards: use 1 to {MOST}")));
        }
        let (base, service) = (context.base.clone(), service.clone());
        let root = base.service(&service);
        let change = move |store: Arc<dyn Store>| async move {
            let (synced, read) = (store.sync(&root), store.read(std::slice::from_ref(&root)));
            synced.await.map_err(|fault| fault.while_reading(&root))?;
            let conflict = |why: &str| Error::new(ErrorKind::Conflict, format!("{root}: {why}"));
            let node = match read.await.map(|mut nodes| nodes.pop()) {
                Ok(Some(Ok(node))) => node,
                Ok(Some(Err(Fault::NoNode)) | None) => return Err(conflict("it is not there")),
                Ok(Some(Err(fault))) | Err(fault) => return Err(fault.while_reading(&root)),
            };
            let Marker::Shards { shards, node: made } = Marker::read(&node.data) else {
                return Err(conflict("its data are no marker: register with shards first"));
            };
            let changed = match unused {
                Unused::Read => shards.changed_to(count),
                Unused::Drop => Shards::new(count),
            };
            let dropped = shards.directories(&service)?.into_iter().skip(1 + usize::from(changed.read));
            let dropped: Vec<_> = dropped.map(|directory| base.service(&directory)).collect();
            for (path, node) in lookup::nodes(&*store, &dropped).await? {
                let node = node.map_err(|fault| fault.while_reading(&path))?;
                if node.is_some_and(|stat| stat.children > 0) {
                    return Err(Error::new(ErrorKind::Conflict, format!("{path}: there are nodes below it")));
                }
            }
            let written = store.set(&root, &marker(changed, made), Some(node.stat.version)).await;
            written.map_err(|fault| refused(&root, fault))?;
            Ok(changed.read)
        };
        self.0.ask("changing the number of shards", change).await
    }
}
