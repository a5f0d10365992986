//! The readers of a format's services, as a format of their own: written, and never read.

use std::sync::Arc;
use std::time::SystemTime;

use super::Format;
use super::sealed::{Carries, Codec, Decoded, Owner, Parents, Place, Record, refuse};
use crate::error::Error;
use crate::instance::{Instance, InstanceId, NodeName, ServiceName};

/// How readers of services in this format state themselves.
#[derive(Clone, Debug)]
pub(crate) struct Readers(pub(crate) Arc<dyn Format>);

impl Readers {
    fn none(&self) -> Error {
        refuse(format!("format {}: its readers do not state themselves", self.0.name()))
    }
}

impl Format for Readers {
    fn name(&self) -> &'static str {
        self.0.name()
    }
}

impl Codec for Readers {
    /// None: the directory stands in the record alone.
    fn directories(&self, _: &ServiceName) -> Result<Vec<ServiceName>, Error> {
        Ok(Vec::new())
    }

    /// None: a reader is no instance.
    fn service_of(&self, _: &ServiceName) -> Option<ServiceName> {
        None
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        owner: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.record(&Place { service, id, owner, registered }, instance).map(|record| record.data)
    }

    fn record(&self, place: &Place<'_>, instance: &Instance) -> Result<Record, Error> {
        self.0.reader(place, instance).unwrap_or_else(|| Err(self.none()))
    }

    fn decode(&self, _: &ServiceName, _: &NodeName, _: &[u8]) -> Result<Decoded, String> {
        Err("a reader is no instance".to_owned())
    }

    fn parents(&self) -> Parents {
        self.0.parents()
    }

    fn carries(&self) -> Carries {
        self.0.carries()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use uuid::Uuid;

    use super::*;
    use crate::format::named;

    #[test]
    fn a_format_whose_readers_do_not_state_themselves_says_so() {
        let (service, id) = ("time".parse().unwrap(), "10.0.0.1:0".parse().unwrap());
        let owner = Owner { host: None, incarnation: Uuid::nil() };
        let place = Place { service: &service, id: &id, owner: &owner, registered: UNIX_EPOCH };
        let reader = Instance::new("10.0.0.1", 0);
        let record = |format: &str| Readers(named(format).unwrap()).record(&place, &reader);
        assert!(record("curator").unwrap_err().to_string().contains("curator"));
        assert!(record("dubbo").is_err());
        assert_eq!(record("dubbo:consumer=shop").unwrap().directory.as_str(), "time/consumers");
    }
}
