//! What a command-line program around this library needs: the flags that reach ZooKeeper, and errors in one line.
//!
//! [`RegistryArgs`] is flattened into a program's own arguments, and [`RegistryArgs::resolve`] turns it into what
//! [`Registry::open`](crate::Registry::open) takes:
//!
//! ```no_run
//! use clap::Parser;
//! use zk_registry::Registry;
//! use zk_registry::cli::RegistryArgs;
//!
//! #[derive(Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     registry: RegistryArgs,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Args::parse().registry.resolve()?;
//! let registry = Registry::open(config.to, config.options);
//! # Ok(())
//! # }
//! ```

mod cluster_args;
mod colours;
mod duration;
mod names;
#[cfg(all(unix, feature = "program"))]
pub mod program;
mod registry_args;
mod secret_files;
#[cfg(unix)]
mod signals;
mod usage_error;

pub use cluster_args::{ClusterArgs, ClusterConfig};
pub use colours::wants_colours;
pub use duration::{MAX_DURATION, duration};
pub use names::{AclName, FormatName};
pub use registry_args::{RegistryArgs, RegistryConfig};
pub use secret_files::SecretFiles;
#[cfg(unix)]
pub use signals::{Asked, OnHangup, Signals};
pub use usage_error::UsageError;
