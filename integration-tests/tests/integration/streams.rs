//! Both programs when their standard error has lost its reader, as in `time-server 2>&1 | tee log` once tee is gone.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use integration_tests::eventually::eventually;
use integration_tests::process::{Program, Signal};
use integration_tests::time_servers::{SERVICE, SOON};
use integration_tests::zookeeper::ZooKeeper;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Kills it when the test fails.
struct Deaf(Child);

impl Deaf {
    /// Starts it, and closes the reading end of its standard error.
    fn start(program: &Program, arguments: &[&str]) -> Self {
        let mut command = Command::new(program.path());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stderr.take());
        Self(child)
    }

    async fn exit(&mut self) -> Option<i32> {
        let status = eventually(SOON, "its end", async || self.0.try_wait().unwrap()).await;
        status.code()
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        // An error of either means that it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_that_nobody_listens_to_still_leaves_politely() {
    let chroot = ZooKeeper::shared().chroot("deaf").await;
    let zookeeper = chroot.connect_string();
    let mut server =
        Deaf::start(&Program::time_server(), &["--zookeeper", &zookeeper, "--listen", "127.0.0.1:0"]);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let raw = chroot.raw().await;
    assert_eq!(raw.list(SERVICE).await.unwrap().unwrap().len(), 1, "{line}");

    kill(Pid::from_raw(server.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let told = Instant::now();
    assert_eq!(server.exit().await, Some(0));
    println!("measured: left within {:?}", told.elapsed());
    assert_eq!(raw.list(SERVICE).await.unwrap().unwrap_or_default(), Vec::<String>::new());
}

#[tokio::test]
async fn an_exit_code_does_not_depend_on_who_listens() {
    let wrong = &["--listen", "nowhere"];
    assert_eq!(Deaf::start(&Program::time_server(), wrong).exit().await, Some(2));
    let wrong = &["list", "--nonsense"];
    assert_eq!(Deaf::start(&Program::time_client(), wrong).exit().await, Some(2));
    let nobody = &["list", "--zookeeper", "127.0.0.1:1", "--wait", "100ms"];
    assert_eq!(Deaf::start(&Program::time_client(), nobody).exit().await, Some(3));
}
