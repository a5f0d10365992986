//! ZooKeeper servers of a test's own, that it may kill, freeze and restart. Everything goes through `docker/zk`.

use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::artifacts;
use crate::checkout::checkout;
use crate::zookeeper::ZooKeeper;

/// How to start servers. The backend is the environment's `BACKEND`, else what `docker/zk` chooses.
#[derive(Clone, Debug)]
pub struct Launch {
    topology: &'static str,
    nodes: u16,
    tick: Duration,
    client_certificate: &'static str,
    config: Vec<String>,
    /// The flags of the JVM, if they are not those of `docker/zk`.
    jvm: Option<String>,
    /// Whether the data lies in memory, where the host can do that.
    memory: bool,
}

impl Launch {
    /// One server.
    pub fn single() -> Self {
        Self::new("single", 1)
    }

    /// Three servers.
    pub fn ensemble() -> Self {
        Self::new("ensemble", 3)
    }

    /// One server with SASL DIGEST-MD5 on its plaintext port, and TLS on a second one.
    pub fn secure() -> Self {
        Self::new("secure", 1)
    }

    fn new(topology: &'static str, nodes: u16) -> Self {
        Self {
            topology,
            nodes,
            tick: Duration::from_millis(500),
            client_certificate: "want",
            config: Vec::new(),
            jvm: None,
            memory: true,
        }
    }

    /// The server's tick; session timeouts are clamped to 2 ticks at least. Defaults to 500 milliseconds.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// One more line of `zoo.cfg`.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push(format!("{key}={value}"));
        self
    }

    /// Flags of the server's JVM, instead of those with which `docker/zk` starts one.
    pub fn jvm(mut self, flags: &str) -> Self {
        self.jvm = Some(flags.to_owned());
        self
    }

    /// Data that is on the disk, and synced, as in production: for what is measured. By default it is in memory where the host
    /// can do that, so that no election waits for a disk that something else keeps busy.
    pub fn on_disk(mut self) -> Self {
        self.memory = false;
        self
    }

    /// Refuse TLS clients without a certificate. By default they are let in.
    pub fn require_client_certificate(mut self) -> Self {
        self.client_certificate = "need";
        self
    }

    /// Starts the servers and waits until all of them serve.
    ///
    /// At most seven servers run at once in one test process: a further start waits for an earlier one's drop. A test
    /// therefore starts its ensemble before it starts anything smaller.
    ///
    /// # Panics
    ///
    /// When they do not come up; the message holds what `docker/zk` printed.
    pub async fn start(self) -> Servers {
        spawn_blocking(sweep).await.expect("sweeping does not panic");
        let permits = Arc::clone(&SERVER_PERMITS);
        let permit = permits.acquire_many_owned(self.nodes.into()).await.expect("it is never closed");
        let mut complaint = None;
        for _ in 0..ATTEMPTS {
            let mut servers = self.describe();
            match servers.run(&["up", self.topology]).await {
                Ok(_) => {
                    servers.permit = Some(permit);
                    return servers;
                }
                // Another process may have taken a port between our look and the server's bind.
                Err(refused) => complaint = Some(refused),
            }
        }
        let complaint = complaint.map_or_else(String::new, |refused| refused.said);
        panic!("ZooKeeper did not come up, {ATTEMPTS} times: {complaint}");
    }

    fn describe(&self) -> Servers {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("zk-registry-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let port = free_ports();
        let tls = port + PORTS - 1;
        let mut environment = vec![
            ("ZK_PORT", port.to_string()),
            ("ZK_TLS_PORT", tls.to_string()),
            ("ZK_TICK", self.tick.as_millis().to_string()),
            ("ZK_CLIENT_AUTH", self.client_certificate.to_owned()),
            ("ZK_MEMORY", if self.memory { "yes" } else { "no" }.to_owned()),
        ];
        environment.extend(self.jvm.iter().map(|flags| ("ZK_JVM", flags.clone())));
        if !self.config.is_empty() {
            environment.push(("ZK_CFG_EXTRA", self.config.join(" ")));
        }
        Servers {
            zookeeper: ZooKeeper::at((0..self.nodes).map(|n| loopback(port + n))),
            secure: (self.topology == "secure").then(|| loopback(tls)),
            control: Arc::new(ZkScript { name, environment }),
            permit: None,
        }
    }
}

/// Running servers, stopped and erased on drop; when a test fails meanwhile, their logs are [kept](artifacts::keep) and the
/// ends of them shown. Nodes are counted from 1.
#[derive(Debug)]
pub struct Servers {
    zookeeper: ZooKeeper,
    secure: Option<SocketAddr>,
    control: Arc<ZkScript>,
    /// Held until the drop, which lets the next servers start.
    permit: Option<OwnedSemaphorePermit>,
}

impl Deref for Servers {
    type Target = ZooKeeper;

    fn deref(&self) -> &ZooKeeper {
        &self.zookeeper
    }
}

impl Servers {
    /// The name and password that the secure server knows.
    pub const SASL: (&'static str, &'static str) = ("bob", "bobsecret");

    /// The TLS address of a secure server.
    ///
    /// # Panics
    ///
    /// When these servers were not started by [`Launch::secure`].
    pub fn tls_address(&self) -> SocketAddr {
        self.secure.expect("only Launch::secure() has a TLS port")
    }

