//! Registers an instance, finds it, withdraws it, with what a user of the published crate gets.

use std::{env, error::Error, time::Duration};

use tokio::time::timeout;
use zk_registry::{Instance, Options, Registry, Resolve, ServiceName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::open(env::var("ZK_TEST")?.parse()?, Options::default());
    let service: ServiceName = "packaged".parse()?;

    let mut registration = registry.register(&service, Instance::new("127.0.0.1", 8897));
    let zxid = timeout(WITHIN, registration.registered()).await??;

    let mut watch = registry.watch(&service);
    let found: Vec<_> =
        timeout(WITHIN, watch.wait_for(zxid)).await??.instances().map(|instance| instance.id().to_string()).collect();
    assert_eq!(found, ["127.0.0.1:8897"]);

    println!("{:?}", registration.withdraw(WITHIN).await);
    assert!(registry.lookup(&service).await?.is_empty());
    registry.close(WITHIN).await;
    Ok(())
}

const WITHIN: Duration = Duration::from_secs(20);
