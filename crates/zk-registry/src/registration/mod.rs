//! One instance that is kept registered: the guard that the user holds, and the states it goes through.
//!
//! `decision.rs` decides (pure), `driver.rs` drives every registration of one session in rounds.

mod answers;
mod audit;
mod connection;
mod context;
mod decision;
mod desired;
mod driver;
mod entry;
mod guard;
mod holders;
mod host;
mod markers;
mod neighbours;
mod next;
mod parents;
mod place;
mod prepare;
mod reader;
mod registrar;
mod round;
mod schedule;
mod stage;
mod state;
mod take_over;
mod tandem;
#[cfg(test)]
mod tests;
mod token;
mod under_way;

pub(crate) use self::context::{Context, path_load};
pub(crate) use self::driver::registrar;
pub use self::guard::Registration;
pub(crate) use self::prepare::Prepared;
pub(crate) use self::registrar::Registrar;
pub use self::state::{ForeignWrites, OnConflict, Registering, RegistrationState};
pub use self::token::FencingToken;
