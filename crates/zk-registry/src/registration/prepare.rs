//! What can be checked of an instance before anything is sent, and the registration that follows.

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::context::{Context, path_load};
use super::desired::Desired;
use super::guard::Registration;
use super::holders::Key;
use super::place::Spot;
use super::registrar::{NewRegistration, Registrar};
use super::state::{FencingToken, Registering, RegistrationState};
use super::take_over::largest_record;
use crate::error::{Error, ErrorKind};
use crate::format::sealed::Place;
use crate::instance::address::is_unspecified;
use crate::instance::{Instance, InstanceId, ServiceName};

/// An instance that was checked, and waits for the registrar of a session.
pub(crate) struct Prepared {
    new: NewRegistration,
    state: watch::Receiver<RegistrationState>,
    token: watch::Receiver<Option<FencingToken>>,
    load: usize,
}

impl Prepared {
    /// Checks an instance: its id, the path of its node, and its attributes, whose every later change is checked alike. An
    /// instance that cannot be registered, or a `hopeless` connection, makes a registration that has failed.
    pub(crate) fn new(
        context: &Context,
        service: &ServiceName,
        instance: Instance,
        how: Registering,
        hopeless: Option<Error>,
    ) -> Self {
        let checked = hopeless.map_or_else(|| check(context, service, &instance), Err);
        let (first, load, Checked { id, held, spot, registered, desired }) = match checked {
            Ok(checked) => {
                let load = path_load(&checked.spot.path, context.chroot_len);
                (RegistrationState::Pending, load, checked)
            }
            Err(error) => {
                let id = InstanceId::unchecked(&instance.address());
                let desired = Desired::fixed(instance.attributes().clone());
                let spot = Spot::none(service, id.clone().into());
                let checked =
                    Checked { id, held: String::new(), spot, registered: SystemTime::now(), desired };
                (RegistrationState::Failed(error), 0, checked)
            }
        };
        let (states, state) = watch::channel(first);
        context.census.enter(state.clone());
        let (tokens, token) = watch::channel(None);
        let (key, service, desired) = (Key::fresh(), service.clone(), Arc::new(desired));
        Self {
            new: NewRegistration {
                key,
                service,
                id,
                held,
                spot,
                load,
                instance,
                registered,
                how,
                desired,
                states,
                tokens,
            },
            state,
            token,
            load,
        }
    }

    /// The ephemeral path bytes that the registration will cost its session.
    pub(crate) fn load(&self) -> usize {
        self.load
    }

    /// Hands the registration to the registrar of the session that has room for it. The guard keeps `registry` alive.
    pub(crate) fn register(self, registrar: Registrar, registry: Arc<dyn Any + Send + Sync>) -> Registration {
        let NewRegistration { key, id, held, spot, desired, .. } = &self.new;
        let names = (id.clone(), spot.path.clone(), held.clone(), *key);
        let desired = desired.clone();
        let failed = matches!(*self.state.borrow(), RegistrationState::Failed(_));
        if !failed {
            registrar.register(self.new);
        }
        Registration::new(names, desired, (self.state, self.token), registrar, registry)
    }
}

/// What follows from an instance that can be registered.
struct Checked {
    id: InstanceId,
    held: String,
    spot: Spot,
    registered: SystemTime,
    desired: Desired,
}

fn check(context: &Context, service: &ServiceName, instance: &Instance) -> Result<Checked, Error> {
    if instance.host().is_empty() || is_unspecified(instance.host()) || instance.ssl_port() == Some(0) {
        let message = format!(
            "{:?} of {service}: an instance needs a host that readers can dial, and no TLS port is 0",
            instance.address()
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if !instance.is_dialable() && instance.ssl_port().is_none() {
        let message = format!("{:?} of {service}: an instance needs a host and a port", instance.address());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let id = instance.id()?;
    let held = context.base.instance(service, &id.clone().into())?;
    let registered = SystemTime::now();
    let place = Place { service, id: &id, owner: &context.us.owner, registered };
    let spot = Spot::new(&context.base, &context.format.record(&place, instance)?)?;
    let most = largest_record(&spot.path).min(context.largest_record);
    let (context, service, probe, instance_id) =
        (context.clone(), service.clone(), instance.clone(), id.clone());
    let desired = Desired::new(instance.attributes().clone(), move |attributes| {
        let instance = probe.clone().with_attributes(attributes.clone());
        let place = Place { service: &service, id: &instance_id, owner: &context.us.owner, registered };
        let record = context.format.record(&place, &instance)?;
        Spot::new(&context.base, &record)?;
        let bytes = record.data.len();
        if bytes > most {
            let message =
                format!("the record of {instance_id} has {bytes} bytes; at most {most} are written");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(())
    })?;
    Ok(Checked { id, held, spot, registered, desired })
}
