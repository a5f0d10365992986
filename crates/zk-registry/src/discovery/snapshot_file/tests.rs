use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::instance::{Instance, ServiceName, Status};
use crate::options::Options;
use crate::resolve::Resolve;
use crate::snapshot::members::Members;
use crate::snapshot::{Contents, Freshness, Incarnation, Member, Zxid};
use crate::testing;
use crate::withdrawn::Withdrawn;

fn origin() -> Origin {
    Origin { cluster: "zk1:2181,zk2:2181/fleet".to_owned(), root: "/services/time".to_owned() }
}

fn instance(port: u16) -> Instance {
    let mut instance =
        Instance::new("2001:db8::1", port).with_zone("a \"zone\"").with_metadata("k\n", "v\u{e9}");
    let mut attributes = instance.attributes().clone();
    attributes.status = if port.is_multiple_of(2) { Status::Draining } else { Status::Up };
    attributes.weight = port.try_into().unwrap();
    instance = instance.with_attributes(attributes);
    if port.is_multiple_of(3) { instance.with_ssl_port(port + 1) } else { instance }
}

fn snapshot(ports: impl IntoIterator<Item = u16>) -> Snapshot {
    let mut members: Vec<_> = ports
        .into_iter()
        .map(|port| {
            let id = instance(port).id().unwrap();
            Member {
                node: None,
                format: None,
                instance: instance(port).with_id(id.clone()),
                id,
                incarnation: Incarnation::from(u128::MAX - u128::from(port)),
                session: -1,
                created: Zxid(1 << 40),
                modified: Zxid(i64::from(port)),
                ctime: 0,
            }
            .into()
        })
        .collect::<Vec<Arc<Member>>>();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Snapshot::new(Contents {
        rules: Arc::default(),
        shadows: 0,
        service: "time".parse::<ServiceName>().unwrap(),
        members: Members::from_sorted(members),
        suspects: Default::default(),
        rejected: Default::default(),
        freshness: Freshness::Live,
        cause: None,
        revision: 7,
        watermark: Zxid(9),
    })
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn snapshot_file(&self) -> SnapshotFile {
        SnapshotFile::new(self.0.path(), origin())
    }

    fn file(&self) -> PathBuf {
        self.snapshot_file().location.file
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        fs::read_dir(self.0.path()).unwrap().map(name).collect()
    }

    async fn write(&self, snapshot: &Snapshot) {
        let mut disk = self.snapshot_file();
        disk.remember(snapshot);
        disk.flush().await;
    }

    async fn load(&self) -> Option<Snapshot> {
        let Stored { members, .. } = self.snapshot_file().load().await?;
        let mut contents = snapshot([]);
        Arc::get_mut(&mut contents.0).unwrap().members = members;
        Some(contents)
    }
}

fn same(one: &Snapshot, other: &Snapshot) -> bool {
    one.instances().eq(other.instances())
}

#[tokio::test]
async fn what_was_written_is_read_back_whole() {
    let directory = Directory::new();
    assert!(directory.load().await.is_none(), "no file is no reason to complain");
    let before = SystemTime::now() - Duration::from_millis(1);
    for ports in [1..1, 1..2, 1..1000] {
        let written = snapshot(ports);
        directory.write(&written).await;
        assert!(same(&directory.load().await.unwrap(), &written));
    }
    let Stored { written, .. } = directory.snapshot_file().load().await.unwrap();
    assert!(before <= written && written <= SystemTime::now());
    assert_eq!(
        directory.names(),
        ["services%2Ftime+zk1%3A2181%2Czk2%3A2181%2Ffleet.snapshot"],
        "nothing else is left behind"
    );
}

