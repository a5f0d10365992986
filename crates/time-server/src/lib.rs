//! An asynchronous TCP time service whose every listener is a registered instance.

pub mod clock;
pub mod protocol;
pub mod registry_args;
