//! The rules beside a service's instances: read with an instance, and changed where they are the way to change it.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::format::sealed::{Child, Reading, RuleChange, Rules};
use crate::instance::{BasePath, Instance, NodeName, ServiceName};
use crate::options::Acl;
use crate::snapshot::Zxid;
use crate::store::{Fault, Kind, Op, Store};

/// The rules of a service.
#[derive(Clone, Debug)]
pub(super) struct RuleBook {
    base: BasePath,
    directory: ServiceName,
    nodes: Vec<Arc<Rules>>,
    /// The last change of any of them.
    changed: Zxid,
}

impl RuleBook {
    /// Reads the rules of a service; `None` where its format has none.
    pub(super) async fn read(
        store: &dyn Store,
        base: &BasePath,
        service: &ServiceName,
        format: &dyn Format,
    ) -> Result<Option<Self>, Error> {
        let Some(number) = format.rules_in() else { return Ok(None) };
        let Some(directory) = format.directories(service)?.into_iter().nth(number) else { return Ok(None) };
        let path = base.service(&directory);
        let (synced, listed) = (store.sync(&path), store.list(&path));
        synced.await.map_err(|fault| fault.while_reading(&path))?;
        let mut book = Self { base: base.clone(), directory, nodes: Vec::new(), changed: Zxid(0) };
        let mut names = match listed.await {
            Ok((names, stat)) => {
                book.changed = Zxid(stat.pzxid);
                names
            }
            Err(Fault::NoNode) => return Ok(Some(book)),
            Err(fault) => return Err(fault.while_reading(&path)),
        };
        // As readers apply them.
        names.sort_unstable();
        let paths: Vec<_> = names.iter().map(|name| format!("{path}/{name}")).collect();
        for (name, node) in
            names.iter().zip(store.read(&paths).await.map_err(|fault| fault.while_reading(&path))?)
        {
            // One that went meanwhile, or cannot be read, is none for readers either.
            let (Ok(name), Ok(node)) = (name.parse::<NodeName>(), node) else { continue };
            let child = Child { directory: number, name: &name, data: &node.data };
            if let Ok(Reading::Rules(rules)) = format.read(service, child) {
                book.changed = book.changed.max(Zxid(node.stat.mzxid));
                book.nodes.push(Arc::new(rules));
            }
        }
        Ok(Some(book))
    }

    pub(super) fn nodes(&self) -> &[Arc<Rules>] {
        &self.nodes
    }

    /// The last change of any of them.
    pub(super) fn changed(&self) -> Zxid {
        self.changed
    }

    /// The instance as the rules make it.
    pub(super) fn apply(
        &self,
        format: &dyn Format,
        name: &NodeName,
        instance: &Instance,
    ) -> Option<Instance> {
        format.apply(&self.nodes, name, instance)
    }

    /// Makes a change of these rules, in one transaction.
    pub(super) async fn make(&self, store: &dyn Store, change: RuleChange, acl: Acl) -> Result<(), Error> {
        let path = |name: &NodeName| self.base.instance(&self.directory, name);
        let mut ops = Vec::new();
        for name in &change.gone {
            ops.push(Op::Delete { path: path(name)?, version: None });
        }
        if !change.new.is_empty() {
            for parent in self.base.parents(&self.directory) {
                match store.create(&parent, b"", Kind::Persistent, acl).await {
                    Ok(_) | Err(Fault::NodeExists) => {}
                    Err(fault) => return Err(fault.while_asking("creating", &parent)),
                }
            }
        }
        for (name, data) in change.new {
            ops.push(Op::Create { path: path(&name)?, data: Bytes::from(data), kind: Kind::Persistent, acl });
        }
        let directory = self.base.service(&self.directory);
        match store.multi(ops).await {
            Ok(_) => Ok(()),
            Err(Fault::Multi { .. }) => {
                let why = format!("{directory}: somebody changed the rules meanwhile");
                Err(Error::new(ErrorKind::Conflict, why))
            }
            Err(Fault::Ambiguous(why)) => {
                let why = format!("{directory}: whether it was written is not known: {why}");
                Err(Error::new(ErrorKind::Unavailable, why))
            }
            Err(fault) => Err(fault.while_asking("writing", &directory)),
        }
    }
}
