//! The page of `zkr web`, as a browser that has it open is told of it.

use std::time::{Duration, Instant};

use integration_tests::lookout::Lookout;
use integration_tests::process::{Program, RunningProgram};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// The program, and one page that it keeps up to date.
pub(super) struct Page {
    program: RunningProgram,
    lookout: Lookout,
    _reading: AbortOnDropHandle<()>,
}

impl Page {
    /// Starts the program, and opens its page.
    pub(super) async fn open(to: &str) -> Self {
        let words = ["web", "time", "--listen", "127.0.0.1:0", "--output", "text", "--zookeeper", to];
        let program = Program::zkr().args(words).start();
        let line = program.says("http://", Duration::from_secs(20)).await;
        let address = line.text.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let lookout = Lookout::default();
        let reading = AbortOnDropHandle::new(tokio::spawn(read(address, lookout.clone())));
        Self { program, lookout, _reading: reading }
    }

    pub(super) fn id(&self) -> u32 {
        self.program.id()
    }

    pub(super) fn lookout(&self) -> &Lookout {
        &self.lookout
    }
}

/// Looks at each newer part of the page. An empty line ends it, and it has no other.
async fn read(address: String, lookout: Lookout) {
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    let ask = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("it listens");
    let (mut part, mut bytes) = (Vec::new(), vec![0; 256 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        let at = Instant::now();
        let mut seen = part.len().saturating_sub(1);
        part.extend_from_slice(&bytes[..read]);
        while let Some(end) = part[seen..].windows(2).position(|two| two == b"\n\n") {
            let rest = part.split_off(seen + end + 2);
            let text = String::from_utf8_lossy(&part);
            lookout.look(at, |awaited| text.contains(awaited));
            (part, seen) = (rest, 0);
        }
    }
}
