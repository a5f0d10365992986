//! The store in memory, on which the library's unit tests run, behaves as ZooKeeper does.

use integration_tests::replay::init_tracing;
use integration_tests::zookeeper::ZooKeeper;

#[tokio::test]
async fn the_store_in_memory_is_like_zookeeper() {
    init_tracing();
    zk_registry::testing::internal::conformance(&ZooKeeper::shared().address(1).to_string()).await;
}
