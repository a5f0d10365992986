//! The snapshot file: what a service looked like when it was last live, so that a program can start while ZooKeeper is
//! down.
//!
//! The file is a cache: it is replaced as a whole or not at all, a file that makes no sense is ignored with a warning, and
//! whatever was not written by us is neither deleted nor overwritten. Several processes of one user may share a directory
//! (the last one to write wins), with several ZooKeepers: name and head of a file say which. Other users can neither read
//! the file nor have written it; a directory that they can write is left alone.

pub(crate) mod encoding;
mod trust;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::OptionFuture;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use self::encoding::nonsense;
pub(crate) use self::encoding::{Origin, Stored, StoredRule};
use crate::snapshot::Snapshot;

/// The least time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// After which time a write that failed is tried again; the disk may have room by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A write that took long is followed by a pause of so many times that.
const PAUSE: u32 = 20;
/// How old a temporary file is whose writer is no more.
const REMAINS: Duration = Duration::from_secs(60 * 60);
/// How long a file system may take: it may be a network that is down.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest first line, and the largest file, that is looked at.
const MAX_HEAD: u64 = 64 << 10;
const MAX_FILE: u64 = 256 << 20;
/// The longest name that is written out; file systems allow 255 bytes, and the temporary file needs some of them.
const MAX_NAME: usize = 180;

/// The snapshot file of one service.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    location: Location,
    writer: Option<Writer>,
}

/// Which file it is, and whose.
#[derive(Clone, Debug)]
struct Location {
    file: PathBuf,
    origin: Origin,
}

/// The task that writes; it always writes the newest snapshot, and skips those that came too fast.
#[derive(Debug)]
struct Writer {
    newest: watch::Sender<Option<Snapshot>>,
    hurry: CancellationToken,
    task: JoinHandle<()>,
}

impl SnapshotFile {
    /// The file of a service. Nothing is touched yet.
    pub(crate) fn new(directory: &Path, origin: Origin) -> Self {
        Self { location: Location { file: directory.join(file_name(&origin)), origin }, writer: None }
    }

    /// What the file remembers, if there is one that makes sense.
    pub(crate) async fn load(&self) -> Option<Stored> {
        let location = self.location.clone();
        let file = location.file.display().to_string();
        match timeout(PATIENCE, spawn_blocking(move || location.read())).await {
            Ok(Ok(Ok(remembered))) => remembered,
            Ok(Ok(Err(error))) => {
                if !trust::is_untrusted(&error) {
                    warn!(file, %error, "the snapshot file is ignored");
                } else if self.location.is_first_warning() {
                    warn!(file, %error, "snapshot files are neither read nor written");
                }
                None
            }
            Ok(Err(error)) => {
                warn!(file, %error, "the snapshot file is ignored");
                None
            }
            Err(_) => {
                warn!(file, "the snapshot file is ignored: reading it takes too long");
                None
            }
        }
    }

    /// Has the snapshot written soon, unless a newer one comes first. Never blocks.
    pub(crate) fn remember(&mut self, snapshot: &Snapshot) {
        let writer = self.writer.get_or_insert_with(|| {
            let (newest, snapshots) = watch::channel(None);
            let hurry = CancellationToken::new();
            let task = tokio::spawn(keep_writing(self.location.clone(), snapshots, hurry.clone()));
            Writer { newest, hurry, task }
        });
        writer.newest.send_replace(Some(snapshot.clone()));
    }

    /// Writes what is not written yet, and ends.
    pub(crate) async fn flush(self) {
        let Some(Writer { newest, hurry, task }) = self.writer else { return };
        hurry.cancel();
        drop(newest);
        if timeout(PATIENCE, task).await.is_err() {
            warn!(file = %self.location.file.display(), "the snapshot file was not written in time");
        }
    }
}

/// Writes each snapshot that is still the newest when its turn comes, until there will be no more. One that could not be
/// written is tried again, as there may be no newer one for long.
async fn keep_writing(
    location: Location,
    mut snapshots: watch::Receiver<Option<Snapshot>>,
    hurry: CancellationToken,
) {
    let file = location.file.display().to_string();
    let mut failing = false;
    let to = location.clone();
    if let Ok(Err(error)) = spawn_blocking(move || to.clear_remains()).await {
        debug!(file, %error, "what killed writers left is not looked for");
    }
    loop {
        let retry = OptionFuture::from(failing.then(|| sleep(RETRY_AFTER)));
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            Some(()) = retry => {}
        }
        let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
        let began = Instant::now();
        let to = location.clone();
        let written = spawn_blocking(move || to.write(&snapshot)).await.unwrap_or_else(|e| Err(e.into()));
        match &written {
            Ok(()) if failing => info!(file, "the snapshot file is written again"),
            Ok(()) => {}
            Err(error) if trust::is_untrusted(error) => {
                if location.is_first_warning() {
                    warn!(file, %error, "snapshot files are neither read nor written");
                }
            }
            Err(error) if !failing => warn!(file, %error, "the snapshot file cannot be written, trying on"),
            Err(_) => {}
        }
        failing = written.is_err();
        tokio::select! {
            () = sleep(WRITE_EVERY.max(began.elapsed() * PAUSE)) => {}
            () = hurry.cancelled() => {}
        }
    }
}

