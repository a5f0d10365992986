//! The harness against a real ZooKeeper: servers that go and come back, faults on a session, the view from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::four_letter;
use integration_tests::process::Program;
use integration_tests::proxy::{Direction, Proxy, Request};
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::raw_events::NodeChange;
use integration_tests::replay::init_tracing;
use integration_tests::servers::Launch;
use integration_tests::zookeeper::ZooKeeper;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_chroot_is_empty_and_apart() {
    let zk = ZooKeeper::shared();
    let (one, two) = (zk.chroot("apart").await, zk.chroot("apart").await);
    assert_ne!(one, two);
    let (first, second) = (one.raw().await, two.raw().await);
    first.create("/only-here", b"", CreateMode::Persistent).await.unwrap();
    assert_eq!(first.list("/").await.unwrap().unwrap(), ["only-here"]);
    assert!(second.list("/").await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn the_raw_client_reads_what_it_writes() {
    let raw = ZooKeeper::shared().chroot("raw").await.raw().await;
    raw.create("/a", b"1", CreateMode::Ephemeral).await.unwrap();
    raw.set("/a", b"2").await.unwrap();
    let (data, stat) = raw.get("/a").await.unwrap().unwrap();
    assert_eq!((data.as_slice(), stat.version, stat.ephemeral_owner), (&b"2"[..], 1, raw.session()));
    let both = raw.get_many(&["/a".to_owned(), "/none".to_owned()]).await.unwrap();
    assert!(both[0].is_some() && both[1].is_none());
    raw.delete("/a").await.unwrap();
    assert_eq!(raw.get("/a").await.unwrap(), None);
    raw.create_many((0..1201).map(|n| (format!("/n{n}"), vec![0; 10]))).await.unwrap();
    assert_eq!(raw.list("/").await.unwrap().unwrap().len(), 1201);
}

#[tokio::test]
async fn a_closed_session_has_left_nothing_behind() {
    let chroot = ZooKeeper::shared().chroot("closed").await;
    let (owner, witness) = (chroot.raw().await, chroot.raw().await);
    owner.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    owner.close().await;
    witness.sync("/").await.unwrap();
    assert_eq!(witness.get("/mine").await.unwrap(), None);
}

#[tokio::test]
async fn events_are_recorded_in_order_and_completely() {
    let chroot = ZooKeeper::shared().chroot("events").await;
    let (writer, reader) = (chroot.raw().await, chroot.raw().await);
    writer.mkdir("/s/t").await.unwrap();
    let events = reader.events("/s").await.unwrap();
    for n in 0..50 {
        writer.create(&format!("/s/t/{n}"), b"", CreateMode::Persistent).await.unwrap();
    }
    writer.set("/s/t/7", b"x").await.unwrap();
    writer.delete("/s/t/8").await.unwrap();
    events.settled().await.unwrap();
    assert_eq!(events.count(NodeChange::Created), 50);
    let last: Vec<_> = events.all().into_iter().skip(50).map(|seen| (seen.happened, seen.path)).collect();
    assert_eq!(
        last,
        [(NodeChange::Changed, "/s/t/7".to_owned()), (NodeChange::Deleted, "/s/t/8".to_owned())]
    );
    assert_eq!(events.gaps(), 0);
}

#[tokio::test]
async fn the_server_shows_the_watches_of_a_session() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("watches").await;
    let raw = chroot.raw().await;
    let events = raw.events("/").await.unwrap();
    let session = format!("{:#x}", raw.session());
    let watches = four_letter::watches(zk.address(1)).await.unwrap();
    assert_eq!(watches[&session], [chroot.path()]);
    drop(events);
    eventually(SOON, "the watch is gone", async || {
        // ZooKeeper 3.8 goes on naming the session, without a path.
        let watches = four_letter::watches(zk.address(1)).await.unwrap();
        watches.get(&session).is_none_or(Vec::is_empty)
    })
    .await;
}

#[tokio::test]
async fn a_recording_survives_a_cut_and_says_so() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("recording").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let (writer, reader) = (chroot.raw().await, Raw::connect(&chroot.through(proxy.address())).await);
    let events = reader.events("/").await.unwrap();
    proxy.cut_rst().await;
    eventually(SOON, "the gap is counted", async || events.gaps() == 1).await;
    eventually(SOON, "the watch is armed again", async || {
        let name = format!("/{:08x}", rand::random::<u32>());
        writer.create(&name, b"", CreateMode::Persistent).await.unwrap();
        events.settled().await.is_ok() && events.all().iter().any(|seen| seen.path == name)
    })
    .await;
}

