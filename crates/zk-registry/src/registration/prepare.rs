//! What can be checked of an instance before anything is sent.

use std::time::SystemTime;

use super::context::Context;
use super::desired::Wanted;
use super::take_over::largest_record;
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, InstanceId, ServiceName};

/// Checks an instance before anything is sent: its id, the path of its node, and its attributes, whose every later change is
/// checked alike.
pub(crate) fn prepare(
    context: &Context,
    service: &ServiceName,
    instance: &Instance,
) -> Result<(InstanceId, String, Wanted), Error> {
    let has_port = instance.is_dialable() || instance.ssl_port().is_some_and(|port| port != 0);
    if !has_port || instance.host().is_empty() || instance.ssl_port() == Some(0) {
        let message = format!("{:?} of {service}: an instance needs a host and a port", instance.address());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let id = instance.id()?;
    let path = context.base.instance(service, &id)?;
    let most = largest_record(&path);
    let (context, service, probe, instance_id) =
        (context.clone(), service.clone(), instance.clone(), id.clone());
    let wanted = Wanted::new(instance.attributes().clone(), move |attributes| {
        let instance = probe.clone().with_attributes(attributes.clone());
        let now = SystemTime::now();
        let record = context.format.encode(&service, &instance_id, &instance, &context.us.owner, now)?;
        if record.len() > most {
            let message =
                format!("the record of {instance_id} has {} bytes; at most {most} are sent", record.len());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(())
    })?;
    Ok((id, path, wanted))
}
