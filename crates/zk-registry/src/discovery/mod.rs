//! The view of a service: from changes in ZooKeeper to published snapshots.
//!
//! One task per watched service (`driver.rs`) feeds a pure [`View`](view::View) from one recursive watch, and publishes.

mod assembly;
mod bulk;
pub(crate) mod catalog;
mod composer;
mod driver;
mod epoch;
mod harvest;
mod join;
mod keeper;
pub(crate) mod lookup;
mod mapped;
mod mapping;
mod merge;
mod pace;
mod portion;
mod rebuilt;
mod requests;
pub(crate) mod services;
mod shard_union;
mod sharding;
pub(crate) mod snapshot_file;
mod spread;
mod subscriptions;
#[cfg(test)]
mod tests;
pub(crate) mod union;
pub(crate) mod view;
mod waiters;

pub(crate) use self::composer::Composer;
pub(crate) use self::driver::Driver;
pub(crate) use self::join::Join;
pub(crate) use self::keeper::ViewSettings;
pub(crate) use self::mapped::Mapped;
pub(crate) use self::mapping::{Mapping, MappingDriver};
pub(crate) use self::merge::Merge;
pub(crate) use self::sharding::{Following, ShardedService, StartShard};
pub(crate) use self::snapshot_file::{Origin, SnapshotFile};
pub(crate) use self::subscriptions::{Channel, Outlet, Subscription, Subscriptions};