#[tokio::test]
async fn a_session_outlives_cuts_and_freezes_shorter_than_its_timeout() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("cuts").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let raw = Raw::connect(&chroot.through(proxy.address())).await;
    raw.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    for round in 0..3 {
        match round {
            0 => proxy.cut_fin().await,
            1 => proxy.cut_rst().await,
            _ => {
                proxy.refuse().await;
                proxy.cut_rst().await;
                proxy.accept().await;
            }
        }
        eventually(SOON, "an answer", async || raw.sync("/").await).await;
    }
    for direction in Direction::BOTH {
        proxy.freeze(direction);
        let (answer, ()) = tokio::join!(raw.sync("/"), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            proxy.thaw();
        });
        answer.unwrap();
    }
    let (_, stat) = raw.get("/mine").await.unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, raw.session());
    assert_eq!(proxy.accepted(), 4);
}

#[tokio::test]
async fn a_lost_reply_leaves_an_executed_request() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("ambiguous").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let (raw, witness) = (Raw::connect(&chroot.through(proxy.address())).await, chroot.raw().await);
    raw.create("/before", b"", CreateMode::Persistent).await.unwrap();
    let trip = proxy.lose_reply(Request::Create);
    raw.get("/before").await.unwrap();
    raw.create("/ambiguous", b"", CreateMode::Persistent).await.unwrap_err();
    trip.sprung(SOON).await;
    assert!(witness.get("/ambiguous").await.unwrap().is_some());
    raw.create("/after", b"", CreateMode::Persistent).await.unwrap();
}

#[tokio::test]
async fn a_request_can_be_executed_after_its_client_was_told_that_it_is_lost() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("late").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let (raw, witness) = (Raw::connect(&chroot.through(proxy.address())).await, chroot.raw().await);
    proxy.freeze(Direction::ToServer);
    let (created, early) = tokio::join!(raw.create("/late", b"", CreateMode::Persistent), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // A new connection of the session would make the server hang up on the old one.
        proxy.refuse().await;
        proxy.cut_client(Duration::ZERO).await;
        witness.get("/late").await.unwrap()
    });
    created.unwrap_err();
    proxy.thaw();
    assert!(early.is_none(), "it was executed before the cut");
    eventually(SOON, "it is executed", async || witness.get("/late").await.unwrap()).await;
    proxy.accept().await;
    eventually(SOON, "the session goes on", async || raw.get("/late").await).await;
}

#[tokio::test]
async fn an_outage_longer_than_the_timeout_expires_the_session() {
    init_tracing();
    let zk = Launch::single().tick(Duration::from_millis(200)).start().await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let connector = zookeeper_client::Client::connector().with_session_timeout(Duration::from_millis(1000));
    let raw = Raw::connect_with(&proxy.address().to_string(), connector).await;
    let witness = zk.raw().await;
    raw.create("/mine", b"", CreateMode::Ephemeral).await.unwrap();
    proxy.refuse().await;
    proxy.cut_rst().await;
    eventually(SOON, "the server expires it", async || witness.get("/mine").await.unwrap().is_none()).await;
    proxy.accept().await;
    eventually(SOON, "the client learns of it", async || raw.client().state().is_terminated()).await;
}

#[tokio::test]
async fn a_server_can_be_killed_restarted_paused_and_resumed() {
    init_tracing();
    let zk = Launch::single().start().await;
    let raw = zk.raw().await;
    raw.create("/kept", b"data", CreateMode::Persistent).await.unwrap();

    zk.kill(1).await;
    assert_eq!(zk.mode(1).await, None);
    zk.start(1).await;
    zk.wait().await;
    assert_eq!(zk.mode(1).await.as_deref(), Some("standalone"));
    assert_eq!(zk.raw().await.get("/kept").await.unwrap().unwrap().0, b"data");

    zk.pause(1).await;
    assert_eq!(zk.mode(1).await, None, "a frozen server does not answer");
    zk.resume(1).await;
    eventually(SOON, "it serves again", async || zk.mode(1).await).await;

    zk.stop(1).await;
    assert_eq!(zk.mode(1).await, None);
    assert!(!zk.logs(1).await.is_empty());
}

