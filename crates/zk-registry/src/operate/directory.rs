//! A node that has instances, as an operator sees it.

use crate::discovery::lookup::exists;
use crate::error::Error;
use crate::options::Acl;
use crate::store::{Fault, Store};

/// A node below which instances of a service stand, and their names.
#[derive(Clone, Debug)]
pub struct Directory {
    path: String,
    names: Vec<String>,
    acl: Result<Acl, Error>,
}

impl Directory {
    pub(super) async fn read(store: &dyn Store, path: String) -> Result<Option<Self>, Error> {
        let (synced, listed, acl) = (store.sync(&path), store.list(&path), store.acl(&path));
        synced.await.map_err(|fault| fault.while_reading(&path))?;
        let mut names = match listed.await {
            Ok((names, _)) => names,
            Err(Fault::NoNode) => {
                exists(store).await.map_err(|fault| fault.while_reading(&path))?;
                return Ok(None);
            }
            Err(fault) => return Err(fault.while_reading(&path)),
        };
        names.sort_unstable();
        let acl = acl.await.map_err(|fault| fault.while_reading(&path));
        Ok(Some(Self { path, names, acl }))
    }

    /// The node's path, below the chroot.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The names of the nodes below it, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The bytes of a reply that lists the names: a server and its clients refuse packets of more than 1 MiB by default
    /// (`jute.maxbuffer`).
    pub fn list_bytes(&self) -> usize {
        // Length and bytes of each name, their count, the node's stat, and the head of the reply.
        self.names.iter().map(|name| 4 + name.len()).sum::<usize>() + 4 + 68 + 16
    }

    /// What strangers may do with the node.
    ///
    /// # Errors
    ///
    /// Why that could not be read.
    pub fn acl(&self) -> Result<Acl, &Error> {
        self.acl.as_ref().copied()
    }
}
