//! Base path, service and id to znode path and back: the only place that formats or splits one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::instance::{InstanceId, ServiceName, check_segment};

/// The path below which services live, such as `/services`; `/` is allowed.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// The node of a service.
    pub(crate) fn service(&self, service: &ServiceName) -> String {
        format!("{}/{service}", self.prefix())
    }

    /// The node of an instance.
    pub(crate) fn instance(&self, service: &ServiceName, id: &InstanceId) -> String {
        format!("{}/{service}/{id}", self.prefix())
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
        let refuse = |why: &str| Error::new(ErrorKind::Invalid, format!("base path {path:?}: {why}"));
        let rest = path.strip_prefix('/').ok_or_else(|| refuse("must begin with `/`"))?;
        if !rest.is_empty() {
            rest.split('/').try_for_each(check_segment).map_err(refuse)?;
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
