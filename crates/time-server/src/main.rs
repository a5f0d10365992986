//! An asynchronous TCP time service whose every listener is a registered instance.

fn main() {}
