//! The program with streams that cannot be written, and its complaints about wrong words.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use crate::running::{Running, program};

/// How the program ends when its standard error is a full disk.
fn exit_with_a_full_disk(arguments: &[&str], signals: &[&str]) -> Option<i32> {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let running = Running(program(arguments).stderr(full).spawn().unwrap());
    for signal in signals {
        // Nothing can be read of it; half a second is enough to begin to listen, and to leave.
        std::thread::sleep(std::time::Duration::from_millis(500));
        running.kill(signal);
    }
    running.exit()
}

#[test]
fn exit_codes_hold_with_a_full_standard_error() {
    assert_eq!(exit_with_a_full_disk(&["--nonsense"], &[]), Some(2));
    assert_eq!(exit_with_a_full_disk(&["--weight", "0"], &[]), Some(2));
    assert_eq!(exit_with_a_full_disk(&["--auth-file", "/nonexistent/file"], &[]), Some(2));
    let leaving = ["--linger", "0", "--notice", "0", "--drain-timeout", "0"];
    assert_eq!(exit_with_a_full_disk(&leaving, &["-TERM"]), Some(0));
    assert_eq!(exit_with_a_full_disk(&["--linger", "1m"], &["-TERM", "-TERM"]), Some(1));
}

/// What the program says of this environment, in one line, and its exit code.
fn complaint(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = program(arguments);
    let mut child = command.envs(variables.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (Running(child).exit(), said)
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, words) in [
        ("POD_IP", "", "the environment variable POD_IP is set, but empty"),
        ("POD_IP", " ", "the environment variable POD_IP is set, but empty"),
        ("POD_IP", "10.0.0", "from the environment variable POD_IP"),
        ("ADVERTISE", "", "the environment variable ADVERTISE is set, but empty"),
        ("ADVERTISE", "10.0.0.1:1,x", "from the environment variable ADVERTISE"),
        ("RUST_LOG", "zk_registry=loud", "from the environment variable RUST_LOG"),
    ] {
        let (code, said) = complaint(&[(name, value)], &[]);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{name}={value}: {said}");
        assert!(said.contains(words), "{name}={value}: {said}");
    }
    // What was typed is what is wrong, whatever the variable says.
    let (code, said) = complaint(&[("POD_IP", "")], &["--pod-ip", ""]);
    assert!(code == Some(2) && !said.contains("environment"), "{said}");
}
