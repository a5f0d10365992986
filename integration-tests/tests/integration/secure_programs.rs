//! `--auth-file`, `--tls-*` and `--acl` of both programs, against a server with TLS and SASL DIGEST-MD5.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::process::{Program, RunningProgram, Signal};
use integration_tests::proxy::Proxy;
use integration_tests::raw::Error;
use integration_tests::servers::{Launch, Servers};
use integration_tests::time_clients::ends_with;
use integration_tests::time_servers::{SERVICE, SOON, registered, time_server};
use integration_tests::zookeeper::ZooKeeper;
use jiff::Timestamp;
use tempfile::NamedTempFile;

fn file(line: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{line}").unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn certificate(zk: &Servers, name: &str) -> String {
    zk.certificate(name).to_str().unwrap().to_owned()
}

fn identity(zk: &Servers) -> [String; 4] {
    let [cert, key] = ["client.crt", "client.key"].map(|name| certificate(zk, name));
    ["--tls-cert".to_owned(), cert, "--tls-key".to_owned(), key]
}

/// A server with one listener and more arguments.
fn serving(zookeeper: &str, more: &[&str]) -> RunningProgram {
    time_server(zookeeper).args(["--listen", "127.0.0.1:0"]).args(more).start()
}

/// `time-client list` with more arguments.
fn listing(zookeeper: &str, more: &[&str]) -> RunningProgram {
    let list = Program::time_client().args(["list", "--zookeeper", zookeeper, "--session-timeout", "4s"]);
    list.args(more).start()
}

#[tokio::test]
async fn the_programs_find_each_other_over_tls() {
    let zk = Launch::secure().require_client_certificate().start().await;
    let (at, ca, identity) = (zk.tls_address().to_string(), certificate(&zk, "ca.pem"), identity(&zk));
    let known: Vec<_> = ["--tls-ca", &ca].into_iter().chain(identity.iter().map(String::as_str)).collect();
    let server = serving(&at, &known);
    let address = registered(&server, 1).await;
    let client = listing(&at, &known);
    ends_with(&client, 0).await;
    client.says(&address.to_string(), SOON).await;

    let unknown = listing(&at, &["--tls-ca", &ca, "--wait", "2s"]);
    ends_with(&unknown, 3).await;
    unknown.logs(&at, SOON).await;
    let other = certificate(&zk, "other-ca.pem");
    let distrusting = listing(&at, &["--tls-ca", &other, "--wait", "2s"]);
    ends_with(&distrusting, 3).await;
    distrusting.logs("UnknownIssuer", SOON).await;
}