#[tokio::test]
async fn a_damaged_file_is_ignored_and_then_replaced() {
    let directory = Directory::new();
    directory.write(&snapshot(1..4)).await;
    let whole = fs::read(directory.file()).unwrap();
    for cut in 0..whole.len() {
        fs::write(directory.file(), &whole[..cut]).unwrap();
        assert!(directory.load().await.is_none(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(directory.file(), &flipped).unwrap();
        assert!(directory.load().await.is_none(), "flipped at {at}");
    }
    let head = whole.iter().position(|byte| *byte == b'\n').unwrap();
    // Anywhere in the first line, and around the ends of others.
    for cut in (0..=head + 1).chain([whole.len() - 1]) {
        fs::write(directory.file(), &whole[..cut]).unwrap();
        directory.write(&snapshot(1..4)).await;
        assert_eq!(directory.load().await.unwrap().len(), 3, "cut at {cut}");
    }
}

#[tokio::test]
async fn what_is_not_ours_is_neither_read_nor_replaced_nor_deleted() {
    let other = SnapshotFile::new(Path::new(""), Origin { root: "/services/other".to_owned(), ..origin() });
    let elsewhere = Directory::new();
    let location = Location { file: elsewhere.file(), ..other.location };
    location.write(&snapshot(1..3)).unwrap();
    let of_another_service = fs::read(&location.file).unwrap();
    let without_end =
        &of_another_service[..of_another_service.iter().position(|byte| *byte == b'\n').unwrap()];
    let almost = b"{\"file\":\"zk-registry snapshots of Rome";
    let foreign = [b"hello".as_slice(), b"{}", b"{}\n", b"\n", b"\xff\xff\n", almost];
    for foreign in foreign.into_iter().chain([without_end, &of_another_service]) {
        let directory = Directory::new();
        fs::write(directory.file(), foreign).unwrap();
        assert!(directory.load().await.is_none());
        directory.write(&snapshot(1..3)).await;
        assert_eq!(fs::read(directory.file()).unwrap(), foreign);
        assert_eq!(directory.names().len(), 1);
    }
    let directory = Directory::new();
    fs::create_dir(directory.file()).unwrap();
    assert!(directory.load().await.is_none());
    directory.write(&snapshot(1..3)).await;
    assert!(directory.file().is_dir());
}

#[tokio::test]
async fn a_file_of_another_version_is_ignored() {
    let directory = Directory::new();
    directory.write(&snapshot(1..3)).await;
    let newer = fs::read_to_string(directory.file()).unwrap().replace("\"version\":1", "\"version\":3");
    let (body, _) = newer.trim_end().rsplit_once('\n').unwrap();
    let body = format!("{body}\n");
    let crc32 = crc32fast::hash(body.as_bytes());
    fs::write(directory.file(), format!("{body}{{\"crc32\":{crc32}}}\n")).unwrap();
    assert!(directory.load().await.is_none());
}

#[tokio::test]
async fn fields_of_a_later_release_are_ignored() {
    let directory = Directory::new();
    directory.write(&snapshot(1..3)).await;
    let later = fs::read_to_string(directory.file()).unwrap().replace("\"port\"", "\"new\":[],\"port\"");
    let (body, _) = later.trim_end().rsplit_once('\n').unwrap();
    let body = format!("{body}\n");
    let crc32 = crc32fast::hash(body.as_bytes());
    fs::write(directory.file(), format!("{body}{{\"crc32\":{crc32},\"new\":1}}\n")).unwrap();
    assert!(same(&directory.load().await.unwrap(), &snapshot(1..3)));
}

#[tokio::test]
async fn what_a_killed_writer_left_is_deleted_once_it_is_old() {
    let directory = Directory::new();
    let location = directory.snapshot_file().location;
    let [old, young] = [1, 2].map(|write| location.temporary(Uuid::from_u128(write)));
    let foreign = directory.file().with_extension("draft.tmp");
    let long_ago = SystemTime::now() - REMAINS - Duration::from_secs(1);
    for (file, written) in [(&old, long_ago), (&young, SystemTime::now()), (&foreign, long_ago)] {
        File::create(file).unwrap().set_modified(written).unwrap();
    }
    directory.write(&snapshot([1])).await;
    assert_eq!([&old, &young, &foreign].map(|file| file.exists()), [false, true, true]);
    assert!(directory.load().await.is_some());
}

#[tokio::test]
async fn a_disk_that_fails_is_tried_again() {
    let directory = Directory::new();
    let nested = directory.0.path().join("a/b");
    fs::write(directory.0.path().join("a"), "in the way").unwrap();
    let mut disk = SnapshotFile::new(&nested, origin());
    disk.remember(&snapshot(1..2));
    disk.flush().await;
    fs::remove_file(directory.0.path().join("a")).unwrap();
    let mut disk = SnapshotFile::new(&nested, origin());
    disk.remember(&snapshot(1..2));
    disk.flush().await;
    assert_eq!(SnapshotFile::new(&nested, origin()).load().await.unwrap().members.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_room_gets_the_file_when_it_has_some_even_if_nothing_changes_any_more() {
    let directory = Directory::new();
    let target = directory.0.path().join("full");
    fs::write(&target, "in the way").unwrap();
    let mut disk = SnapshotFile::new(&target, origin());
    disk.remember(&snapshot(1..4));
    sleep(Duration::from_secs(60)).await;
    fs::remove_file(&target).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(SnapshotFile::new(&target, origin()).load().await.unwrap().members.len(), 3);
    disk.flush().await;
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_come_too_fast_are_skipped_but_for_the_last() {
    let directory = Directory::new();
    let mut disk = directory.snapshot_file();
    let began = Instant::now();
    let mut seen = BTreeSet::new();
    for n in 1..200 {
        disk.remember(&snapshot(1..n));
        sleep(Duration::from_millis(50)).await;
        if let Some(loaded) = directory.load().await {
            seen.insert(loaded.len());
        }
    }
    let (writes, most) = (seen.len() as u64, began.elapsed().as_secs() + 1);
    assert!(writes > 2 && writes <= most, "{writes} writes");
    disk.flush().await;
    assert_eq!(directory.load().await.unwrap().len(), 198);
}

fn remembering(directory: &Directory) -> (Options, ServiceName) {
    (Options::default().with_snapshot_dir(directory.0.path()), "time".parse().unwrap())
}

#[tokio::test]
async fn a_registry_is_closed_only_when_its_last_snapshot_is_written() {
    let directory = Directory::new();
    let (options, service) = remembering(&directory);
    let registry = testing::Registry::with(options, 0);
    let mut watch = registry.watch(&service);
    let mut registrations = Vec::new();
    // The first is written at once, the others have to wait.
    for port in 1..=3 {
        let mut registration = registry.register(&service, instance(port));
        watch.wait_for(registration.registered().await.unwrap()).await.unwrap();
        registrations.push(registration);
    }
    let outcome = (*registry).clone().close(Duration::from_secs(5)).await;
    // Nothing may run in between.
    let of_memory = Origin { cluster: "memory".to_owned(), ..origin() };
    let file = SnapshotFile::new(directory.0.path(), of_memory.clone()).location.file;
    let written = encoding::decode(&fs::read(file).unwrap(), &of_memory).unwrap();
    assert_eq!((outcome, written.members.len()), (Withdrawn::Confirmed, 3));
}

#[test]
fn a_disk_that_hangs_delays_the_end_of_a_registry_only_as_long_as_was_said() {
    let directory = Directory::new();
    let (options, service) = remembering(&directory);
    let mut one_hand = tokio::runtime::Builder::new_current_thread();
    let runtime = one_hand.enable_time().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let registry = testing::Registry::with(options, 0);
        let mut watch = registry.watch(&service);
        watch.live().await.unwrap();
        // Whoever wants to write waits for the only hand there is.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = spawn_blocking(move || held.recv());
        let mut registration = registry.register(&service, instance(1));
        watch.wait_for(registration.registered().await.unwrap()).await.unwrap();
        let began = Instant::now();
        let within = Duration::from_millis(200);
        assert_eq!((*registry).clone().close(within).await, Withdrawn::Confirmed);
        let took = began.elapsed();
        assert!(took >= within && took < within * 10, "{took:?}");
        drop(release);
        busy.await.unwrap().unwrap_err();
    });
}

#[test]
fn names_of_files_are_harmless_and_tell_services_apart() {
    let name =
        |cluster: &str, root: &str| file_name(&Origin { cluster: cluster.to_owned(), root: root.to_owned() });
    assert_eq!(name("zk:1", "/services/com/example/time"), "services%2Fcom%2Fexample%2Ftime+zk%3A1.snapshot");
    assert_eq!(name("[::1]:1", "/.x/..y"), "%2Ex%2F..y+%5B%3A%3A1%5D%3A1.snapshot");
    assert_eq!(name("zk:1/a", "/a b%20/\u{e9}+"), "a%20b%2520%2F%C3%A9%2B+zk%3A1%2Fa.snapshot");
    let long = |cluster: &str, last: &str| name(cluster, &format!("/services/{}{last}", "x".repeat(5000)));
    assert!(long("zk:1", "a").len() < 200);
    assert_ne!(long("zk:1", "a"), long("zk:1", "b"));
    assert_ne!(long("zk:1", "a"), long("zk:2", "a"));
}

#[tokio::test]
async fn two_zookeepers_that_share_a_directory_never_see_each_others_instances() {
    let directory = Directory::new();
    let of = |cluster: &str| {
        SnapshotFile::new(directory.0.path(), Origin { cluster: cluster.to_owned(), ..origin() })
    };
    for (cluster, ports) in [("test:2181", 1..3), ("live:2181", 3..9), ("live:2181/chroot", 9..10)] {
        let mut file = of(cluster);
        file.remember(&snapshot(ports));
        file.flush().await;
    }
    for (cluster, expected) in [("test:2181", 2), ("live:2181", 6), ("live:2181/chroot", 1)] {
        assert_eq!(of(cluster).load().await.unwrap().members.len(), expected, "{cluster}");
    }
    assert!(of("other:2181").load().await.is_none());
    // A copy under the name of another one is not believed either.
    fs::copy(of("test:2181").location.file, of("other:2181").location.file).unwrap();
    assert!(of("other:2181").load().await.is_none());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn only_the_user_can_read_the_file_and_what_was_created_for_it() {
        let directory = Directory::new();
        let nested = directory.0.path().join("a/b");
        let mut file = SnapshotFile::new(&nested, origin());
        file.remember(&snapshot(1..2));
        let path = file.location.file.clone();
        file.flush().await;
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([mode(&path), mode(&nested)], [0o600, 0o700]);
    }

    #[tokio::test]
    async fn a_file_that_everybody_could_read_is_replaced_by_one_that_nobody_else_can() {
        let directory = Directory::new();
        directory.write(&snapshot(1..2)).await;
        set_mode(&directory.file(), 0o644);
        assert_eq!(directory.load().await.unwrap().len(), 1);
        directory.write(&snapshot(1..3)).await;
        assert_eq!(fs::metadata(directory.file()).unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_is_neither_read_nor_written() {
        for mode in [0o777, 0o1777, 0o775] {
            let directory = Directory::new();
            directory.write(&snapshot(1..2)).await;
            set_mode(directory.0.path(), mode);
            assert!(directory.load().await.is_none(), "{mode:o}");
            let before = fs::read(directory.file()).unwrap();
            directory.write(&snapshot(1..9)).await;
            assert_eq!(fs::read(directory.file()).unwrap(), before, "{mode:o}");
            set_mode(directory.0.path(), 0o755);
            directory.write(&snapshot(1..9)).await;
            assert_eq!(directory.load().await.unwrap().len(), 8, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn a_file_that_others_can_write_is_not_believed() {
        let directory = Directory::new();
        directory.write(&snapshot(1..2)).await;
        set_mode(&directory.file(), 0o666);
        assert!(directory.load().await.is_none());
    }

    #[test]
    fn one_warning_of_a_directory_is_enough_for_all_services() {
        let directory = Directory::new();
        let other = Origin { root: "/services/other".to_owned(), ..origin() };
        let other = SnapshotFile::new(directory.0.path(), other);
        assert!(directory.snapshot_file().location.is_first_warning());
        assert!(!other.location.is_first_warning() && !directory.snapshot_file().location.is_first_warning());
    }
}

#[test]
fn of_a_file_with_another_head_no_more_than_the_head_is_read() {
    let directory = Directory::new();
    let other = Origin { root: "/services/other".to_owned(), ..origin() };
    let head = encoding::encode(&other, &snapshot(1..2), SystemTime::UNIX_EPOCH).unwrap();
    fs::write(directory.file(), head).unwrap();
    File::options().write(true).open(directory.file()).unwrap().set_len(MAX_FILE).unwrap();
    let info = allocation_counter::measure(|| {
        directory.snapshot_file().location.read().unwrap_err();
    });
    assert!(info.bytes_max < 4 * MAX_HEAD, "{info:?}");
    File::options().write(true).open(directory.file()).unwrap().set_len(MAX_FILE + 1).unwrap();
    let error = directory.snapshot_file().location.read().unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[test]
fn a_directory_without_a_name_is_the_current_one() {
    let location = SnapshotFile::new(Path::new(""), origin()).location;
    assert_eq!(location.directory(), Path::new("."));
    assert!(location.is_temporary(&location.directory().join(location.temporary(Uuid::nil()))));
}
