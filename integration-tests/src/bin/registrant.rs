//! One registered instance in a process of its own, whose processor time and limits are its own, driven line by line:
//! `state` is answered with the state of the connection, `close N` with how that ended, within N milliseconds.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use tokio::runtime::Builder;
use zk_registry::{ConnectionState, Instance, Options, Registry, ServiceName, Withdrawn};

/// Arguments: where ZooKeeper is, and the session timeout in milliseconds. The first line says that it is registered.
fn main() {
    let [to, timeout] = std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("two arguments");
    let options = Options::default().with_session_timeout(millis(&timeout));
    let registry = Registry::open(to.parse().expect("where ZooKeeper is"), options);
    let service: ServiceName = "time".parse().expect("it is a name");
    let mut registration = registry.register(&service, Instance::new("10.0.0.1", 80));
    // Made while there are descriptors.
    let waiting = Builder::new_current_thread().build().expect("a runtime");
    waiting.block_on(registration.registered()).expect("nothing is wrong with the instance");
    say("registered");
    for line in io::stdin().lock().lines() {
        match line.expect("text").split_once(' ') {
            Some(("close", within)) => match waiting.block_on(registry.clone().close(millis(within))) {
                Withdrawn::Confirmed => say("confirmed"),
                Withdrawn::Unconfirmed { .. } => say("unconfirmed"),
                other => panic!("{other:?} of a close"),
            },
            _ => match &*registry.connection().borrow() {
                ConnectionState::Connected { .. } => say("connected"),
                ConnectionState::Suspended => say("suspended"),
                ConnectionState::Connecting { .. } => say("connecting"),
                other => say(&format!("{other:?}")),
            },
        }
    }
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("milliseconds"))
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test reads");
}
