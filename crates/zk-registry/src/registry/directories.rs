//! Which nodes have the instances of a service: the directories of every source.

use crate::error::Error;
use crate::instance::ServiceName;
use crate::options::Source;

/// The directories of a service in one source.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) source: Source,
    /// In the order in which the format lists them.
    pub(super) roots: Vec<Root>,
}

/// One directory.
#[derive(Debug)]
pub(super) struct Root {
    /// Its node.
    pub(super) path: String,
    /// What its snapshot file is about: the node, and the format where an earlier source reads the same node. `None`: it has no
    /// file.
    pub(super) file: Option<String>,
}

/// The directories of a service in each of these sources; an error of kind `Invalid` where one cannot have it.
pub(super) fn of(service: &ServiceName, sources: &[Source]) -> Result<Vec<Directories>, Error> {
    let mut all: Vec<Directories> = Vec::with_capacity(sources.len());
    for source in sources {
        let root = |directory: ServiceName| {
            let path = source.base.service(&directory);
            let is_shared = all.iter().any(|other| other.roots.iter().any(|root| root.path == path));
            let file = match is_shared {
                true => format!("{path} as {}", source.format.name()),
                false => path.clone(),
            };
            Root { path, file: source.format.mapping(service).is_none().then_some(file) }
        };
        let roots = source.format.directories(service)?.into_iter().map(root).collect();
        all.push(Directories { source: source.clone(), roots });
    }
    Ok(all)
}
