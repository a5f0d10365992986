//! The program and its configuration: file, environment, flags, and the formats of its log.

use std::io::BufRead as _;

use crate::running::{file, program, said, start, subcommand, until};

#[test]
fn a_wrong_configuration_names_file_line_key_and_what_is_accepted_and_exits_2() {
    for (text, words) in [
        ("\nwieght = 2\n", [":2: ", "wieght: is no key", "weight"]),
        ("zone = 'a'\nweight = true\n", [":2: ", "weight: ", "a whole number"]),
        ("weight = 70000\n", [":1: ", "weight: ", "from 1 to 65535"]),
        (
            "format = 'plain'\nzone = 'a'\n",
            [":2: ", "zone: ", "format plain cannot carry a zone; curator can"],
        ),
        ("\ntls-ca = '/nonexistent/file'\n", [":2: ", "tls-ca: ", "must be a readable text file"]),
        ("\n\ntls-cert = 'c'\ntls-key = 'k'\n", [":3: ", "tls-cert: ", "needs --tls-ca"]),
        ("log-filter = 'zk=loud'", [":1: ", "log-filter: ", "use directives such as"]),
    ] {
        let file = file(text);
        let path = file.path().to_str().unwrap();
        for arguments in [&["--config", path][..], &["check", "--config", path]] {
            let (code, said) = said(subcommand(arguments));
            assert_eq!((code, said.lines().count()), (Some(2), 1), "{text}: {said}");
            assert!(said.contains(path) && words.iter().all(|word| said.contains(word)), "{text}: {said}");
        }
    }
    let (code, said) = said(subcommand(&["--config", "/nonexistent/file"]));
    assert!(code == Some(2) && said.contains("--config: /nonexistent/file: "), "{said}");
}

#[test]
fn a_check_says_what_would_be_done_and_does_nothing() {
    let file = file(
        "listen = ['127.0.0.1:8897', '127.0.0.1:8898']\nzookeeper = 'zk1.example,zk2.example'\nadmin = 9097",
    );
    let output = subcommand(&["check", "--service", "clock", "--config", file.path().to_str().unwrap()])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}");
    for words in ["127.0.0.1:8897, 127.0.0.1:8898", "service clock", "zk1.example", "127.0.0.1:9097"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    let (code, said) =
        said(subcommand(&["check", "--listen", "10.0.0.7:1", "--advertise", "10.0.0.7:1,10.0.0.7:2"]));
    assert!(code == Some(2) && said.contains("--advertise"), "{said}");
    let no_certificate = self::file("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n");
    let (code, said) =
        self::said(subcommand(&["check", "--tls-ca", no_certificate.path().to_str().unwrap()]));
    assert!(code == Some(2) && said.contains("--tls-ca"), "{said}");
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_the_file_over_the_default() {
    let file = file("zookeeper = 'of-the-file'\nservice = 'of-the-file'\nbase = '/of-the-file'");
    let mut command =
        subcommand(&["check", "--service", "of-a-flag", "--config", file.path().to_str().unwrap()]);
    let output = command.env("ZOOKEEPER", "of-a-variable").output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    for words in ["service of-a-flag", "ZooKeeper of-a-variable", "below /of-the-file", "format curator"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    // A variable that is set but empty says nothing.
    let output = command.env("ZOOKEEPER", "").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("ZooKeeper of-the-file"));
}

#[test]
fn a_log_in_json_is_one_object_a_line_with_the_fields_of_the_event() {
    let (running, mut log) = start(program(&["--log-format", "json", "--linger", "0"]));
    running.kill("-TERM");
    let mut line = String::new();
    while !line.contains("leaving") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ended");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(
            event["timestamp"].is_string() && event["level"].is_string() && event["message"].is_string(),
            "{event}"
        );
    }
    assert_eq!(running.exit(), Some(0));
}

#[test]
fn a_journald_that_is_not_there_is_said_before_anything_is_registered() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        let (running, _) = start(program(&["--log-format", "json"]));
        return drop(running);
    }
    let (code, said) = said(program(&["--log-format", "journald"]));
    assert!(code == Some(2) && said.contains("--log-format: journald cannot be reached"), "{said}");
}

#[test]
fn the_filter_of_the_log_can_stand_in_the_file() {
    let file = file("log-filter = 'debug'\nlinger = '0'");
    let (running, mut log) = start(program(&["--config", file.path().to_str().unwrap()]));
    running.kill("-TERM");
    until(&mut log, "DEBUG");
    drop(running);
}
