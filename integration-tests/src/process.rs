//! Programs under test as real processes: their lines with times, signals, exit status.
//!
//! Output is read by threads, not by the test's runtime, so that a time stamp stays true while a test is busy.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::artifacts;
use crate::checkout::{checkout, layout};
use crate::eventually::eventually;

/// A program to run, with its arguments, environment and limits.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Commands of a shell, which then becomes the program.
    prelude: Vec<String>,
    stdout_to: Option<Arc<OwnedFd>>,
}

impl Program {
    /// The workspace's `time-server`, built from this checkout in this build's profile.
    ///
    /// # Panics
    ///
    /// When it does not compile.
    pub fn time_server() -> Self {
        Self::at(programs().join("time-server"))
    }

    /// The workspace's `time-client`, as [`Program::time_server`].
    ///
    /// # Panics
    ///
    /// When it does not compile.
    pub fn time_client() -> Self {
        Self::at(programs().join("time-client"))
    }

    /// The operator's tool `zkr`, as [`Program::time_server`].
    ///
    /// # Panics
    ///
    /// When it does not compile.
    pub fn zkr() -> Self {
        Self::at(programs().join("zkr"))
    }

    /// The path of the program, for a test that must start it in a way of its own.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Any program: a path, or a name that is looked up in `PATH`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            prelude: Vec::new(),
            stdout_to: None,
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// An environment variable beside the inherited ones.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The most file descriptors that the process may have open.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.prelude.push(format!("ulimit -n {most}"));
        self
    }

    /// Writes beyond a [limit](RunningProgram::limit) of the size of files fail, as on a full disk, instead of ending the process.
    pub fn surviving_full_disks(mut self) -> Self {
        self.prelude.push("trap '' XFSZ".to_owned());
        self
    }

    /// Where its standard output goes, instead of being captured: a file, a pipe.
    pub fn stdout_to(mut self, to: impl Into<OwnedFd>) -> Self {
        self.stdout_to = Some(Arc::new(to.into()));
        self
    }

    /// Starts it, with no input and with its output captured.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(&self) -> RunningProgram {
        let name = self.name();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(self.stdout()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("starting {}: {error}", self.path.display()));
        let stdout = child.stdout.take().map_or_else(Lines::none, Lines::read);
        let stderr = Lines::read(child.stderr.take().expect("it is piped"));
        RunningProgram { id: child.id(), name, child: Mutex::new(child), stdout, stderr }
    }

    fn stdout(&self) -> Stdio {
        let Some(to) = &self.stdout_to else { return Stdio::piped() };
        to.try_clone().unwrap_or_else(|error| panic!("handing over standard output: {error}")).into()
    }

    /// The name of the program in messages.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The command without its input and output.
    pub(crate) fn command(&self) -> Command {
        let mut command = if self.prelude.is_empty() {
            Command::new(&self.path)
        } else {
            // The shell becomes the program: the process id stays the same.
            let mut shell = Command::new("/bin/sh");
            let prelude = self.prelude.join(" && ");
            shell.args(["-c", &format!("{prelude} && exec \"$0\" \"$@\"")]).arg(&self.path);
            shell
        };
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A resource of a running process that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open file descriptors.
    Descriptors,
    /// Bytes in a file that it writes.
    FileSize,
}

impl Resource {
    /// See [`RunningProgram::limit`].
    pub(crate) fn limit(self, id: u32, most: Option<u64>) {
        let resource = match self {
            Self::Descriptors => "nofile",
            Self::FileSize => "fsize",
        };
        let most = most.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
        let status = Command::new("prlimit")
            .args(["--pid", &id.to_string(), &format!("--{resource}={most}:")])
            .status()
            .expect("prlimit is part of util-linux");
        assert!(status.success(), "limiting {resource} of process {id} to {most}: {status}");
    }
}

/// A running program. Dropping it kills it; when a test fails meanwhile, what it wrote is shown and [kept](artifacts::keep).
#[derive(Debug)]
pub struct RunningProgram {
    name: String,
    id: u32,
    child: Mutex<Child>,
    stdout: Lines,
    stderr: Lines,
}

impl RunningProgram {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The lines of its standard output so far.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// The lines of its standard error so far.
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Sends a signal: `SIGTERM`, `SIGINT`, `SIGKILL`, `SIGSTOP`, `SIGCONT`.
    ///
    /// # Panics
    ///
    /// When the process has ended already.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // Looking first, under the lock, keeps the signal from a later process of the same id.
        if let Ok(Some(status)) = child.try_wait() {
            drop(child);
            panic!("{} got no {signal}: it had ended with {status}", self.name);
        }
        let id = i32::try_from(self.id).expect("process ids fit");
        kill(Pid::from_raw(id), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Limits what it may have from now on; `None` lifts the limit. It is soft, so that it can be
    /// changed again.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn limit(&self, resource: Resource, most: Option<u64>) {
        resource.limit(self.id, most);
    }

