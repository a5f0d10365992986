//! What servers answer to four-letter words, where `4lw.commands.whitelist` lets them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zk_registry::ConnectString;

/// The servers that can be asked; none where they speak TLS: words need a plaintext port.
pub(crate) fn servers(to: &ConnectString) -> Vec<String> {
    let text = to.to_string();
    if text.starts_with("tls://") {
        return Vec::new();
    }
    text.split('/').next().unwrap_or_default().split(',').map(str::to_owned).collect()
}

/// A server's answer to a word.
pub(crate) async fn ask(server: &str, word: &str) -> io::Result<String> {
    let answer = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(MOST).read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}"));
    timeout(PATIENCE, answer).await.map_err(silent)?
}

/// The address from which a session is connected, in a server's answer to `cons`.
pub(crate) fn client_of(cons: &str, session: i64) -> Option<&str> {
    // " /10.0.0.7:41234[1](queued=0,recved=7,sent=7,sid=0x100002791150009,lop=PING,...)"
    let id = format!("sid={session:#x}");
    let line = cons.lines().find(|line| line.split(['(', ',', ')']).any(|field| field == id))?;
    line.trim().trim_start_matches('/').split('[').next().filter(|address| !address.is_empty())
}

const PATIENCE: Duration = Duration::from_secs(2);
/// The longest reply that is read; of a longer one the rest is missing.
pub(crate) const MOST: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_session_is_the_one_of_its_connection_alone() {
        let cons = " /10.0.0.7:41234[1](queued=0,recved=7,sent=7,sid=0x10000279115000,lop=PING)\n \
                    /[0:0:0:0:0:0:0:1]:5[0](queued=0,recved=1,sent=0)\n \
                    /10.0.0.8:1[1](queued=0,sid=0x1000027911500,to=4000)\n";
        assert_eq!(client_of(cons, 0x0010_0002_7911_5000), Some("10.0.0.7:41234"));
        assert_eq!(client_of(cons, 0x0001_0000_2791_1500), Some("10.0.0.8:1"));
        assert_eq!(client_of(cons, 7), None);
        assert_eq!(client_of("cons is not executed because it is not in the whitelist.", 0), None);
    }
}
