//! A resolver of instances that are known beforehand.

use std::collections::HashMap;

use super::Resolve;
use super::watch::ServiceWatch;
use crate::instance::{Instance, ServiceName};
use crate::snapshot::Snapshot;

/// Instances that are known beforehand: for tests, and for programs that are told addresses.
#[derive(Clone, Debug, Default)]
pub struct StaticResolver {
    services: HashMap<ServiceName, Vec<Instance>>,
}

impl StaticResolver {
    /// Knows no service.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the instances of a service.
    #[must_use]
    pub fn with(mut self, service: ServiceName, instances: impl IntoIterator<Item = Instance>) -> Self {
        self.services.entry(service).or_default().extend(instances);
        self
    }
}

impl Resolve for StaticResolver {
    /// The instances that were added, for ever; none if the service is not known.
    fn watch(&self, service: &ServiceName) -> ServiceWatch {
        let instances = self.services.get(service).cloned().unwrap_or_default();
        ServiceWatch::channel(Snapshot::fixed(service, instances)).1
    }
}
