//! The frame that every benchmark is a row of.
//!
//! A [`Subject`] measures and returns [`Row`]s: ours, the reference beside it in the same run, the bound that we
//! promise. The frame interleaves the runs, reduces them to median and spread, judges, prints the table, writes JSON,
//! and turns the JSON of all subjects into one page. It knows no subject; those are in the program `bench`.

pub mod machine;
pub mod page;
pub mod plot;
pub mod report;
pub mod row;
pub mod runs;
pub mod samples;
pub mod table;
pub mod usage;
pub mod world;

use futures_util::future::LocalBoxFuture;

pub use report::Report;
pub use row::{Bound, Row, Unit};
pub use runs::Runs;
pub use samples::Samples;
pub use world::World;

/// One thing that is measured, selected by its name.
#[derive(Debug)]
pub struct Subject {
    /// The word that selects it on the command line, and the name of its JSON file.
    pub name: &'static str,
    /// The heading of its table.
    pub title: &'static str,
    /// Measures.
    pub run: for<'a> fn(&'a World) -> LocalBoxFuture<'a, Vec<Row>>,
}
