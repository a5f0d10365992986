//! Dubbo 3 at the level of applications: Curator's records with Dubbo's payload, which are read and never written.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde_json::Value;

use super::Format;
use super::curator::read::{decode, is_namespace};
use super::parameters::Parameters;
use super::sealed::{Amendment, Carries, Child, Codec, Decoded, NodeKind, Owner, Reading, refuse};
use crate::error::Error;
use crate::instance::{BasePath, Instance, InstanceId, NodeName, ServiceName};

/// The instances of Dubbo 3's applications. A registration is refused: at the level of interfaces, [`Dubbo`](super::Dubbo), it
/// reaches every Dubbo consumer.
///
/// A service is an application. With the parameter `mapping` it is an interface, which stands under the applications that the
/// mapping lists; one that is not mapped is an application all the same.
#[derive(Clone, Debug, Default)]
pub struct DubboApp {
    protocol: Option<String>,
    /// Below which node the interfaces are mapped to applications.
    mapping: Option<BasePath>,
}

impl DubboApp {
    /// The dialect with parameters of its word: `protocol`, whose port is meant, and `mapping`, the node below which the
    /// applications of each interface stand.
    pub(super) fn with_parameters(mut parameters: Parameters<'_>) -> Result<Self, Error> {
        let protocol = parameters.take("protocol");
        let mapping = parameters.take("mapping").map(|path| path.parse()).transpose()?;
        parameters.end()?;
        Ok(Self { protocol, mapping })
    }

    /// The port of the wanted protocol; `None` where the metadata state none.
    fn port(&self, instance: &Instance) -> Option<u16> {
        let protocol = self.protocol.as_deref()?;
        let endpoints: Value = serde_json::from_str(instance.metadata().get("dubbo.endpoints")?).ok()?;
        let is_it = |endpoint: &&Value| endpoint.get("protocol").and_then(Value::as_str) == Some(protocol);
        let port = endpoints.as_array()?.iter().find(is_it)?.get("port")?.as_u64()?;
        u16::try_from(port).ok().filter(|port| *port != 0)
    }
}

impl Format for DubboApp {
    fn name(&self) -> &'static str {
        "dubbo-app"
    }
}

impl Codec for DubboApp {
    /// The name of an interface is not encoded.
    fn mapping(&self, service: &ServiceName) -> Option<String> {
        Some(self.mapping.as_ref()?.service(service))
    }

    /// Applications joined by commas. What can be no application is left out.
    fn mapped(&self, data: &[u8]) -> Vec<ServiceName> {
        let applications = String::from_utf8_lossy(data);
        let names: BTreeSet<ServiceName> =
            applications.split(',').filter_map(|name| name.trim().parse().ok()).collect();
        names.into_iter().collect()
    }

    fn encode(
        &self,
        _: &ServiceName,
        _: &InstanceId,
        _: &Instance,
        _: &Owner,
        _: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        Err(refuse(
            "format dubbo-app is only read; register with dubbo, which every Dubbo consumer reads".to_owned(),
        ))
    }

    fn decode(&self, _: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let Decoded { instance, owner } = decode(name, data)?;
        let Some(port) = self.port(&instance) else { return Ok(Decoded { instance, owner }) };
        let mut other = Instance::new(instance.host(), port).with_attributes(instance.attributes().clone());
        if let Some(port) = instance.ssl_port() {
            other = other.with_ssl_port(port);
        }
        Ok(Decoded { instance: other.with_id(name.to_id()), owner })
    }

    fn unamendable(&self, _: Amendment<'_>) -> Option<String> {
        Some(
            "it is only read, for Dubbo's consumers look at no mark in these records: have the instance take itself offline, \
            or write a rule with dubbo for consumers at the level of interfaces"
                .to_owned(),
        )
    }

    /// Consumers ignore an instance whose metadata state no revision of what it exports.
    fn read(&self, service: &ServiceName, child: Child<'_>) -> Result<Reading, String> {
        let decoded = self.decode(service, child.name, child.data)?;
        Ok(match decoded.instance.metadata().get("dubbo.metadata.revision").map(String::as_str) {
            None | Some("" | "0") => Reading::Ignored,
            Some(_) => Reading::Member(decoded),
        })
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        is_namespace(node, data)
    }

    fn carries(&self) -> Carries {
        Carries::EVERYTHING
    }
}
