//! One node as an operator sees it.

use super::rules::RuleBook;
use crate::discovery::lookup::exists;
use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::format::sealed::{Child, Decoded, Owner, Reading};
use crate::instance::{Instance, NodeName, ServiceName};
use crate::snapshot::Zxid;
use crate::store::{Fault, Stat, Store};

/// A node below a service: its bytes, what ZooKeeper knows of it, and what the registry's format makes of it.
#[derive(Clone, Debug)]
pub struct Inspection {
    path: String,
    /// Which of the service's directories it is in.
    directory: usize,
    service: ServiceName,
    name: NodeName,
    data: Vec<u8>,
    stat: Stat,
    verdict: Result<Instance, String>,
    owner: Option<Owner>,
    /// The instance as its record alone has it, where rules make another of it.
    unruled: Option<Instance>,
    rules_changed: Zxid,
}

impl Inspection {
    /// Looks at a node, after everything that was acknowledged before.
    pub(super) async fn read(
        store: &dyn Store,
        path: String,
        directory: usize,
        service: ServiceName,
        name: NodeName,
        format: &dyn Format,
    ) -> Result<Option<Self>, Error> {
        let (synced, read) = (store.sync(&path), store.read(std::slice::from_ref(&path)));
        synced.await.map_err(|fault| fault.while_reading(&path))?;
        let node = match read.await.map(|mut nodes| nodes.pop()) {
            Ok(Some(Err(Fault::NoNode)) | None) => {
                exists(store).await.map_err(|fault| fault.while_reading(&path))?;
                return Ok(None);
            }
            Ok(Some(Ok(node))) => node,
            Ok(Some(Err(fault))) | Err(fault) => return Err(fault.while_reading(&path)),
        };
        let unread = Self {
            path,
            directory,
            service,
            name,
            data: Vec::new(),
            stat: node.stat,
            verdict: Err(String::new()),
            owner: None,
            unruled: None,
            rules_changed: Zxid(0),
        };
        Ok(Some(unread.written(node.data.to_vec(), node.stat, format)))
    }

    /// The same node with these bytes.
    pub(super) fn written(self, data: Vec<u8>, stat: Stat, format: &dyn Format) -> Self {
        let decoded = self.decode(&data, format);
        let owner = decoded.as_ref().ok().and_then(|decoded| decoded.owner.clone());
        let verdict = decoded.map(|decoded| decoded.instance);
        Self { data, stat, verdict, owner, ..self }
    }

    /// The same node under the rules beside it.
    pub(super) fn under(self, rules: &RuleBook, format: &dyn Format) -> Self {
        let rules_changed = rules.changed();
        let (verdict, unruled) = match self.verdict {
            Ok(instance) => match rules.apply(format, &self.name, &instance) {
                Some(ruled) => (Ok(ruled), Some(instance)),
                None => (Ok(instance), None),
            },
            Err(why) => (Err(why), None),
        };
        Self { verdict, unruled, rules_changed, ..self }
    }

    /// The same node as if there were no rules.
    pub(super) fn without_rules(self) -> Self {
        let verdict = match self.unruled {
            Some(instance) => Ok(instance),
            None => self.verdict,
        };
        Self { verdict, unruled: None, ..self }
    }

    /// The instance as its record alone has it.
    pub(super) fn unruled(&self) -> Result<&Instance, &str> {
        self.unruled.as_ref().map_or_else(|| self.instance(), Ok)
    }

    /// Fails unless the node is the one that was seen.
    pub(super) async fn check_unchanged(&self, store: &dyn Store) -> Result<(), Error> {
        let changed = |why: &str| Err(Error::new(ErrorKind::Conflict, format!("{}: {why}", self.path)));
        let path = std::slice::from_ref(&self.path);
        let (synced, read) = (store.sync(&self.path), store.read(path));
        synced.await.map_err(|fault| fault.while_reading(&self.path))?;
        match read.await.map(|mut nodes| nodes.pop()) {
            Ok(Some(Ok(node))) if node.stat.czxid != self.stat.czxid => {
                changed("it was created anew meanwhile")
            }
            Ok(Some(Ok(node))) if node.stat.version != self.stat.version => {
                changed("somebody wrote it meanwhile")
            }
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(Fault::NoNode)) | None) => changed("it is gone"),
            Ok(Some(Err(fault))) | Err(fault) => Err(fault.while_reading(&self.path)),
        }
    }

    /// The node's path, below the chroot.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The service that it stands below: of an interface that is mapped to applications, one of these.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The last segment of the path.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// The node's bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The instance that the registry's format reads there, with the rules that operators put beside it, where the format has such.
    ///
    /// # Errors
    ///
    /// Why it reads none, for a person.
    pub fn instance(&self) -> Result<&Instance, &str> {
        self.verdict.as_ref().map_err(String::as_str)
    }

    /// The instance that another format reads there, or why it reads none.
    ///
    /// # Errors
    ///
    /// Why it reads none, for a person.
    pub fn read_as(&self, format: &dyn Format) -> Result<Instance, String> {
        self.decode(&self.data, format).map(|decoded| decoded.instance)
    }

    fn decode(&self, data: &[u8], format: &dyn Format) -> Result<Decoded, String> {
        let child = Child { directory: self.directory, name: &self.name, data };
        match format.read(&self.service, child)? {
            Reading::Member(decoded) => Ok(decoded),
            Reading::Ignored => Err("it belongs to others".to_owned()),
            Reading::Rules(_) => Err("it states something about instances, and is none".to_owned()),
        }
    }

    /// Host and process that wrote the record, where it says so: records of this library do.
    pub fn writer(&self) -> Option<(Option<&str>, u128)> {
        self.owner.as_ref().map(|owner| (owner.host.as_deref(), owner.incarnation.as_u128()))
    }

    /// How often the data was written since the node was created.
    pub fn version(&self) -> i32 {
        self.stat.version
    }

    /// The write that created the node.
    pub fn created(&self) -> Zxid {
        Zxid(self.stat.czxid)
    }

    /// The write that last changed the node's data.
    pub fn modified(&self) -> Zxid {
        Zxid(self.stat.mzxid)
    }

    /// The last change of all that [`instance`](Self::instance) says: of the node, or of the rules beside it. A snapshot whose
    /// watermark is not lower has it.
    pub fn watermark(&self) -> Zxid {
        self.modified().max(self.rules_changed)
    }

    /// The session that owns the node; 0 for a persistent node.
    pub fn session(&self) -> i64 {
        self.stat.owner
    }

    /// How many nodes there are below it.
    pub fn children(&self) -> u32 {
        self.stat.children
    }
}
