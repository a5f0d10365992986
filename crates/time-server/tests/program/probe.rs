//! `time-server probe`, the health check of a container.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::running::{file, free, program, said, start, subcommand};

#[test]
fn a_probe_tells_alive_from_ready_and_both_from_gone() {
    let (admin, listen) = (free(), free());
    let (running, _log) = start(program(&["--admin", &admin, "--listen", &listen]));
    assert_eq!(said(subcommand(&["probe", "--admin", &admin])), (Some(0), String::new()));
    assert_eq!(
        said(subcommand(&["probe", "--listen", &listen])),
        (Some(0), String::new()),
        "asked for the time"
    );
    let (code, unready) = said(subcommand(&["probe", "--admin", &admin, "--ready"]));
    assert!(code == Some(1) && unready.contains("503"), "no ZooKeeper, so not registered: {unready}");
    let same = file(&format!("admin = '{admin}'\nweight = 2"));
    assert_eq!(said(subcommand(&["probe", "--config", same.path().to_str().unwrap()])).0, Some(0));
    drop(running);
    for arguments in [["probe", "--admin", &admin], ["probe", "--listen", &listen]] {
        let (code, gone) = said(subcommand(&arguments));
        assert!(code == Some(1) && gone.lines().count() == 1, "{gone}");
    }
}

#[cfg(unix)]
#[test]
fn an_admin_endpoint_on_a_unix_socket_is_probed_too() {
    let dir = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}", dir.path().join("admin").display());
    let (_running, _log) = start(program(&["--admin", &admin]));
    assert_eq!(said(subcommand(&["probe", "--admin", &admin])), (Some(0), String::new()));
}

#[test]
fn a_server_that_hangs_is_not_waited_for_longer_than_asked() {
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let at = hung.local_addr().unwrap().to_string();
    let (code, why) = said(subcommand(&["probe", "--admin", &at, "--timeout", "200ms"]));
    assert!(code == Some(1) && why.contains("no answer within 200ms"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
}

#[test]
fn a_wrong_use_is_told_from_a_server_that_is_unwell() {
    for arguments in [&["probe", "--ready"][..], &["probe", "--timeout", "soon"], &["probe", "--weight", "2"]]
    {
        assert_eq!(said(subcommand(arguments)).0, Some(2), "{arguments:?}");
    }
}
