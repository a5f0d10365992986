//! `--user`: rights that are given up once the server listens.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::running::{program, said, start, subcommand};

/// Every user id that the process has or could go back to.
fn users(pid: u32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn rights_are_given_up_on_request_and_never_by_itself() {
    let own = fs::metadata("/proc/self").unwrap().uid().to_string();
    let (running, _log) = start(program(&[]));
    assert!(users(running.0.id()).iter().all(|user| *user == own));
    if own != "0" {
        let (code, said) = said(program(&["--user", "root"]));
        return assert!(code == Some(2) && said.contains("--user: root: cannot become this user"), "{said}");
    }
    let (running, _log) = start(program(&["--user", "nobody"]));
    let users = users(running.0.id());
    assert!(users.len() == 4 && users.iter().all(|user| *user != "0"), "{users:?}");
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    assert_eq!(capabilities.trim(), "0000000000000000");
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    let (code, said) = said(subcommand(&["--user", "no-such-user", "--listen", "127.0.0.1:0"]));
    assert!(code == Some(2) && said.contains("--user: no-such-user: there is no such user"), "{said}");
    let (code, said) = self::said(subcommand(&["--user", ""]));
    assert!(code == Some(2) && said.contains("--user"), "{said}");
}
