//! Whose nodes stand beside ours: readers of another format may lose the whole service on a record of ours.
//!
//! Before the first create in a directory at most three of its children are read, once in the life of a session's registrar.
//! Where there are more than a thousand it is neither listed nor judged: ten thousand registrants must not list each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tracing::{debug, warn};

use super::holders::Key;
use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::format::sealed::Beside;
use crate::store::{Fault, Store};

/// How many children are read.
const READ: usize = 3;
/// A directory with more children is not listed: with 25 bytes a name this is 25 KB.
const MOST: u32 = 1_000;

/// What is known of the directories of one registrar.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: HashMap<String, Vec<Bytes>>,
    /// Those to look at in the next round, and who waits for it.
    waiting: BTreeMap<String, Vec<Key>>,
    /// Those that were warned of.
    warned: HashSet<String>,
}

/// What a look at a directory saw: the records of a few children; `None`: there is no directory.
pub(super) type Seen = Result<Option<Vec<Bytes>>, Fault>;

/// What a look at a directory came to.
#[derive(Debug)]
pub(super) enum Look {
    /// It is known who stands there.
    Known,
    /// The directory does not exist: no instance stands there that a record of ours could disturb.
    NoDirectory,
    /// It has to be tried again.
    Failed(Fault),
}

/// What follows for a registration.
#[derive(Debug)]
pub(super) enum Company {
    /// Its node may stand there.
    Fine,
    /// It is not known yet: the registration is due again once it is.
    Unknown,
    /// Others would be broken by it.
    Refused(Error),
}

impl Neighbours {
    /// Whether the node of a registration may stand in this directory.
    pub(super) fn judge(&mut self, directory: &str, format: &dyn Format, key: Key) -> Company {
        let Some(records) = self.known.get(directory) else {
            self.waiting.entry(directory.to_owned()).or_default().push(key);
            return Company::Unknown;
        };
        let verdicts = || records.iter().map(|record| format.beside(record));
        let refusal = verdicts().find_map(|verdict| match verdict {
            Beside::Refuse(why) => Some(why),
            Beside::Fine | Beside::Warn(_) => None,
        });
        if let Some(why) = refusal {
            let message = format!(
                "format {} in {directory}: {why}; `Options::mixing`, --allow-mixed of time-server, allows it all the same",
                format.name()
            );
            return Company::Refused(Error::new(ErrorKind::Invalid, message));
        }
        let warning = verdicts().find_map(|verdict| match verdict {
            Beside::Warn(why) => Some(why),
            Beside::Fine | Beside::Refuse(_) => None,
        });
        if let Some(why) = warning
            && self.warned.insert(directory.to_owned())
        {
            warn!(directory, format = format.name(), why, "the directory has instances of another format");
        }
        Company::Fine
    }

    /// The directories to look at.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &String> {
        self.waiting.keys()
    }

    /// Takes up the answer to a look; returns the registrations that waited for it, and what follows. A directory that may not be read
    /// is not judged.
    pub(super) fn saw(&mut self, directory: String, seen: Seen) -> (Vec<Key>, Look) {
        let waiting = self.waiting.remove(&directory).unwrap_or_default();
        let (records, look) = match seen {
            Ok(Some(records)) => (records, Look::Known),
            Ok(None) => (Vec::new(), Look::NoDirectory),
            Err(fault @ (Fault::Ambiguous(_) | Fault::AuthFailed | Fault::Over)) => {
                return (waiting, Look::Failed(fault));
            }
            Err(fault) => {
                debug!(directory, ?fault, "the neighbours may not be looked at");
                (Vec::new(), Look::Known)
            }
        };
        self.known.insert(directory, records);
        (waiting, look)
    }
}

/// Reads a few children of a directory, none where it is too large.
pub(super) async fn look(store: &dyn Store, directory: &str) -> Seen {
    let above = store.read(&[directory.to_owned()]).await?.into_iter().next();
    match above {
        Some(Ok(node)) if (1..=MOST).contains(&node.stat.children) => {}
        Some(Err(Fault::NoNode)) => return Ok(None),
        _ => return Ok(Some(Vec::new())),
    }
    let names = match store.list(directory).await {
        Ok((names, _)) => names,
        Err(Fault::NoNode) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let paths: Vec<_> = names.iter().take(READ).map(|name| format!("{directory}/{name}")).collect();
    let nodes = store.read(&paths).await?;
    Ok(Some(nodes.into_iter().filter_map(Result::ok).map(|node| node.data).collect()))
}
