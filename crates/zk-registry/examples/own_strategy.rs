//! A strategy of one's own: canary releases. One call in a hundred goes to the instances that say they are the new version.
//!
//! `cargo run -p zk-registry --example own_strategy`

use std::sync::Arc;

use zk_registry::balance::strategy::LeastLoaded;
use zk_registry::balance::{Balancer, EndpointSet, Index, Outcome, Pick, Picker, Strategy, Tracking};
use zk_registry::{Instance, ServiceName, Snapshot};

/// Sends one call in `one_in` to instances with `version=next`, the others elsewhere.
#[derive(Debug)]
struct Canary {
    one_in: usize,
}

impl Strategy for Canary {
    /// Runs once per change of the set: all the work is done here.
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        let is_next = |instance: &Instance| instance.metadata().get("version").is_some_and(|it| it == "next");
        match (set.part(|endpoint| is_next(endpoint)), set.part(|endpoint| !is_next(endpoint))) {
            (Some((next, next_at)), Some((stable, stable_at))) => Box::new(CanaryPicker {
                one_in: self.one_in,
                next: (LeastLoaded.picker(&next), next_at),
                stable: (LeastLoaded.picker(&stable), stable_at),
            }),
            _ => LeastLoaded.picker(set), // only one kind
        }
    }

    fn tracking(&self) -> Tracking {
        LeastLoaded.tracking()
    }
}

/// Two pickers for parts of the set, each with the places of its part in the whole.
struct CanaryPicker {
    one_in: usize,
    next: (Box<dyn Picker>, Vec<Index>),
    stable: (Box<dyn Picker>, Vec<Index>),
}

impl Picker for CanaryPicker {
    /// Runs once per call: a coin, then the part's own picker.
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let (picker, places) = if pick.below(self.one_in) == 0 { &self.next } else { &self.stable };
        places[picker.pick(pick).get()]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service: ServiceName = "time".parse()?;
    let stable = (1..=9).map(|n| Instance::new(format!("10.0.0.{n}"), 8897));
    let next = Instance::new("10.0.1.1", 8897).with_metadata("version", "next");

    let balancer = Balancer::new(Canary { one_in: 100 });
    balancer.update(&Snapshot::fixed(&service, stable.chain([next])));

    let mut canaries = 0;
    for _ in 0..100_000 {
        let lease = balancer.pick()?;
        canaries += usize::from(lease.instance().host() == "10.0.1.1");
        lease.finish(Outcome::Success);
    }
    println!("{canaries} of 100000 calls went to the new version");
    Ok(())
}
