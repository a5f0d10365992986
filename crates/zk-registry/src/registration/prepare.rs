//! What can be checked of an instance before anything is sent, and the registration that follows: one node in each source.

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::context::{Context, path_load};
use super::desired::Desired;
use super::guard::{Node, Registration};
use super::holders::Key;
use super::place::Spot;
use super::registrar::{NewRegistration, Registrar};
use super::state::{Registering, RegistrationState};
use super::take_over::largest_record;
use super::tandem::Tandem;
use super::token::TokenCell;
use crate::error::{Error, ErrorKind};
use crate::format::sealed::{Codec as _, Place, Sharding};
use crate::format::shards::{Sharded, Shards};
use crate::instance::address::is_unspecified;
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::options::{Source, SourceUse};

/// An instance that was checked, and waits for the registrar of a session.
pub(crate) enum Prepared {
    /// It cannot be registered.
    Failed { id: InstanceId, desired: Arc<Desired>, error: Error },
    /// One registration for each node. At least one.
    Ready { id: InstanceId, desired: Arc<Desired>, news: Vec<NewRegistration> },
}

impl Prepared {
    /// Checks an instance: its id, the paths of its nodes, and its attributes, whose every later change is checked alike. An
    /// instance that cannot be registered, or a `hopeless` connection, makes a registration that has failed.
    pub(crate) fn new(
        context: &Context,
        service: &ServiceName,
        instance: Instance,
        how: Registering,
        hopeless: Option<Error>,
    ) -> Self {
        let checked = hopeless.map_or_else(|| check(context, service, &instance), Err);
        let Checked { id, places, registered, desired } = match checked {
            Ok(checked) => checked,
            Err(error) => {
                let id = InstanceId::unchecked(&instance.address());
                let desired = Arc::new(Desired::fixed(instance.attributes().clone()));
                return Self::Failed { id, desired, error };
            }
        };
        let desired = Arc::new(desired);
        let new = |(source, held, spot): (Source, String, Spot)| NewRegistration {
            key: Key::fresh(),
            source,
            service: service.clone(),
            id: id.clone(),
            held,
            load: path_load(&spot.path, context.chroot_len),
            spot,
            instance: instance.clone(),
            registered,
            how,
            desired: desired.clone(),
            states: watch::Sender::new(RegistrationState::Pending),
            token: TokenCell::default(),
        };
        let news = places.into_iter().map(new).collect();
        Self::Ready { id, desired, news }
    }

    /// The ephemeral path bytes that the registration will cost its session.
    pub(crate) fn load(&self) -> usize {
        match self {
            Self::Failed { .. } => 0,
            Self::Ready { news, .. } => news.iter().map(|new| new.load).sum(),
        }
    }

    /// Hands the registration to the registrar of the session that has room for it. The guard keeps `registry` alive. A
    /// registration of several nodes comes with the task that makes one of them, which has to be run.
    pub(crate) fn register(
        self,
        registrar: Registrar,
        registry: Arc<dyn Any + Send + Sync>,
    ) -> (Registration, Option<Tandem>) {
        let (id, desired, news) = match self {
            Self::Failed { id, desired, error } => {
                let states = watch::Sender::new(RegistrationState::Failed(error)).subscribe();
                let failed = Registration::new(id, Vec::new(), desired, states, registrar, registry);
                return (failed, None);
            }
            Self::Ready { id, desired, news } => (id, desired, news),
        };
        let node = |new: &NewRegistration| Node {
            path: new.spot.path.clone(),
            held: new.held.clone(),
            key: new.key,
            states: new.states.subscribe(),
            token: new.token.clone(),
        };
        let nodes: Vec<Node> = news.iter().map(node).collect();
        news.into_iter().for_each(|new| registrar.register(new));
        let (states, tandem) = match &*nodes {
            [only] => (only.states.clone(), None),
            _ => {
                let parts = nodes.iter().map(|node| (node.key, node.states.clone()));
                let (states, tandem) = Tandem::new(parts, desired.clone(), registrar.clone());
                (states, Some(tandem))
            }
        };
        (Registration::new(id, nodes, desired, states, registrar, registry), tandem)
    }
}

/// What follows from an instance that can be registered.
struct Checked {
    id: InstanceId,
    /// For each source that is written: what it holds within the registry, and where its node stands.
    places: Vec<(Source, String, Spot)>,
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
    let registered = SystemTime::now();
    let place = Place { service, id: &id, owner: &context.us.owner, registered };
    let mut places: Vec<(Source, String, Spot)> = Vec::new();
    for (n, source) in context.sources.iter().enumerate() {
        if source.usage == SourceUse::Read {
            continue;
        }
        let held = source.base.instance(service, &id.clone().into())?;
        // Sources that share a base must not wait for each other.
        let held = if n == 0 { held } else { format!("{n}:{held}") };
        let is_sharded = context.shards > 1 && source.format.sharding() == Sharding::ReadAndWrite;
        // Where it stands if the marker says what was asked for.
        let record = match is_sharded {
            true => {
                let shards = Shards::new(context.shards);
                Sharded::new(source.format.clone(), shards).record(&place, instance)?
            }
            false => source.format.record(&place, instance)?,
        };
        let spot = Spot::new(&source.base, &record)?;
        if let Some((other, ..)) = places.iter().find(|(.., other)| other.path == spot.path) {
            let (this, other) = (source.format.name(), other.format.name());
            let message = format!(
                "{service}: the formats {other} and {this} have one node for {id}; give one another base"
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        places.push((source.clone(), held, spot));
    }
    let most = |path: &str| largest_record(path).min(context.largest_record);
    let probes: Vec<(Source, usize)> =
        places.iter().map(|(source, _, spot)| (source.clone(), most(&spot.path))).collect();
    let (context, service, probe, instance_id) =
        (context.clone(), service.clone(), instance.clone(), id.clone());
    let desired = Desired::new(instance.attributes().clone(), move |attributes| {
        let instance = probe.clone().with_attributes(attributes.clone());
        let place = Place { service: &service, id: &instance_id, owner: &context.us.owner, registered };
        for (source, most) in &probes {
            let record = source.format.record(&place, &instance)?;
            Spot::new(&source.base, &record)?;
            let bytes = record.data.len();
            if bytes > *most {
                let message =
                    format!("the record of {instance_id} has {bytes} bytes; at most {most} are written");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
        Ok(())
    })?;
    Ok(Checked { id, places, registered, desired })
}
