//! The strategies by name, for command lines and configuration files.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{
    ConsistentHash, LeastLoaded, PeakEwma, Random, RoundRobin, Sticky, Strategy, Tracking, WeightedRandom,
    WeightedRoundRobin, Zone,
};
use crate::balance::{EndpointSet, Picker};
use crate::error::{Error, ErrorKind};

/// Makes a strategy with the default settings.
type New = fn() -> Arc<dyn Strategy>;

/// The names and their strategies, sorted: the only list of them but for the table in the docs of the folder, which is tested
/// against this one.
const BY_NAME: [(&str, New); 8] = [
    ("consistent-hash", || Arc::new(ConsistentHash::default())),
    ("least-loaded", || Arc::new(LeastLoaded)),
    ("peak-ewma", || Arc::new(PeakEwma::default())),
    ("random", || Arc::new(Random)),
    ("round-robin", || Arc::new(RoundRobin::default())),
    ("sticky", || Arc::new(Sticky::default())),
    ("weighted-random", || Arc::new(WeightedRandom)),
    ("weighted-round-robin", || Arc::new(WeightedRoundRobin::default())),
];

/// A strategy that was chosen by its name, with the default settings.
///
/// The names are those of the [table](super); `zone:<zone>/<name>` prefers the zone and leaves the choice to the other.
///
/// ```
/// use zk_registry::balance::{Balancer, strategy::Named};
///
/// let chosen: Named = "zone:eu-west/least-loaded".parse()?;
/// assert_eq!(chosen.to_string(), "zone:eu-west/least-loaded");
/// let _balancer = Balancer::new(chosen);
///
/// let unknown = "fastest".parse::<Named>().unwrap_err();
/// assert!(unknown.to_string().contains("peak-ewma"));
/// # Ok::<(), zk_registry::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Named {
    name: String,
    strategy: Arc<dyn Strategy>,
}

impl Named {
    /// All names that stand alone.
    pub const NAMES: [&'static str; BY_NAME.len()] = {
        let mut names = [""; BY_NAME.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = BY_NAME[at].0;
            at += 1;
        }
        names
    };

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `least-loaded`.
impl Default for Named {
    fn default() -> Self {
        Self { name: "least-loaded".to_owned(), strategy: Arc::new(LeastLoaded) }
    }
}

impl FromStr for Named {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let strategy: Arc<dyn Strategy> = match BY_NAME.iter().find(|(known, _)| *known == name) {
            Some((_, new)) => new(),
            None => match name.strip_prefix("zone:").and_then(|rest| rest.rsplit_once('/')) {
                Some((zone, then)) if !zone.is_empty() => Arc::new(Zone::new(zone, then.parse::<Self>()?)),
                _ => return Err(unknown(name)),
            },
        };
        Ok(Self { name: name.to_owned(), strategy })
    }
}

fn unknown(name: &str) -> Error {
    let names = Named::NAMES.join(", ");
    Error::new(
        ErrorKind::Invalid,
        format!("no strategy is called {name:?}; there are {names}, zone:<zone>/<name>"),
    )
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Strategy for Named {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        self.strategy.picker(set)
    }

    fn renewed(&self, set: &Arc<EndpointSet>, earlier: &dyn Picker) -> Box<dyn Picker> {
        self.strategy.renewed(set, earlier)
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        self.strategy.has_table(set)
    }

    fn tracking(&self) -> Tracking {
        self.strategy.tracking()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written_the_same() {
        for name in Named::NAMES {
            assert_eq!(name.parse::<Named>().unwrap().to_string(), name);
        }
        for wrong in ["", "Random", "zone:", "zone:a", "zone:/random", "zone:a/nonsense"] {
            assert_eq!(wrong.parse::<Named>().unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
        assert!(Named::NAMES.is_sorted());
    }

    #[test]
    fn the_table_in_the_docs_has_the_same_names() {
        let rows = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! | [`"));
        let names: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        assert_eq!(names[..names.len() - 1], Named::NAMES);
        assert_eq!(names[names.len() - 1], "zone:<zone>/<name>");
    }
}
