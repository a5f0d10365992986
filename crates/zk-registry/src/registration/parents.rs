//! The parents of the registered nodes: made when a create misses them, and examined for an ACL that is wider than ours.

use std::collections::{HashMap, HashSet};

use tracing::{debug, warn};

use super::round::Round;
use crate::format::{Format, sealed};
use crate::instance::ServiceName;
use crate::options::{Acl, Source};
use crate::store::{Fault, Kind};

/// Which parents are to be made or examined in the next round, by the path of the deepest.
#[derive(Debug, Default)]
pub(super) struct Parents {
    missing: HashMap<String, (Vec<String>, Kind)>,
    unexamined: HashSet<String>,
    examined: HashSet<String>,
}

impl Parents {
    /// A create found no parent in this directory.
    pub(super) fn missing(&mut self, source: &Source, directory: &ServiceName) {
        let kind = kind(&*source.format);
        self.missing.insert(source.base.service(directory), (source.base.parents(directory), kind));
    }

    /// Whether the next round has to make parents.
    pub(super) fn are_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// A node below this parent stands: under a narrow ACL the parent is examined, once.
    pub(super) fn registered(&mut self, parent: String, asked: Acl) {
        if asked != Acl::Open && !self.examined.contains(&parent) {
            self.unexamined.insert(parent);
        }
    }

    /// Adds what is to be made and to be examined to a round.
    pub(super) fn enlist(&mut self, round: &mut Round) {
        let missing = self.missing.drain();
        round.parents.extend(missing.map(|(parent, (paths, kind))| (parent, paths, kind)));
        round.acls.extend(self.unexamined.drain());
    }

    /// Warns if the parent's ACL is wider than ours: create and delete are the parent's permissions.
    pub(super) fn examine(&mut self, path: String, acl: Result<Acl, Fault>, asked: Acl) {
        let found = match acl {
            Ok(found) => found,
            Err(fault) => return debug!(path, ?fault, "the ACL of the parent could not be read"),
        };
        if found == Acl::Open || (found == Acl::ReadOnly && asked == Acl::Creator) {
            warn!(
                path,
                ?asked,
                ?found,
                "the parent was there before us, and allows strangers more than our ACL does"
            );
        }
        self.examined.insert(path);
    }
}

/// What kind of node the parents are made of.
pub(super) fn kind(format: &dyn Format) -> Kind {
    match format.parents() {
        sealed::Parents::Container => Kind::Container,
        sealed::Parents::Persistent => Kind::Persistent,
    }
}