    /// Its exit status, once it has ended.
    pub fn status(&self) -> Option<ExitStatus> {
        self.child().try_wait().unwrap_or_else(|error| panic!("waiting for {}: {error}", self.name))
    }

    /// Waits for its end, and until all that it wrote has been read.
    ///
    /// # Panics
    ///
    /// When it still runs after `within`.
    pub async fn exit(&self, within: Duration) -> ExitStatus {
        eventually(within, &format!("the end of {}", self.name), async || {
            self.status().filter(|_| self.stdout.ended() && self.stderr.ended())
        })
        .await
    }

    /// Waits for a line on its standard output that contains `text`.
    ///
    /// # Panics
    ///
    /// When there is none `within` that time; the message shows the last lines.
    pub async fn says(&self, text: &str, within: Duration) -> Line {
        self.stdout.first(&self.name, text, within).await
    }

    /// Waits for a line on its standard error that contains `text`.
    ///
    /// # Panics
    ///
    /// As [`RunningProgram::says`].
    pub async fn logs(&self, text: &str, within: Duration) -> Line {
        self.stderr.first(&self.name, text, within).await
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let mut child = self.child();
        // An error of either means that it has ended, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
        if thread::panicking() {
            let (wrote, logged) = (self.stdout.text(), self.stderr.text());
            eprintln!("--- {} wrote:\n{wrote}--- and logged:\n{logged}---", self.name);
            artifacts::keep(&format!("{}-{}.out", self.name, self.id), &wrote);
            artifacts::keep(&format!("{}-{}.err", self.name, self.id), &logged);
        }
    }
}

/// One line and when it was read.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Its text, without the line's end.
    pub text: String,
}

/// The lines of one stream so far.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<Line>>>, Arc<AtomicBool>);

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let sink = lines.clone();
        // The thread ends with the stream: when the process and its heirs of that output are gone.
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
                sink.0.lock().unwrap_or_else(PoisonError::into_inner).push(Line { at: Instant::now(), text });
                bytes.clear();
            }
            sink.1.store(true, Ordering::Release);
        });
        lines
    }

    /// The lines of a stream that is not read: none.
    fn none() -> Self {
        let lines = Self::default();
        lines.1.store(true, Ordering::Release);
        lines
    }

    /// Whether the stream has ended, so that there will be no further line.
    fn ended(&self) -> bool {
        self.1.load(Ordering::Acquire)
    }

    /// The lines so far.
    pub fn all(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines that contain `text`.
    pub fn containing(&self, text: &str) -> Vec<Line> {
        self.all().into_iter().filter(|line| line.text.contains(text)).collect()
    }

    /// The lines as one text.
    pub fn text(&self) -> String {
        self.all().into_iter().map(|line| line.text + "\n").collect()
    }

    /// Waits until `count` lines contain `text`, and returns the last of those.
    ///
    /// # Panics
    ///
    /// When there are fewer `within` that time; the message shows the last lines.
    pub async fn nth(&self, whose: &str, count: usize, text: &str, within: Duration) -> Line {
        eventually(within, &format!("{count} times {text:?} from {whose}"), async || {
            let found = self.containing(text);
            found
                .get(count - 1)
                .cloned()
                .ok_or_else(|| format!("{} times, after\n{}", found.len(), self.tail()))
        })
        .await
    }

    async fn first(&self, whose: &str, text: &str, within: Duration) -> Line {
        self.nth(whose, 1, text, within).await
    }

    fn tail(&self) -> String {
        let lines = self.all();
        lines[lines.len().saturating_sub(20)..].iter().map(|line| format!("{}\n", line.text)).collect()
    }
}

/// Where this build's programs are. They are built here, once per process: a test runner does not build another
/// package's programs, and a stale one would be tested silently.
fn programs() -> &'static PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let (target, profile) = layout();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "-p", "time-server", "-p", "time-client"])
            .args(["-p", "zk-registry", "--features", "zk-registry/cli", "--bins", "--profile"])
            .arg(if profile == "debug" { "dev" } else { &profile })
            .arg("--target-dir")
            .arg(&target)
            .current_dir(checkout())
            .output()
            .unwrap_or_else(|error| panic!("running cargo: {error}"));
        assert!(built.status.success(), "building the programs:\n{}", String::from_utf8_lossy(&built.stderr));
        target.join(profile)
    })
}
