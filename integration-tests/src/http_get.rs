//! One request over HTTP, as a person with `nc` would make it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The whole answer, head and body; the body is not in chunks, because 1.0 knows none.
///
/// # Errors
///
/// The server takes no connection, breaks it, or its answer is no text.
pub async fn http_get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
