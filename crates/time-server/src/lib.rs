//! An asynchronous TCP time service whose every listener is a registered instance.

pub mod registry_args;
