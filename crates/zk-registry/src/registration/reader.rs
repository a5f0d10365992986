//! A reader of a service that is listed beside its instances, in formats whose fleets list their readers.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::context::{Context, path_load};
use super::desired::Desired;
use super::holders::Key;
use super::place::Spot;
use super::prepare::Prepared;
use super::registrar::NewRegistration;
use super::state::{Registering, RegistrationState};
use super::token::TokenCell;
use crate::error::Error;
use crate::format::Readers;
use crate::format::sealed::Place;
use crate::instance::{Instance, ServiceName};
use crate::options::Source;

impl Prepared {
    /// The registration of a reader of `service` on `host`, as the format of `source` writes readers; `None` if it writes none. It has
    /// no attributes to update, and competes with no other registration for its path.
    pub(crate) fn reader(
        context: &Context,
        source: &Source,
        service: &ServiceName,
        host: &str,
    ) -> Option<Result<Self, Error>> {
        let instance = Instance::new(host, 0);
        let registered = SystemTime::now();
        let id = match instance.id() {
            Ok(id) => id,
            Err(error) => return Some(Err(error)),
        };
        let place = Place { service, id: &id, owner: &context.us.owner, registered };
        let record = source.format.reader(&place, &instance)?;
        let spot = match record.and_then(|record| Spot::new(&source.base, &record)) {
            Ok(spot) => spot,
            Err(error) => return Some(Err(error)),
        };
        let desired = Arc::new(Desired::fixed(instance.attributes().clone()));
        let new = NewRegistration {
            key: Key::fresh(),
            service: service.clone(),
            id: id.clone(),
            held: format!("reader:{}", spot.path),
            load: path_load(&spot.path, context.chroot_len),
            source: Source { format: Arc::new(Readers(source.format.clone())), ..source.clone() },
            spot,
            instance,
            registered,
            how: Registering::default(),
            desired: desired.clone(),
            states: watch::Sender::new(RegistrationState::Pending),
            token: TokenCell::default(),
        };
        Some(Ok(Self::Ready { id, desired, news: vec![new] }))
    }

    /// The same registration without path bytes: the caller has counted them already.
    pub(crate) fn without_load(mut self) -> Self {
        if let Self::Ready { news, .. } = &mut self {
            news.iter_mut().for_each(|new| new.load = 0);
        }
        self
    }
}
