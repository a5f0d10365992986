//! Looking at the nodes of a fleet, and changing those of others: what an operator does by hand.
//!
//! A [`Registration`](crate::Registration) changes its own node and nothing else. An [`Operator`] changes nodes that other
//! processes own, one guarded write at a time: each write names the [`Inspection`] that it is based on, and is refused when the
//! node was written, deleted or created anew since.
//!
//! ```no_run
//! use zk_registry::operate::Operator;
//! use zk_registry::{Options, Registry, Status};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::open("zk1:2181".parse()?, Options::default());
//! let operator = Operator::new(&registry);
//! let seen = operator.inspect(&"time".parse()?, "10.0.0.1:8897").await?.ok_or("not there")?;
//! operator.set_status(&seen, Status::Draining, Some("deploy")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! An owner that registers with this library adopts a changed status or weight and keeps it over an expired session. Owners of
//! other libraries undo it when they register again.

mod directory;
mod inspection;
mod rules;
mod shards;

use std::num::NonZeroU16;
use std::sync::Arc;

pub use self::directory::Directory;
pub use self::inspection::Inspection;
use self::rules::RuleBook;
pub use self::shards::Unused;
use crate::discovery::lookup;
use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::format::sealed::{Amendment, Sharding};
use crate::instance::{NodeName, ServiceName, Status};
use crate::options::Source;
use crate::registry::Registry;
use crate::store::{Fault, Store};

/// Looks at and changes the nodes of others, over the sessions of a registry. Clones share them.
#[derive(Clone, Debug)]
pub struct Operator(Registry);

impl Operator {
    /// An operator with the rights, the base path and the format of a registry.
    pub fn new(registry: &Registry) -> Self {
        Self(registry.clone())
    }

