//! The latest snapshot of each service, the last changes, and how many instances there were. A value: time comes in from outside.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zk_registry::{Freshness, InstanceId, Member, ServiceName, Services, Snapshot, Status};

use super::event::{Event, What, told};
use super::now::Now;
use super::sort::Sort;

/// What the watches tell.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// Which services there are.
    Services(Services),
    /// How one of them is.
    Snapshot(Snapshot),
}

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct Board {
    services: BTreeMap<ServiceName, Shape>,
    /// Whether only services that were asked for are shown: they never go.
    fixed: bool,
    catalog: Option<Services>,
    history: VecDeque<Event>,
    /// Counts the events that ever were.
    events: u64,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) snapshot: Snapshot,
    /// What became of instances a moment ago.
    flashes: HashMap<InstanceId, (Instant, What)>,
    /// How many instances there were, once a second.
    series: VecDeque<usize>,
}

impl Board {
    /// Nothing is known yet. Without services it shows those that there are.
    pub(crate) fn new(only: &[ServiceName]) -> Self {
        let services = only.iter().map(|name| (name.clone(), Shape::pending(name)));
        Self {
            services: services.collect(),
            fixed: !only.is_empty(),
            catalog: None,
            history: VecDeque::new(),
            events: 0,
        }
    }

    /// Takes up what a watch told.
    pub(crate) fn hear(&mut self, news: News, now: Now) {
        match news {
            News::Services(catalog) => self.list(catalog, now),
            News::Snapshot(snapshot) => self.replace(snapshot, now),
        }
    }

    /// A second has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        for shape in self.services.values_mut() {
            shape.flashes.retain(|_, (since, _)| now.at.duration_since(*since) < FLASH);
            if shape.is_known() {
                if shape.series.len() == SERIES {
                    shape.series.pop_front();
                }
                shape.series.push_back(shape.snapshot.len());
            }
        }
    }

    pub(crate) fn services(&self) -> impl ExactSizeIterator<Item = (&ServiceName, &Shape)> {
        self.services.iter()
    }

    pub(crate) fn get(&self, service: &ServiceName) -> Option<&Shape> {
        self.services.get(service)
    }

    /// The last changes, the latest first.
    pub(crate) fn history(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.history.iter().rev()
    }

    /// How many events there ever were: those that were not seen yet can be told from those that were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// How far all of this may be trusted, and why not further: the worst of everything that is shown.
    pub(crate) fn freshness(&self) -> (&'static str, Option<String>) {
        let catalog = match (&self.catalog, self.fixed) {
            (Some(catalog), false) => Some((catalog.freshness(), catalog.cause().map(ToString::to_string))),
            (None, false) => Some((Freshness::Pending, None)),
            (_, true) => None,
        };
        let services = self
            .services
            .values()
            .map(|shape| (shape.snapshot.freshness(), shape.snapshot.cause().map(ToString::to_string)));
        let worst = catalog.into_iter().chain(services).max_by_key(|(freshness, cause)| {
            let bad = match freshness {
                Freshness::Live => 0,
                Freshness::Pending => 1,
                Freshness::Disk { .. } => 2,
                _ => 3,
            };
            (bad, cause.is_some())
        });
        worst.map_or(("live", None), |(freshness, cause)| (freshness.word(), cause))
    }

    fn list(&mut self, catalog: Services, now: Now) {
        if catalog.freshness() == Freshness::Live {
            let gone = self.services.keys().filter(|service| !catalog.contains(service));
            let gone: Vec<_> = gone.cloned().collect();
            for service in gone {
                self.replace(Snapshot::pending(&service), now);
                self.services.remove(&service);
            }
        }
        for service in catalog.names() {
            if !self.services.contains_key(service) {
                self.services.insert(service.clone(), Shape::pending(service));
            }
        }
        self.catalog = Some(catalog);
    }

    fn replace(&mut self, snapshot: Snapshot, now: Now) {
        let service = snapshot.service().clone();
        // A late one, of a service that went.
        let Some(shape) = self.services.get_mut(&service) else { return };
        let event = |what, id, detail| Event { wall: now.wall, service: service.clone(), what, id, detail };
        let mut events = Vec::new();
        if shape.is_known() {
            for change in shape.snapshot.diff(&snapshot) {
                let (what, id, detail) = told(&change);
                shape.flashes.insert(id.clone(), (now.at, what));
                events.push(event(what, Some(id), detail));
            }
            let (old, new) = (shape.snapshot.freshness().word(), snapshot.freshness().word());
            if old != new && snapshot.freshness() != Freshness::Pending {
                let cause = snapshot.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
                events.push(event(What::Freshness, None, format!("{new}{cause}")));
            }
        }
        if snapshot.freshness() != Freshness::Pending && shape.series.is_empty() {
            shape.series.push_back(snapshot.len());
        }
        shape.snapshot = snapshot;
        self.events += events.len() as u64;
        self.history.extend(events);
        let superfluous = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..superfluous);
    }
}

impl Shape {
    fn pending(service: &ServiceName) -> Self {
        Self { snapshot: Snapshot::pending(service), flashes: HashMap::new(), series: VecDeque::new() }
    }

