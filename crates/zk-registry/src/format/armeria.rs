//! Armeria's legacy nodes: the data is `host:port:weight`.

use std::num::NonZeroU16;
use std::time::SystemTime;

use super::Format;
use super::sealed::{
    Amendment, CANNOT_DRAIN, Carries, Codec, Decoded, Drain, Owner, Parents, READ_ONCE, check_address,
};
use crate::error::Error;
use crate::instance::{Instance, InstanceId, NodeName, ServiceName};

/// Armeria's legacy nodes. A zone, metadata, draining, a TLS port and an IPv6 address cannot be carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Armeria;

impl Format for Armeria {
    fn name(&self) -> &'static str {
        NAME
    }
}

impl Codec for Armeria {
    fn encode(
        &self,
        _: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        self.carries().check(NAME, instance)?;
        check_address(NAME, id, instance)?;
        let weight = u32::from(instance.weight().get()) * u32::from(UNIT);
        Ok(format!("{}:{}:{weight}", instance.host(), instance.port()).into_bytes())
    }

    fn name_of(&self, id: &InstanceId, _: &[u8]) -> Result<NodeName, Error> {
        id.as_str().replacen(':', "_", 1).parse()
    }

    fn decode(&self, _: &ServiceName, _: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let text = str::from_utf8(data).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut parts = text.split(':');
        let (host, port, weight, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
        let host = host.filter(|host| !host.is_empty()).ok_or("no host")?;
        if rest.is_some() {
            return Err("more than host, port and weight".to_owned());
        }
        let port = port.map_or(Ok(0), str::parse).map_err(|_| "the port is no number")?;
        let weight =
            weight.map_or_else(|| Ok(i64::from(UNIT)), str::parse).map_err(|_| "the weight is no number")?;
        let weight = u16::try_from(weight.max(1)).unwrap_or(u16::MAX);
        let instance =
            Instance::new(host, port).with_weight(NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN));
        let id = instance.id().map_err(|error| error.to_string())?;
        Ok(Decoded { instance: instance.with_id(id), owner: None })
    }

    /// The name is the address: there is no other for the same one.
    fn unamendable(&self, amendment: Amendment<'_>) -> Option<String> {
        Some(match amendment {
            Amendment::Status(..) => CANNOT_DRAIN.to_owned(),
            Amendment::Weight(_) => READ_ONCE.to_owned(),
        })
    }

    fn parents(&self) -> Parents {
        Parents::Persistent
    }

    fn carries(&self) -> Carries {
        Carries {
            weight: true,
            zone: false,
            metadata: false,
            ssl_port: false,
            ipv6: false,
            drain: Drain::Remove,
        }
    }

    fn weight_unit(&self) -> u16 {
        UNIT
    }
}

const NAME: &str = "armeria";
/// The weight of an instance that states none.
const UNIT: u16 = 1000;