    /// Looks at a node of a service: the one of this name, or else the one of the instance that has this id. `None` when there is
    /// neither. An interface of Dubbo that a mapping finds under applications is looked for there: [`Inspection::service`] says where.
    ///
    /// Everything that ZooKeeper acknowledged to any client before the call is in it.
    ///
    /// # Errors
    ///
    /// As [`Registry::lookup`]; [`ErrorKind::Invalid`] for a name that no node can have.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn inspect(&self, service: &ServiceName, node: &str) -> Result<Option<Inspection>, Error> {
        let name: NodeName = node.parse()?;
        if let Some(found) = self.named(service, name.clone()).await? {
            return Ok(Some(found));
        }
        let snapshot = self.0.lookup(service).await?;
        match snapshot.get(&name.to_id()).map(|member| member.node_name()) {
            // It may have moved from one shard to another while it was looked for.
            Some(node) => self.named(service, node).await,
            None => Ok(None),
        }
    }

    /// Looks at the node of this name, under the first of the names of its service that has it.
    async fn named(&self, service: &ServiceName, name: NodeName) -> Result<Option<Inspection>, Error> {
        for service in self.names(service).await? {
            if let Some(found) = self.named_below(&service, name.clone()).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The names under which a service stands.
    async fn names(&self, service: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        let context = self.0.context();
        if context.format.mapping(service).is_none() {
            return Ok(vec![service.clone()]);
        }
        let source = Source::new(context.base.clone(), context.format.clone());
        let service = service.clone();
        let look =
            move |store: Arc<dyn Store>| async move { lookup::names(&*store, &service, &source).await };
        self.0.ask("looking where the service stands", look).await
    }

    /// Looks at the node of this name: of several directories in the first one that has it, of shards in the one that readers go by.
    async fn named_below(&self, service: &ServiceName, name: NodeName) -> Result<Option<Inspection>, Error> {
        let format = &self.0.context().format;
        let directories: Vec<_> = match format.sharding() {
            Sharding::Never => format.directories(service)?.into_iter().enumerate().collect(),
            Sharding::Read | Sharding::ReadAndWrite => vec![self.youngest(service, &name).await?],
        };
        self.named_in(service, &name, directories.into_iter()).await
    }

    /// Which of a service's own node and its shards has the youngest node of this name: readers list that one. The service's own if
    /// there is none.
    async fn youngest(&self, service: &ServiceName, name: &NodeName) -> Result<(usize, ServiceName), Error> {
        let base = self.0.context().base.clone();
        let (service, name) = (service.clone(), name.clone());
        let look = move |store: Arc<dyn Store>| async move {
            let root = base.service(&service);
            store.sync(&root).await.map_err(|fault| fault.while_reading(&root))?;
            let shards = lookup::shards(&*store, &root).await?;
            if shards.read == 0 {
                return Ok((0, service));
            }
            let directories = shards.directories(&service)?;
            let paths = directories.iter().map(|directory| base.instance(directory, &name));
            let paths: Vec<_> = paths.collect::<Result<_, _>>()?;
            let mut found = (None, (0, service));
            for (directory, (path, node)) in
                directories.into_iter().enumerate().zip(lookup::nodes(&*store, &paths).await?)
            {
                let node = node.map_err(|fault| fault.while_reading(&path))?;
                let created = node.map(|stat| stat.czxid);
                if created > found.0 {
                    found = (created, directory);
                }
            }
            Ok(found.1)
        };
        self.0.ask("looking for the node", look).await
    }

    async fn named_in(
        &self,
        service: &ServiceName,
        name: &NodeName,
        directories: impl Iterator<Item = (usize, ServiceName)>,
    ) -> Result<Option<Inspection>, Error> {
        let context = self.0.context();
        for (number, directory) in directories {
            let path = context.base.instance(&directory, name)?;
            let (service, name, format) = (service.clone(), name.clone(), context.format.clone());
            let base = context.base.clone();
            let look = move |store: Arc<dyn Store>| async move {
                let seen = Inspection::read(&*store, path, number, service.clone(), name, &*format).await?;
                let Some(seen) = seen else { return Ok(None) };
                let rules = RuleBook::read(&*store, &base, &service, &*format).await?;
                Ok(Some(match rules {
                    Some(rules) => seen.under(&rules, &*format),
                    None => seen,
                }))
            };
            if let Some(found) = self.0.ask("looking at the node", look).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks at the directories of a service's instances that are up, and the names in them: one for each of the names under which
    /// the service stands, as an interface of Dubbo does under several applications. None where there is no such node.
    ///
    /// # Errors
    ///
    /// As [`Registry::lookup`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn directories(&self, service: &ServiceName) -> Result<Vec<Directory>, Error> {
        let context = self.0.context();
        let mut found = Vec::new();
        for name in self.names(service).await? {
            let directories = context.format.directories(&name)?;
            let root = context.base.service(directories.first().unwrap_or(&name));
            let look = move |store: Arc<dyn Store>| async move { Directory::read(&*store, root).await };
            found.extend(self.0.ask("looking at the service", look).await?);
        }
        Ok(found)
    }

    /// Drains an instance, or brings it back: one write of the marks that the format has for it, all else as it stands. A reason is
    /// written into its metadata, under `drain-reason`.
    ///
    /// Returns the node as it was written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when the node is not the one that was seen any more; [`ErrorKind::Invalid`] when its record cannot
    /// say it; [`ErrorKind::NoAuth`]; [`ErrorKind::Unavailable`] and [`ErrorKind::SessionLost`], after which it may or may not have
    /// been written: look again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the write back.
    pub async fn set_status(
        &self,
        seen: &Inspection,
        status: Status,
        reason: Option<&str>,
    ) -> Result<Inspection, Error> {
        self.amend(seen, Amendment::Status(status, reason)).await
    }

    /// Changes the weight of an instance.
    ///
    /// # Errors
    ///
    /// As [`Operator::set_status`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the write back.
    pub async fn set_weight(&self, seen: &Inspection, weight: NonZeroU16) -> Result<Inspection, Error> {
        self.amend(seen, Amendment::Weight(weight)).await
    }

    /// Deletes a node, whoever owns it. Whether that is right is for the caller to find out: an owner that is alive registers again.
    ///
    /// ZooKeeper can tie a deletion to a node's version, not to its creation: a node that was deleted and created anew within the one
    /// round trip between the last look and the deletion, and is of the same version, is deleted too.
    ///
    /// # Errors
    ///
    /// As [`Operator::set_status`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the write back.
    pub async fn evict(&self, seen: &Inspection) -> Result<(), Error> {
        let seen = seen.clone();
        let delete = move |store: Arc<dyn Store>| async move {
            seen.check_unchanged(&*store).await?;
            let deleted = store.delete(seen.path(), Some(seen.version())).await;
            deleted.map_err(|fault| refused(seen.path(), fault))
        };
        self.0.ask("deleting the node", delete).await
    }

    async fn amend(&self, seen: &Inspection, amendment: Amendment<'_>) -> Result<Inspection, Error> {
        let format = self.0.context().format.clone();
        if let Some(why) = format.unamendable(amendment) {
            return Err(cannot(seen, &*format, &why));
        }
        if format.rules_in().is_some() {
            return self.rule(seen, amendment).await;
        }
        let data = format.amend(seen.data(), amendment).map_err(|why| cannot(seen, &*format, &why))?;
        let seen = seen.clone();
        let write = move |store: Arc<dyn Store>| async move {
            seen.check_unchanged(&*store).await?;
            let written = store.set(seen.path(), &data, Some(seen.version())).await;
            let stat = written.map_err(|fault| refused(seen.path(), fault))?;
            Ok(seen.written(data, stat, &*format))
        };
        self.0.ask("writing the node", write).await
    }

    /// Changes an instance by the rules beside it: its node stays as its owner wrote it.
    async fn rule(&self, seen: &Inspection, amendment: Amendment<'_>) -> Result<Inspection, Error> {
        let context = self.0.context();
        let (format, acl) = (context.format.clone(), context.acl);
        let read = {
            let (base, format, service) = (context.base.clone(), format.clone(), seen.service().clone());
            move |store: Arc<dyn Store>| async move { RuleBook::read(&*store, &base, &service, &*format).await }
        };
        let Some(rules) = self.0.ask("reading the rules", read.clone()).await? else {
            return Ok(seen.clone());
        };
        let instance = seen.unruled().map_err(|why| cannot(seen, &*format, why))?;
        let change = format.amend_rules(seen.service(), (seen.name(), instance), rules.nodes(), amendment);
        let change = change.map_err(|why| cannot(seen, &*format, &why))?;
        let unchanged = seen.clone();
        let write = move |store: Arc<dyn Store>| async move {
            unchanged.check_unchanged(&*store).await?;
            rules.make(&*store, change, acl).await
        };
        self.0.ask("writing the rules", write).await?;
        let rules = self.0.ask("reading the rules", read).await?;
        let unruled = seen.clone().without_rules();
        Ok(match rules {
            Some(rules) => unruled.under(&rules, &*format),
            None => unruled,
        })
    }
}

/// The error of a change that a format cannot state.
fn cannot(seen: &Inspection, format: &dyn Format, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{}: {why} (format {})", seen.path(), format.name()))
}

/// The error of a write, as its caller is told.
fn refused(path: &str, fault: Fault) -> Error {
    let conflict = |why: &str| Error::new(ErrorKind::Conflict, format!("{path}: {why}"));
    match fault {
        Fault::BadVersion => conflict("somebody wrote it meanwhile"),
        Fault::NoNode => conflict("it is gone"),
        Fault::NotEmpty => conflict("there are nodes below it"),
        Fault::Ambiguous(why) => {
            let why = format!("{path}: whether it was written is not known: {why}");
            Error::new(ErrorKind::Unavailable, why)
        }
        fault => fault.while_asking("writing", path),
    }
}

#[cfg(test)]
mod tests;