    /// Whether anything is known of it: what comes first is no change.
    fn is_known(&self) -> bool {
        self.snapshot.freshness() != Freshness::Pending
    }

    /// What became of an instance a moment ago.
    pub(crate) fn flash(&self, id: &InstanceId, now: Now) -> Option<What> {
        let (since, what) = self.flashes.get(id)?;
        (now.at.duration_since(*since) < FLASH).then_some(*what)
    }

    /// How many instances there were, once a second, the latest last.
    pub(crate) fn series(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.series.iter().copied()
    }

    /// The instances that a filter lets through, in an order.
    pub(crate) fn rows(&self, filter: &str, sort: Sort) -> Vec<&Arc<Member>> {
        let mut rows: Vec<_> = self.snapshot.instances().filter(|member| passes(filter, member)).collect();
        sort.sort(&mut rows);
        rows
    }

    pub(crate) fn draining(&self) -> usize {
        self.snapshot.instances().filter(|member| member.status() == Status::Draining).count()
    }
}

/// Whether each word of the filter is in something that is shown of the instance.
fn passes(filter: &str, member: &Member) -> bool {
    filter.split_whitespace().all(|word| {
        member.id().as_str().contains(word)
            || member.host().contains(word)
            || member.zone().is_some_and(|zone| zone.contains(word))
            || member.status().to_string().starts_with(word)
            || member.metadata().iter().any(|(key, value)| key.contains(word) || value.contains(word))
    })
}

/// How long a change is shown as one.
const FLASH: Duration = Duration::from_millis(1500);
/// How many changes are kept.
const HISTORY: usize = 1000;
/// How many counts are kept: five minutes.
const SERIES: usize = 300;

#[cfg(test)]
mod tests {
    use zk_registry::Instance;

    use super::*;

    fn snapshot(ports: impl IntoIterator<Item = u16>) -> Snapshot {
        let service = "time".parse().unwrap();
        Snapshot::fixed(&service, ports.into_iter().map(|port| Instance::new("h", port)))
    }

    fn told(board: &Board) -> Vec<String> {
        let tell = |event: &Event| {
            format!(
                "{} {}",
                event.what.word(),
                event.id.as_ref().map_or(event.detail.as_str(), InstanceId::as_str)
            )
        };
        board.history().map(tell).collect()
    }

    #[test]
    fn what_was_there_at_the_start_is_no_change_and_what_comes_and_goes_is() {
        let service: ServiceName = "time".parse().unwrap();
        let (mut board, now) = (Board::new(std::slice::from_ref(&service)), Now::read());
        assert_eq!(board.freshness().0, "pending");
        board.hear(News::Snapshot(snapshot(1..=2)), now);
        assert_eq!((told(&board), board.freshness().0), (vec![], "live"));
        board.hear(News::Snapshot(snapshot(2..=3)), now);
        assert_eq!(told(&board), ["up h:3", "down h:1"]);
        let id = "h:3".parse().unwrap();
        assert_eq!(board.get(&service).unwrap().flash(&id, now), Some(What::Up));
        let later = Now { at: now.at + FLASH, ..now };
        assert_eq!(board.get(&service).unwrap().flash(&id, later), None);
    }

    #[test]
    fn losing_zookeeper_is_told_and_the_instances_stay() {
        let service: ServiceName = "time".parse().unwrap();
        let (mut board, now) = (Board::new(std::slice::from_ref(&service)), Now::read());
        board.hear(News::Snapshot(snapshot(1..=2)), now);
        let stale = Freshness::Stale { since: tokio::time::Instant::now() };
        board.hear(News::Snapshot(snapshot(1..=2).with_freshness(stale)), now);
        assert_eq!(told(&board), ["freshness stale"]);
        assert_eq!((board.freshness().0, board.get(&service).unwrap().snapshot.len()), ("stale", 2));
    }

    #[test]
    fn the_history_is_bounded_and_the_latest_stay() {
        let (mut board, now) = (Board::new(&["time".parse().unwrap()]), Now::read());
        board.hear(News::Snapshot(snapshot([])), now);
        for n in 0..1001 {
            board.hear(News::Snapshot(snapshot((n % 2 == 0).then_some(1))), now);
        }
        assert_eq!((board.history().len(), board.events()), (HISTORY, 1001));
        assert_eq!(board.history().next().unwrap().what, What::Up);
    }

    #[test]
    fn the_series_has_the_count_of_each_second() {
        let service: ServiceName = "time".parse().unwrap();
        let (mut board, now) = (Board::new(std::slice::from_ref(&service)), Now::read());
        board.tick(now);
        board.hear(News::Snapshot(snapshot(1..=2)), now);
        for _ in 0..SERIES {
            board.tick(now);
        }
        board.hear(News::Snapshot(snapshot(1..=5)), now);
        board.tick(now);
        let series = &board.get(&service).unwrap().series;
        assert_eq!((series.len(), series[0], series[SERIES - 1]), (SERIES, 2, 5));
    }
}
