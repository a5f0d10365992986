//! The process runner does what the tests of the programs rely on.

use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use integration_tests::process::{Program, Resource, RunningProgram, Signal};

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> RunningProgram {
    Program::at("/bin/sh").args(["-c", script]).start()
}

#[tokio::test]
async fn lines_arrive_with_their_times_and_apart() {
    let process = shell("echo one; echo oops >&2; read nothing; echo two");
    let one = process.says("one", SOON).await;
    let two = process.says("two", SOON).await;
    assert!(one.at <= two.at);
    assert_eq!(process.logs("oops", SOON).await.text, "oops");
    assert_eq!(process.exit(SOON).await.code(), Some(0));
    assert_eq!(process.stdout().text(), "one\ntwo\n");
}

#[tokio::test]
async fn a_signal_reaches_the_process() {
    let process = shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    process.says("ready", SOON).await;
    process.signal(Signal::SIGTERM);
    process.says("bye", SOON).await;
    assert_eq!(process.exit(SOON).await.code(), Some(7));
}

#[tokio::test]
async fn a_stopped_process_says_nothing_until_it_goes_on() {
    let process = shell("while :; do echo tick; sleep 0.02; done");
    process.says("tick", SOON).await;
    process.signal(Signal::SIGSTOP);
    let quiet = async || {
        let before = process.stdout().all().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.stdout().all().len() == before
    };
    integration_tests::eventually::eventually(SOON, "silence", quiet).await;
    let before = process.stdout().all().len();
    process.signal(Signal::SIGCONT);
    process.stdout().nth("the shell", before + 1, "tick", SOON).await;
    process.signal(Signal::SIGKILL);
    assert_eq!(process.exit(SOON).await.signal(), Some(9));
}

#[tokio::test]
async fn a_descriptor_limit_holds_in_the_program() {
    let process = Program::at("/bin/sh")
        .args(["-c", "ulimit -n; echo \"$1\"", "sh", "an argument"])
        .descriptors(64)
        .start();
    process.says("64", SOON).await;
    process.says("an argument", SOON).await;
}

#[tokio::test]
async fn a_dropped_process_is_dead() {
    let process = shell("echo ready; exec sleep 600");
    process.says("ready", SOON).await;
    let id = nix::unistd::Pid::from_raw(process.id().try_into().unwrap());
    drop(process);
    assert_eq!(nix::sys::signal::kill(id, None), Err(nix::errno::Errno::ESRCH));
}

#[tokio::test]
async fn a_missing_line_names_itself() {
    let process = shell("echo tick; exec sleep 600");
    let wait = process.stdout().nth("the shell", 2, "tick", Duration::from_millis(300));
    let panic = AssertUnwindSafe(wait).catch_unwind().await.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("2 times \"tick\" from the shell"), "{message}");
}

#[tokio::test]
async fn a_limit_of_files_is_met_and_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let script = format!("while :; do echo 0123456789 >{} && echo fits; sleep 0.02; done", file.display());
    let process = Program::at("/bin/sh").args(["-c", &script]).surviving_full_disks().start();
    process.says("fits", SOON).await;
    process.limit(Resource::FileSize, Some(4));
    process.logs("error", SOON).await;
    let before = process.stdout().all().len();
    process.limit(Resource::FileSize, None);
    process.stdout().nth("the shell", before + 3, "fits", SOON).await;
}

#[tokio::test]
async fn the_workspace_programs_are_built_and_start() {
    for program in [Program::time_server(), Program::time_client()] {
        let process = program.arg("--help").start();
        assert!(process.exit(SOON).await.success());
    }
}
