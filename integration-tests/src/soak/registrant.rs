//! A process that registers, updates, withdraws, and now and then closes everything and starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use zk_registry::{Instance, Registration, Registry, ServiceName};

use super::ledger::Ledger;
use super::report::SoakReport;
use super::service::{MANY, T, one_of_many, open, service};

/// The next act of a registrant.
enum Act {
    Register,
    StartAgain,
    Update,
    Withdraw,
}

/// How often each is drawn, in percent. With too many registrations, or too few, it is an update.
const ACTS: [(u32, Act); 4] =
    [(38, Act::Register), (2, Act::StartAgain), (30, Act::Update), (30, Act::Withdraw)];

pub(super) struct Registrant {
    host: String,
    to: String,
    registry: Registry,
    registrations: Vec<(ServiceName, Registration)>,
    port: u16,
    rng: StdRng,
    ledger: Arc<Ledger>,
    report: Arc<SoakReport>,
}

impl Registrant {
    pub(super) fn new(
        number: usize,
        to: String,
        rng: &mut StdRng,
        ledger: Arc<Ledger>,
        report: Arc<SoakReport>,
    ) -> Self {
        let registry = open(&to);
        let rng = StdRng::seed_from_u64(rng.random());
        let host = format!("10.0.0.{number}");
        Self { host, to, registry, registrations: Vec::new(), port: 1, rng, ledger, report }
    }

    /// Changes something, over and over.
    pub(super) async fn change_until(mut self, quiet: Arc<AtomicBool>) -> Self {
        while !quiet.load(Ordering::Relaxed) {
            let (_, act) =
                ACTS.choose_weighted(&mut self.rng, |(weight, _)| *weight).expect("they are not negative");
            match act {
                Act::Register if self.registrations.len() < 6 => self.register(),
                Act::StartAgain => self.start_again().await,
                Act::Withdraw if self.registrations.len() > 1 => self.withdraw().await,
                Act::Register | Act::Update | Act::Withdraw => self.update().await,
            }
            sleep(Duration::from_millis(self.rng.random_range(0..100))).await;
        }
        self
    }

    fn register(&mut self) {
        let instance = Instance::new(self.host.as_str(), self.port);
        self.port = self.port.checked_add(1).expect("fewer changes than ports");
        let service =
            if self.rng.random_ratio(1, 4) { one_of_many(self.rng.random_range(0..MANY)) } else { service() };
        let registration = self.registry.register(&service, instance);
        self.ledger.joins(&service, registration.id().as_str(), registration.states());
        self.report.change("registered");
        self.registrations.push((service, registration));
    }

    async fn withdraw(&mut self) {
        let chosen = self.rng.random_range(0..self.registrations.len());
        let (service, registration) = self.registrations.swap_remove(chosen);
        let id = registration.id().clone();
        self.ledger.leaves(&service, id.as_str());
        let outcome = registration.withdraw(T).await;
        self.ledger.left(&service, id.as_str(), outcome);
        self.report.change("withdrawn");
    }

    /// Updates an attribute, and waits for the acknowledgement for a quarter of a session at most: the newest update wins.
    async fn update(&mut self) {
        let zone = format!("zone {}", self.rng.random_range(0..1_000));
        if let Some((_, registration)) = self.registrations.first() {
            let update = registration.update(|attributes| attributes.zone = Some(zone));
            match timeout(T / 4, update).await {
                Ok(written) => drop(written.expect("nothing is wrong with a zone")),
                Err(_) => self.report.change("update not acknowledged yet"),
            }
            self.report.change("updated");
        }
    }

    async fn start_again(&mut self) {
        for (service, registration) in &self.registrations {
            self.ledger.leaves(service, registration.id().as_str());
        }
        let registry = std::mem::replace(&mut self.registry, open(&self.to));
        let outcome = registry.close(T).await;
        for (service, registration) in self.registrations.drain(..) {
            self.ledger.left(&service, registration.id().as_str(), outcome);
        }
        self.report.change("registry closed and opened");
    }
}