    /// A file of the secure server's certificate directory: `ca.pem`, `client.crt`, `client.key`, and the foreign
    /// `other-ca.pem`, `other-client.crt`, `other-client.key`.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub fn certificate(&self, file: &str) -> PathBuf {
        let path = checkout().join(".zk").join(&self.control.name).join("certs").join(file);
        assert!(path.is_file(), "{} does not exist", path.display());
        path
    }

    /// Ends the server's process at once, as `kill -9` does.
    ///
    /// # Panics
    ///
    /// Like every command here: when `docker/zk` fails, with what it printed.
    pub async fn kill(&self, node: usize) {
        self.on("kill", node).await;
    }

    /// Stops the server in an orderly way.
    pub async fn stop(&self, node: usize) {
        self.on("stop", node).await;
    }

    /// Starts a stopped or killed server and waits for its process only; see [`Servers::wait`].
    pub async fn start(&self, node: usize) {
        self.on("start", node).await;
    }

    /// Kills the server, starts it again on its data and waits until all servers serve.
    pub async fn restart(&self, node: usize) {
        self.kill(node).await;
        self.start(node).await;
        self.wait().await;
    }

    /// Freezes the server: its connections stay open and nothing answers.
    pub async fn pause(&self, node: usize) {
        self.on("pause", node).await;
    }

    /// Lets a frozen server go on.
    pub async fn resume(&self, node: usize) {
        self.on("resume", node).await;
    }

    /// Waits until every server serves.
    pub async fn wait(&self) {
        self.must(&["wait"]).await;
    }

    /// Cuts a node from its peers, not from its clients. `false` when the backend cannot (only an engine can).
    pub async fn isolate(&self, node: usize) -> bool {
        match self.run(&["isolate", &node.to_string()]).await {
            Ok(_) => true,
            Err(refused) if refused.code == Some(NOT_POSSIBLE) => false,
            Err(refused) => panic!("{refused}"),
        }
    }

    /// Undoes [`Servers::isolate`].
    pub async fn rejoin(&self, node: usize) {
        self.on("rejoin", node).await;
    }

    /// The directory that holds the data of every node.
    pub async fn data_directory(&self) -> PathBuf {
        self.must(&["data"]).await.trim_end().into()
    }

    /// The log of a server.
    pub async fn logs(&self, node: usize) -> String {
        self.must(&["logs", &node.to_string()]).await
    }

    async fn on(&self, verb: &str, node: usize) {
        self.must(&[verb, &node.to_string()]).await;
    }

    async fn must(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.unwrap_or_else(|refused| panic!("{refused}"))
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, Refused> {
        let control = Arc::clone(&self.control);
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        spawn_blocking(move || control.run(&arguments)).await.expect("running a command does not panic")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (1..=self.addresses().len()).for_each(|node| self.control.show_log(node));
        }
        self.control.clean();
    }
}

/// The name and the environment with which `docker/zk` is called.
#[derive(Debug)]
struct ZkScript {
    name: String,
    environment: Vec<(&'static str, String)>,
}

impl ZkScript {
    /// The output of the command.
    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String, Refused> {
        let mut command = Command::new(checkout().join("docker/zk"));
        command.args(arguments).env("ZK_NAME", &self.name).envs(self.environment.iter().cloned());
        let output = command
            .current_dir(checkout())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Refused { code: None, said: format!("{command:?}: {error}") })?;
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(said.into_owned());
        }
        let complained = String::from_utf8_lossy(&output.stderr);
        let said = format!("{command:?}: {}\n{said}{complained}", output.status);
        Err(Refused { code: output.status.code(), said })
    }

    /// Used where a test may be failing already: a second panic would abort the whole run.
    fn clean(&self) {
        if let Err(refused) = self.run(&["clean"]) {
            eprintln!("{refused}");
        }
    }

    /// As [`ZkScript::clean`].
    fn show_log(&self, node: usize) {
        let log = self.run(&["logs", &node.to_string()]).unwrap_or_else(|refused| refused.said);
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        eprintln!("--- the last of the log of server {node} of {}:\n{}\n---", self.name, end.join("\n"));
        artifacts::keep(&format!("{}-server-{node}.log", self.name), &log);
    }
}

/// A command that failed.
#[derive(Debug)]
struct Refused {
    code: Option<i32>,
    said: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// Erases, once per process, what test processes left behind that were killed before their drops ran: the names of
/// test servers say whose they are.
fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        let nobody = ZkScript { name: format!("{PREFIX}sweep"), environment: Vec::new() };
        if let Err(refused) = nobody.run(&["sweep"]) {
            eprintln!("{refused}");
        }
    });
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The first of [`PORTS`] neighbouring free ports, below the range that the kernel hands out by itself.
fn free_ports() -> u16 {
    const FIRST: u32 = 20_000;
    const BLOCKS: u32 = 600;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..BLOCKS {
        // Two test processes at once start at different places.
        let block = (std::process::id() * 37 + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let port = u16::try_from(FIRST + block * u32::from(PORTS)).expect("20000 + 600 * 20 fits");
        if (port..port + PORTS).all(|port| TcpListener::bind(loopback(port)).is_ok()) {
            return port;
        }
    }
    panic!("no {PORTS} neighbouring free ports from {FIRST} on");
}

/// Servers that run at once: each is a JVM of about 100 MB that takes a good part of a core while it starts.
const AT_ONCE: usize = 7;
static SERVER_PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));
/// The beginning of the names of all test servers; the process id and a number follow, as `docker/zk sweep` expects.
const PREFIX: &str = "zk-registry-test-";
const ATTEMPTS: u32 = 3;
/// How much of a server's log a failed test shows.
const LOG_LINES: usize = 40;
/// Client ports of three nodes, room for the ports that an ensemble uses among itself, and TLS.
const PORTS: u16 = 20;
/// The exit code of `docker/zk` for what a backend cannot do.
const NOT_POSSIBLE: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_free_and_below_the_kernels_own() {
        let port = free_ports();
        assert!((20_000..32_000).contains(&port));
    }
}