impl Location {
    /// `None` when there is no file; an error says what is wrong with it. Only a file whose head is right is read whole.
    fn read(&self) -> io::Result<Option<Stored>> {
        let Some(mut file) = self.open()? else { return Ok(None) };
        if file.metadata()?.len() > MAX_FILE {
            return Err(nonsense("it is too large"));
        }
        let mut bytes = Vec::new();
        (&mut file).take(MAX_HEAD).read_to_end(&mut bytes)?;
        encoding::readable_head(&bytes, &self.origin)?;
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        encoding::decode(&bytes, &self.origin).map(Some)
    }

    /// Replaces the file as a whole: a reader finds, meanwhile and after a power failure, the old or the new one.
    fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        let directory = self.directory();
        trust::create_directory(directory)?;
        trust::check_directory(directory)?;
        self.check_ours()?;
        let bytes = encoding::encode(&self.origin, snapshot, SystemTime::now())?;
        let temporary = self.temporary(Uuid::new_v4());
        let write = || {
            let mut file = trust::create_file(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.file)
        };
        if let Err(error) = write() {
            // It may not even exist, and the next try takes another name.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        sync_directory(directory)
    }

    /// What is written before it replaces the file. Each write has one of its own.
    fn temporary(&self, write: Uuid) -> PathBuf {
        self.file.with_extension(format!("{}.tmp", write.simple()))
    }

    /// Deletes the temporary files of writers that were killed long ago.
    fn clear_remains(&self) -> io::Result<()> {
        trust::check_directory(self.directory())?;
        for entry in fs::read_dir(self.directory())? {
            let path = entry?.path();
            // It may be gone before it is looked at: another process clears the same directory.
            if self.is_temporary(&path) && age(&path).is_ok_and(|age| age > REMAINS) {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }

    /// Where the file is.
    fn directory(&self) -> &Path {
        self.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    /// Whether a write to this file has, or had, this temporary file.
    fn is_temporary(&self, path: &Path) -> bool {
        let write = path.file_stem().map(Path::new).and_then(Path::extension).and_then(OsStr::to_str);
        let is_its = |write| self.temporary(write).file_name() == path.file_name();
        write.and_then(|write| Uuid::try_parse(write).ok()).is_some_and(is_its)
    }

    /// Refuses to replace a file that another program wrote.
    fn check_ours(&self) -> io::Result<()> {
        let Some(file) = self.open()? else { return Ok(()) };
        let mut head = Vec::new();
        file.take(MAX_HEAD).read_to_end(&mut head)?;
        encoding::head_of(&head, &self.origin).map(drop)
    }

    /// `None` when there is nothing. Opens nothing but a plain file: a pipe would wait for its other end.
    fn open(&self) -> io::Result<Option<File>> {
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match trust::check_directory(self.directory()).and_then(|()| fs::metadata(&self.file)) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(nonsense("it is not a file")),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let file = File::open(&self.file)?;
        trust::check_file(&file)?;
        Ok(Some(file))
    }

    /// Whether this process has not warned of the directory yet: one warning is enough for all services.
    fn is_first_warning(&self) -> bool {
        static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(self.directory().to_owned())
    }
}

/// How long ago the file was written.
fn age(path: &Path) -> io::Result<Duration> {
    Ok(fs::metadata(path)?.modified()?.elapsed().unwrap_or_default())
}

/// Makes a rename durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// What a file is about as its name: what is not harmless everywhere is percent-encoded, what is too long is cut and told
/// apart by a checksum.
fn file_name(origin: &Origin) -> String {
    let mut name = encoded(origin.root.trim_start_matches('/'));
    name.push('+');
    name.push_str(&encoded(&origin.cluster));
    if name.len() > MAX_NAME {
        let checksum = crc32fast::hash(name.as_bytes());
        name.truncate(MAX_NAME);
        name.push_str(&format!("~{checksum:08x}"));
    }
    name + ".snapshot"
}

fn encoded(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests;
