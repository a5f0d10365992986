//! Base path, service and id to znode path and back: the only place that formats or splits one.
//!
//! Paths here are what a client sees: below the chroot. Nothing is created or checked in ZooKeeper.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::instance::{NodeName, ServiceName, check_segment};

/// The path below which services live, such as `/services`; `/` is allowed.
///
/// Refused: what ZooKeeper refuses as a path, and `/zookeeper`, which is ZooKeeper's own.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// The node of a service.
    pub(crate) fn service(&self, service: &ServiceName) -> String {
        format!("{}/{service}", self.prefix())
    }

    /// The node of an instance; an error of kind `Invalid` when the service lies in ZooKeeper's own part of the tree.
    pub(crate) fn instance(&self, service: &ServiceName, node: &NodeName) -> Result<String, Error> {
        if self.allows(service) {
            return Ok(format!("{}/{service}/{node}", self.prefix()));
        }
        let message = format!("service name {:?}: /{RESERVED} is ZooKeeper's own", service.as_str());
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// A node directly below a service, or below the base path itself.
    pub(crate) fn child(&self, parent: Option<&ServiceName>, name: &str) -> String {
        match parent {
            Some(service) => format!("{}/{service}/{name}", self.prefix()),
            None => format!("{}/{name}", self.prefix()),
        }
    }

    /// The nodes that an instance of the service needs above itself, in the order in which they are created.
    pub(crate) fn parents(&self, service: &ServiceName) -> Vec<String> {
        let path = self.service(service);
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        ends.map(|end| path[..end].to_owned()).collect()
    }

    /// Whether a path lies below this one.
    pub(crate) fn contains(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix())
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| !rest.is_empty())
    }

    /// The service and the name of the node that a path names: the last segment, below all others. `None` for a path that
    /// is no node below a service.
    pub(crate) fn split<'a>(&self, path: &'a str) -> Option<(ServiceName, &'a str)> {
        let (service, name) = path.strip_prefix(self.prefix())?.strip_prefix('/')?.rsplit_once('/')?;
        let service = service.parse().ok().filter(|service| self.allows(service))?;
        Some((service, name))
    }

    /// Whether a service of this name may live here: `zookeeper` at the root is ZooKeeper's own.
    pub(crate) fn allows(&self, service: &ServiceName) -> bool {
        !(self.prefix().is_empty() && is_reserved(service.as_str()))
    }

    fn prefix(&self) -> &str {
        if &*self.0 == "/" { "" } else { &self.0 }
    }
}

impl Default for BasePath {
    fn default() -> Self {
        Self("/services".into())
    }
}

impl FromStr for BasePath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::new(
                ErrorKind::Invalid,
                format!("base path {path:?}: {why}; use a path like `/services` or `/`"),
            )
        };
        let rest = path.strip_prefix('/').ok_or_else(|| refuse("it must begin with `/`"))?;
        if rest.ends_with('/') && rest.len() > 1 {
            return Err(refuse("it must not end with `/`"));
        }
        if !rest.is_empty() {
            rest.split('/').try_for_each(check_segment).map_err(refuse)?;
        }
        if is_reserved(rest) {
            return Err(refuse("/zookeeper is ZooKeeper's own"));
        }
        Ok(Self(path.into()))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// ZooKeeper keeps its quotas and its configuration in here.
const RESERVED: &str = "zookeeper";

fn is_reserved(path: &str) -> bool {
    path.split('/').next() == Some(RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(path: &str) -> BasePath {
        path.parse().unwrap()
    }

    fn service(name: &str) -> ServiceName {
        name.parse().unwrap()
    }

    #[test]
    fn a_path_is_base_then_service_then_id() {
        let id = "10.0.0.1:80".parse().unwrap();
        let name = service("com/example/time");
        assert_eq!(base("/services").instance(&name, &id).unwrap(), "/services/com/example/time/10.0.0.1:80");
        assert_eq!(base("/").instance(&service("time"), &id).unwrap(), "/time/10.0.0.1:80");
        assert_eq!(base("/").service(&service("time")), "/time");
        assert_eq!(base("/").child(None, "time"), "/time");
        assert_eq!(base("/a/b").child(Some(&service("time")), "x"), "/a/b/time/x");
    }

    #[test]
    fn parents_come_from_the_top() {
        let parents = base("/a/b").parents(&service("com/time"));
        assert_eq!(parents, ["/a", "/a/b", "/a/b/com", "/a/b/com/time"]);
        assert_eq!(base("/").parents(&service("time")), ["/time"]);
    }

    #[test]
    fn only_what_is_below_the_base_is_ours() {
        assert!(base("/services").contains("/services/time/x"));
        assert!(base("/").contains("/time/x"));
        for other in ["/services", "/services/", "/services2/time/x", "/other", ""] {
            assert!(!base("/services").contains(other), "{other:?}");
        }
        assert!(!base("/").contains("/"));
        let split = base("/services").split("/services/a/b/c");
        assert_eq!(split, Some(("a/b".parse().unwrap(), "c")));
        assert_eq!(base("/").split("/time/x").unwrap().1, "x");
        for no_instance in ["/services", "/services/time", "/other/time/x", "/servicesX/time/x"] {
            assert!(base("/services").split(no_instance).is_none(), "{no_instance}");
        }
        assert!(base("/").split("/zookeeper/quota/x").is_none());
    }

    #[test]
    fn the_part_that_belongs_to_zookeeper_is_refused() {
        for bad in ["/zookeeper", "/zookeeper/quota"] {
            assert!(bad.parse::<BasePath>().is_err(), "{bad:?}");
        }
        let id = "a".parse().unwrap();
        assert!(base("/").instance(&service("zookeeper"), &id).is_err());
        assert!(base("/").instance(&service("zookeeper/quota"), &id).is_err());
        assert!(base("/").instance(&service("zookeepers"), &id).is_ok());
        assert!(base("/services").instance(&service("zookeeper"), &id).is_ok());
    }

    #[test]
    fn a_base_that_zookeeper_would_refuse_is_refused_here() {
        for bad in ["", "services", "/services/", "//", "/a//b", "/a/../b", "/a\n"] {
            let error = bad.parse::<BasePath>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("use a path like"), "{error}");
        }
    }
}
