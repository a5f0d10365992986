//! What a registry and its balancers count, published through the [`metrics`](https://docs.rs/metrics/0.24) facade (0.24): whatever recorder
//! the program installs gets it, under the names of [`Sample::metric`].
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use zk_registry::balance::{Balancer, strategy::PeakEwma};
//! # use zk_registry::{Options, Registry, metrics};
//! # fn example(registry: Registry, balancer: Arc<Balancer>) -> Result<(), Box<dyn std::error::Error>> {
//! metrics::install(&registry);
//! metrics::install_balancer(&registry, "time".parse()?, &balancer);
//! # Ok(())
//! # }
//! ```

use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::time::{MissedTickBehavior, interval};

use crate::balance::Balancer;
use crate::instance::ServiceName;
use crate::registry::Registry;
use crate::samples::{MetricKind, Sample};
use crate::session::ConnectionState;

/// The time between two publications.
const EVERY: Duration = Duration::from_secs(10);

/// Publishes the [`stats`](Registry::stats) of a registry at once, every 10 seconds, and whenever the connection changes, until
/// the registry is closed or dropped. It keeps nothing alive. Install the recorder before.
pub fn install(registry: &Registry) {
    let (weak, mut connection) = (registry.downgrade(), registry.connection());
    registry.run_in_background(async move {
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_open = tokio::select! {
                _ = due.tick() => true,
                changed = connection.changed() => changed.is_ok(),
            };
            let is_closed = matches!(
                *connection.borrow_and_update(),
                ConnectionState::Closed | ConnectionState::Failed(_)
            );
            let Some(stats) = weak.stats() else { return };
            publish(&stats.samples());
            if is_closed || !is_open {
                return;
            }
        }
    });
}

/// Publishes the [`stats`](Balancer::stats) of a balancer at once and every 10 seconds, until it is dropped or the registry is
/// closed. It keeps nothing alive. Install the recorder before.
pub fn install_balancer(registry: &Registry, service: ServiceName, balancer: &Arc<Balancer>) {
    let (weak, mut connection) = (Arc::downgrade(balancer), registry.connection());
    registry.run_in_background(async move {
        let publishing = async {
            let mut due = interval(EVERY);
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                due.tick().await;
                let Some(stats) = Weak::upgrade(&weak).map(|balancer| balancer.stats()) else { return };
                publish(&stats.samples(&service));
            }
        };
        let closed = connection.wait_for(|state| *state == ConnectionState::Closed);
        tokio::select! {
            () = publishing => {}
            _ = closed => {}
        }
    });
}

/// Publishes these samples now, for a program that chooses its own moments.
pub fn publish(samples: &[Sample]) {
    let mut described = "";
    for Sample { metric, labels, value } in samples {
        if metric.name != described {
            described = metric.name;
            match metric.kind {
                MetricKind::Counter => describe_counter!(metric.name, Unit::Count, metric.help),
                MetricKind::Gauge if metric.name.ends_with("_seconds") => {
                    describe_gauge!(metric.name, Unit::Seconds, metric.help);
                }
                MetricKind::Gauge => describe_gauge!(metric.name, Unit::Count, metric.help),
            }
        }
        match metric.kind {
            // A count is a whole number, and never negative.
            MetricKind::Counter => counter!(metric.name, labels).absolute(*value as u64),
            MetricKind::Gauge => gauge!(metric.name, labels).set(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use tokio::time::sleep;

    use super::*;
    use crate::balance::strategy::LeastLoaded;
    use crate::resolve::Resolve as _;
    use crate::{Instance, testing};

    /// The last value of a metric with these label values.
    fn value(snapshotter: &Snapshotter, name: &str, labels: &[&str]) -> Option<DebugValue> {
        let all = snapshotter.snapshot().into_vec();
        let found = all.into_iter().find(|(key, ..)| {
            key.key().name() == name
                && key.key().labels().map(metrics::Label::value).eq(labels.iter().copied())
        });
        found.map(|(.., value)| value)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_counted_reaches_the_recorder_until_the_registry_is_closed() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let registry = testing::registry();
        let service: ServiceName = "time".parse().unwrap();
        let mut registration = registry.register(&service, Instance::new("10.0.0.1", 80));
        let zxid = registration.registered().await.unwrap();
        let mut watch = registry.watch(&service);
        let balancer = Arc::new(Balancer::new(LeastLoaded));
        balancer.update(watch.wait_for(zxid).await.unwrap());
        install(&registry);
        install_balancer(&registry, service, &balancer);
        sleep(EVERY * 2).await;
        let gauge = |number: f64| Some(DebugValue::Gauge(number.into()));
        assert_eq!(value(&snapshotter, "zk_registry_connected", &[]), gauge(1.0));
        sleep(EVERY).await;
        assert_eq!(value(&snapshotter, "zk_registry_instances", &["time", "up"]), gauge(1.0));
        sleep(EVERY).await;
        let written = value(&snapshotter, "zk_registry_registration_writes_total", &["create"]);
        assert_eq!(written, Some(DebugValue::Counter(1)));
        sleep(EVERY).await;
        let available = value(&snapshotter, "zk_registry_balancer_endpoints", &["time", "available"]);
        assert_eq!(available, gauge(1.0));
        drop((watch, registration));
        (*registry).clone().close(Duration::from_secs(1)).await;
        assert_eq!(value(&snapshotter, "zk_registry_connected", &[]), gauge(0.0));
        snapshotter.snapshot();
        sleep(EVERY * 3).await;
        assert_eq!(Arc::strong_count(&balancer), 1);
    }
}
