//! The world of a real ZooKeeper: each process reaches it through a proxy of its own.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tracing::info;
use uuid::Uuid;

use super::super::zookeeper::ZooKeeper;
use super::world::{Network, Process, TIMEOUT, World};
use crate::options::{Credentials, Options};

/// A behaviour, and its name.
pub(super) type Behaviour = (&'static str, for<'a> fn(&'a dyn World) -> LocalBoxFuture<'a, ()>);

/// Tries all, and panics if any failed.
pub(super) async fn ask(world: &Real, behaviours: &[Behaviour]) {
    let mut failed = Vec::new();
    for (name, behaviour) in behaviours {
        info!(name, "asking ZooKeeper");
        if AssertUnwindSafe(behaviour(world)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} behaviours failed: {failed:?}", failed.len(), behaviours.len());
}

/// One server of a real ZooKeeper.
pub(super) struct Real {
    server: String,
}

impl Real {
    /// At `host:port`.
    pub(super) fn new(server: &str) -> Self {
        Self { server: server.to_owned() }
    }
}

impl World for Real {
    fn process(&self, user: Option<&str>, chroot: &str) -> Process {
        let proxy = Proxy::start(&self.server).unwrap();
        let to = format!("{}{chroot}", proxy.address).parse().unwrap();
        let mut options = Options { session_timeout: TIMEOUT, ..Options::default() };
        options
            .credentials
            .extend(user.map(|user| Credentials::Digest { user: user.into(), password: "secret".into() }));
        Process { connect: Arc::new(ZooKeeper::new(&to, &options)), network: Box::new(proxy) }
    }

    fn fresh(&self) -> String {
        format!("/conformance-{}", Uuid::new_v4())
    }
}

/// Carries bytes until it is cut. Its threads end with their connections; the listener's with the test process.
struct Proxy {
    address: SocketAddr,
    /// Both ends of every connection; `None` while it is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Proxy {
    fn start(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let (server, accepted) = (server.to_owned(), open.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that fails is closed, as a cut one is.
                let _ = carry(client, &server, &accepted);
            }
        });
        Ok(Self { address, open })
    }
}

fn carry(client: TcpStream, server: &str, open: &Mutex<Option<Vec<TcpStream>>>) -> io::Result<()> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(open) = open.as_mut() else { return Ok(()) };
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        open.push(stream.try_clone()?);
    }
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            // The other end may be gone already.
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

impl Network for Proxy {
    fn cut(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        for stream in open.into_iter().flatten() {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn heal(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }
}
