//! Service discovery on ZooKeeper.
