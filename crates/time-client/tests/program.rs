//! The built program: its exit codes, and its words for wrong variables and empty places.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::fs::File;
use std::process::{Command, Output, Stdio};

use zk_registry::testing::Server;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_time-client"));
    for name in ["NO_COLOR", "RUST_LOG", "ZOOKEEPER"] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn a_wrong_variable_is_named_whatever_the_subcommand() {
    for arguments in [&[][..], &["query"], &["list"], &["watch"]] {
        for (name, value, words) in [
            ("ZOOKEEPER", "", "the environment variable ZOOKEEPER is set, but empty"),
            ("ZOOKEEPER", "a:1;b:2", "commas separate servers, semicolons do not"),
            ("ZOOKEEPER", "a:none", "from the environment variable ZOOKEEPER"),
            ("RUST_LOG", "zk_registry=loud", "RUST_LOG: "),
        ] {
            let (code, said) = said(&program(arguments).env(name, value).output().unwrap());
            assert_eq!((code, said.lines().count()), (Some(2), 1), "{arguments:?} {name}={value}: {said}");
            assert!(said.contains(words), "{arguments:?} {name}={value}: {said}");
        }
    }
    let typed = program(&["--zookeeper", "a:none"]).env("ZOOKEEPER", "a:none").output().unwrap();
    assert!(!said(&typed).1.contains("environment"), "what was typed is what is wrong");
}

#[test]
fn exit_codes_hold_with_a_full_standard_error() {
    let nobody = ["--zookeeper", "127.0.0.1:1", "--wait", "100ms"];
    let unreached = |subcommand| [&[subcommand][..], &nobody].concat();
    for (arguments, code) in [
        (vec!["--nonsense"], 2),
        (vec!["list", "--auth-file", "/nonexistent/file"], 2),
        (unreached("list"), 3),
        (unreached("query"), 3),
        (unreached("watch"), 3),
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let status = program(&arguments).stdout(Stdio::null()).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chroot_that_does_not_exist_is_said_to_be_missing() {
    let zookeeper = Server::start().await.unwrap();
    let below = |chroot: &str| format!("{}{chroot}", zookeeper.address());
    let list = |at: String| {
        tokio::task::spawn_blocking(move || said(&program(&["list", "--zookeeper", &at]).output().unwrap()))
    };
    let (code, said) = list(below("/no/such")).await.unwrap();
    assert_eq!(code, Some(3));
    assert!(said.contains("the chroot does not exist"), "{said}");
    let (code, said) = list(below("")).await.unwrap();
    assert_eq!(code, Some(3));
    assert!(said.contains("no instance of time at /services/time"), "{said}");
}
