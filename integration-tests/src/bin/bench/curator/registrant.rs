//! Ours as a process that registers an instance, so that it can be frozen as a whole.

use std::future::pending;
use std::time::Duration;

use integration_tests::line_process::LineProcess;
use zk_registry::{Instance, Options};

use crate::again::{again, asked, end_with_input, say};
use crate::fleet::{open_with, time};

/// Its instance is registered.
pub(super) async fn start(to: &str) -> LineProcess {
    let mut process = LineProcess::start(&again(REGISTER, to));
    assert_eq!(process.says().await, "registered");
    process
}

/// Registers for ever, if that is what this process was started for.
pub(crate) async fn register_if_asked() {
    let Some(to) = asked(REGISTER) else { return };
    let registry = open_with(&to, Options::default().with_session_timeout(SESSION)).await;
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.expect("nobody is in the way");
    say("registered");
    end_with_input();
    pending::<()>().await;
}

/// The shortest that a server with a tick of two seconds grants.
pub(super) const SESSION: Duration = Duration::from_secs(4);
/// The environment variable that makes this program a registrant.
const REGISTER: &str = "BENCH_REGISTER";