#[tokio::test]
async fn only_the_identity_of_the_auth_file_reads_what_is_the_creators() {
    let chroot = ZooKeeper::shared().chroot("auth-file").await;
    let (ours, theirs) = (file("digest fleet:secret"), file("digest stranger:secret"));
    let zookeeper = chroot.connect_string();
    let server = serving(&zookeeper, &["--auth-file", path(&ours), "--acl", "creator"]);
    let address = registered(&server, 1).await;
    let read = chroot.raw().await.get(&format!("{SERVICE}/{address}")).await;
    assert_eq!(read.unwrap_err(), Error::NoAuth);

    let ally = listing(&zookeeper, &["--auth-file", path(&ours)]);
    ends_with(&ally, 0).await;
    ally.says(&address.to_string(), SOON).await;
    let stranger = listing(&zookeeper, &["--auth-file", path(&theirs), "--wait", "2s"]);
    ends_with(&stranger, 3).await;
    assert_eq!(stranger.stdout().containing(&address.to_string()).len(), 0);
    for process in [&server, &ally, &stranger] {
        let said = process.stdout().text() + &process.stderr().text();
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn everybody_reads_what_is_read_only_and_nobody_else_writes_it() {
    let chroot = ZooKeeper::shared().chroot("read-only").await;
    let (ours, zookeeper) = (file("digest fleet:secret"), chroot.connect_string());
    let server = serving(&zookeeper, &["--auth-file", path(&ours), "--acl", "read-only"]);
    let address = registered(&server, 1).await;
    let stranger = listing(&zookeeper, &[]);
    ends_with(&stranger, 0).await;
    stranger.says(&address.to_string(), SOON).await;
    let written = chroot.raw().await.set(&format!("{SERVICE}/{address}"), b"{}").await;
    assert_eq!(written.unwrap_err(), Error::NoAuth);
}

#[tokio::test]
async fn a_parent_that_allows_strangers_more_than_the_acl_is_said_once() {
    let chroot = ZooKeeper::shared().chroot("wider").await;
    let (ours, zookeeper) = (file("digest fleet:secret"), chroot.connect_string());
    let two = ["--listen", "127.0.0.1:0", "--auth-file", path(&ours), "--acl"];
    let read_only = serving(&zookeeper, &[&two[..], &["read-only"]].concat());
    registered(&read_only, 2).await;
    let creator = serving(&zookeeper, &[&two[..], &["creator"]].concat());
    registered(&creator, 2).await;
    let warning = creator.logs("allows strangers", SOON).await.text;
    for word in ["WARN", "path=\"/services/time\"", "asked=Creator", "found=ReadOnly"] {
        assert!(warning.contains(word), "{word:?} in {warning}");
    }
    // The parent is looked at after a registration was told: what was not said in the end is not said at all.
    for (server, times) in [(&creator, 1), (&read_only, 0)] {
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit(SOON).await.code(), Some(0));
        let said = server.stderr().containing("allows strangers").len();
        assert_eq!(said, times, "one made the parent, the other found it: {}", server.stderr().text());
    }
}

#[tokio::test]
async fn a_certificate_alone_is_an_identity_that_an_acl_can_name() {
    let zk = Launch::secure().start().await;
    let (at, ca, identity) = (zk.tls_address().to_string(), certificate(&zk, "ca.pem"), identity(&zk));
    let mut known = vec!["--tls-ca", &ca, "--acl", "creator"];
    known.extend(identity.iter().map(String::as_str));
    let server = serving(&at, &known);
    let address = registered(&server, 1).await;
    let read = zk.raw().await.get(&format!("{SERVICE}/{address}")).await;
    assert_eq!(read.unwrap_err(), Error::NoAuth);
    let client = listing(&at, &known);
    ends_with(&client, 0).await;
    client.says(&address.to_string(), SOON).await;
}

#[tokio::test]
async fn a_password_of_sasl_lets_in_and_a_wrong_one_does_not() {
    let zk = Launch::secure().start().await;
    let (user, password) = Servers::SASL;
    let right = file(&format!("sasl {user}:{password}"));
    let wrong = file(&format!("sasl {user}:a-guess"));
    let zookeeper = zk.connect_string();
    let server = serving(&zookeeper, &["--auth-file", path(&right), "--acl", "creator"]);
    let address = registered(&server, 1).await;
    let client = listing(&zookeeper, &["--auth-file", path(&right)]);
    ends_with(&client, 0).await;
    client.says(&address.to_string(), SOON).await;

    let guess = listing(&zookeeper, &["--auth-file", path(&wrong)]);
    ends_with(&guess, 3).await;
    assert!(!guess.stderr().text().contains("a-guess"), "{}", guess.stderr().text());
}

/// A client certificate of the test server's authority, valid for `lifetime` from now on, put in place as a renewed one is:
/// written beside the old one, then moved.
fn renew(zk: &Servers, dir: &Path, lifetime: Duration) {
    let [authority, authority_key] = ["ca.pem", "ca.key"].map(|name| certificate(zk, name));
    let beside = |name: &str| dir.join(format!("{name}.new"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, request) = (beside("client.key"), beside("client.csr"));
    let [key, request] = [&key, &request].map(|path| path.to_str().unwrap());
    let new_key =
        ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=renewed"];
    openssl(&[&new_key[..], &["-keyout", key, "-out", request]].concat());
    let extensions = dir.join("extensions");
    std::fs::write(&extensions, "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n").unwrap();
    let end = (Timestamp::now() + lifetime).strftime("%Y%m%d%H%M%SZ").to_string();
    let begin = (Timestamp::now() - Duration::from_secs(3600)).strftime("%Y%m%d%H%M%SZ").to_string();
    let (database, out) = (dir.join("database"), beside("client.crt"));
    std::fs::write(&database, "").unwrap();
    let config = dir.join("ca.conf");
    let text = format!(
        "[ca]\ndefault_ca = a\n[a]\ndatabase = {}\nnew_certs_dir = {}\nrand_serial = yes\npolicy = p\ndefault_md = sha256\nunique_subject = no\n[p]\ncommonName = supplied\n",
        database.display(),
        dir.display()
    );
    std::fs::write(&config, text).unwrap();
    openssl(&[
        "ca",
        "-batch",
        "-notext",
        "-config",
        config.to_str().unwrap(),
        "-cert",
        &authority,
        "-keyfile",
        &authority_key,
        "-in",
        request,
        "-out",
        out.to_str().unwrap(),
        "-startdate",
        &begin,
        "-enddate",
        &end,
        "-extfile",
        extensions.to_str().unwrap(),
    ]);
    for name in ["client.key", "client.crt"] {
        std::fs::rename(beside(name), dir.join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_renewed_on_disk_keeps_a_server_listed_over_reconnects() {
    const LIFETIME: Duration = Duration::from_secs(30);
    let zk = Launch::secure().require_client_certificate().start().await;
    let dir = tempfile::tempdir().unwrap();
    // Finding the program may take a build, which would outlast the certificate.
    drop(Program::time_server());
    renew(&zk, dir.path(), LIFETIME);
    let proxy = Proxy::to(zk.tls_address()).await;
    let [cert, key] =
        ["client.crt", "client.key"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let known = ["--tls-ca", &certificate(&zk, "ca.pem"), "--tls-cert", &cert, "--tls-key", &key];
    let server = serving(&proxy.address().to_string(), &known);
    let address = registered(&server, 1).await;
    let raw = zk.raw().await;
    let node = format!("{SERVICE}/{address}");
    let (_, first) = raw.get(&node).await.unwrap().expect("it is listed");

    let began = Instant::now();
    let mut looks = 0;
    // The first certificate has expired long before the end, and each connection lasts for some seconds.
    for round in 0..9 {
        tokio::time::sleep(LIFETIME / 6).await;
        if round % 3 == 2 {
            renew(&zk, dir.path(), LIFETIME);
        }
        proxy.cut_rst().await;
        for _ in 0..10 {
            let (_, stat) = raw.get(&node).await.unwrap().expect("it is listed");
            assert_eq!(stat.czxid, first.czxid, "the same node, of the same session");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(began.elapsed() > LIFETIME + LIFETIME / 3, "the first certificate has expired");
    println!("listed at each of {looks} looks over {:?}, 9 reconnects and 3 renewals", began.elapsed());
    let log = server.stderr().text();
    let sessions: std::collections::BTreeSet<_> =
        log.split_whitespace().filter_map(|word| word.split_once("session=0x")).map(|(_, id)| id).collect();
    assert_eq!(sessions.len(), 1, "{log}");
}
