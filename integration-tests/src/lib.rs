//! The harness, the end-to-end tests against a real ZooKeeper, and the benchmarks.
