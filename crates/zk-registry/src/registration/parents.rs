//! The parents of the registered nodes: made when a create misses them, and examined for an ACL that is wider than ours.

use std::collections::HashSet;

use tracing::{debug, warn};

use super::context::Context;
use super::round::Round;
use crate::format::sealed;
use crate::instance::ServiceName;
use crate::options::Acl;
use crate::store::{Fault, Kind};

/// Which services need their parents made or examined in the next round.
#[derive(Debug, Default)]
pub(super) struct Parents {
    missing: HashSet<ServiceName>,
    unexamined: HashSet<ServiceName>,
    examined: HashSet<ServiceName>,
}

impl Parents {
    /// A create found no parent.
    pub(super) fn missing(&mut self, service: ServiceName) {
        self.missing.insert(service);
    }

    /// A node of the service stands: under a narrow ACL its parent is examined, once.
    pub(super) fn registered(&mut self, service: &ServiceName, asked: Acl) {
        if asked != Acl::Open && !self.examined.contains(service) {
            self.unexamined.insert(service.clone());
        }
    }

    /// Adds what is to be made and to be examined to a round.
    pub(super) fn enlist(&mut self, round: &mut Round, context: &Context) {
        let kind = match context.format.parents() {
            sealed::Parents::Container => Kind::Container,
            sealed::Parents::Persistent => Kind::Persistent,
        };
        for service in self.missing.drain() {
            let paths = context.base.parents(&service);
            round.parents.push((service, paths, kind));
        }
        for service in self.unexamined.drain() {
            let path = context.base.service(&service);
            round.acls.push((service, path));
        }
    }

    /// Warns if the parent's ACL is wider than ours: create and delete are the parent's permissions.
    pub(super) fn examine(&mut self, service: ServiceName, path: &str, acl: Result<Acl, Fault>, asked: Acl) {
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
        self.examined.insert(service);
    }
}