#[tokio::test]
async fn a_test_server_keeps_its_data_in_memory_over_a_stop_and_a_kill_and_leaves_nothing() {
    init_tracing();
    let zk = Launch::single().start().await;
    let data = zk.data_directory().await;
    // Where there is no such file system it is a directory of the checkout.
    let room =
        nix::sys::statvfs::statvfs("/dev/shm").map_or(0, |shm| shm.blocks_available() * shm.fragment_size());
    assert_eq!(data.starts_with("/dev/shm"), room >= 1 << 30, "{}, {room} bytes", data.display());
    zk.raw().await.create("/kept", b"data", CreateMode::Persistent).await.unwrap();
    zk.stop(1).await;
    zk.start(1).await;
    zk.wait().await;
    assert_eq!(zk.raw().await.get("/kept").await.unwrap().unwrap().0, b"data");
    zk.kill(1).await;
    zk.start(1).await;
    zk.wait().await;
    assert_eq!(zk.raw().await.get("/kept").await.unwrap().unwrap().0, b"data");
    drop(zk);
    assert!(!data.exists(), "{} is still there", data.display());
}

#[tokio::test]
async fn no_signal_reaches_a_process_that_has_got_the_id_of_a_server() {
    init_tracing();
    let zk = Launch::single().start().await;
    let file = zk.data_directory().await.join("n1/pid");
    // An engine signals containers by their names.
    let Ok(ours) = fs::read_to_string(&file) else { return };
    let other = Program::at("sleep").arg("600").start();
    let (_, began) = ours.trim_end().split_once(' ').expect("an id and when the process began");
    fs::write(&file, format!("{} {began}\n", other.id())).unwrap();
    zk.kill(1).await;
    zk.stop(1).await;
    assert_eq!(other.status(), None);
    assert!(zk.mode(1).await.is_some(), "the server itself lives on");
    fs::write(&file, ours).unwrap();
    zk.kill(1).await;
    assert_eq!(zk.mode(1).await, None);
}

#[tokio::test]
async fn a_container_has_no_capabilities_and_no_way_to_get_any() {
    init_tracing();
    let zk = Launch::single().start().await;
    // Its data directory is named like the server; node 1 is its only container.
    let name = zk.data_directory().await.file_name().unwrap().to_str().unwrap().to_owned();
    let format = "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}";
    let inspect = ["inspect", "--format", format, &format!("{name}-1")];
    // Without an engine, and without that container in it, there is nothing to look at.
    let Ok(shown) = Command::new("docker").args(inspect).output() else { return };
    if shown.status.success() {
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(shown.trim_end(), "[ALL] [] [no-new-privileges] false");
    }
}

#[tokio::test]
async fn an_ensemble_elects_another_leader() {
    init_tracing();
    let zk = Launch::ensemble().start().await;
    let leader = zk.leader().await;
    let raw = zk.raw().await;
    raw.create("/kept", b"", CreateMode::Persistent).await.unwrap();
    zk.kill(leader).await;
    let next = zk.another_leader(leader).await;
    zk.start(leader).await;
    zk.wait().await;
    assert_eq!(zk.leader().await, next);
    let raw = zk.raw().await;
    raw.sync("/").await.unwrap();
    assert!(raw.get("/kept").await.unwrap().is_some());
}

#[test]
fn the_keys_of_the_secure_server_are_readable_by_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/certs");
    assert!(Command::new(script).arg(directory.path()).status().unwrap().success());
    for file in ["ca.key", "client.key", "other-ca.key", "other-client.key", "server.key", "server.pem"] {
        let mode = fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn the_secure_server_knows_its_user() {
    use zookeeper_client::{Client, SaslOptions, TlsOptions};

    init_tracing();
    let zk = Launch::secure().start().await;
    let (user, password) = integration_tests::servers::Servers::SASL;
    let sasl = Client::connector().with_sasl(SaslOptions::digest_md5(user, password));
    let raw = Raw::connect_with(&zk.connect_string(), sasl).await;
    let users = raw.client().list_auth_users().await.unwrap();
    assert!(users.iter().any(|found| found.scheme() == "sasl"), "{users:?}");

    let pem = |file| fs::read_to_string(zk.certificate(file)).unwrap();
    let tls = TlsOptions::new().with_pem_ca(&pem("ca.pem")).unwrap();
    let tls = tls.with_pem_identity(&pem("client.crt"), &pem("client.key")).unwrap();
    let to = format!("tcp+tls://{}", zk.tls_address());
    let raw = Raw::connect_with(&to, Client::connector().with_tls(tls)).await;
    raw.sync("/").await.unwrap();
}
