//! A server, or a peer on the way to it, that lies on ZooKeeper's wire costs a connection, and nothing else: once it speaks the
//! truth, the registry is connected, registered and live. Two lies that end the process are the client crate's, and cannot be
//! told here: docs/UPSTREAM.md, W1 and W2.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zk_registry::testing::Server;
use zk_registry::{Instance, Options, Registry, Resolve};

/// What is sent instead of a greeting, or in answer to the first request on a connection that was greeted.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Greeting(&'static [u8]),
    /// The answer to a request of this xid, without its length.
    Reply(fn(i32) -> Vec<u8>),
    /// Bytes as they are.
    Raw(&'static [u8]),
}

const LIES: [(&str, Lie); 16] = [
    ("a greeting of nothing", Lie::Greeting(&[0, 0, 0, 0])),
    ("a greeting of a negative length", Lie::Greeting(&[0xff; 16])),
    (
        "a greeting in another language",
        Lie::Greeting(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    ),
    (
        "a greeting of another protocol version",
        Lie::Greeting(b"\0\0\0\x14\0\0\0\x09\0\0\x0f\xa0\0\0\0\0\0\0\0\x77\0\0\0\0"),
    ),
    ("a negative timeout", Lie::Greeting(b"\0\0\0\x14\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\x77\0\0\0\0")),
    (
        "a password longer than the frame",
        Lie::Greeting(b"\0\0\0\x14\0\0\0\0\0\0\x0f\xa0\0\0\0\0\0\0\0\x77\x7f\xff\xff\xff"),
    ),
    ("half a frame", Lie::Raw(&[0, 0, 1, 0, 1, 2, 3])),
    ("an empty frame", Lie::Raw(&[0, 0, 0, 0])),
    ("a frame of a negative length", Lie::Raw(&[0x80, 0, 0, 0, 1, 2, 3, 4])),
    ("a frame that is shorter than a header", Lie::Raw(&[0, 0, 0, 2, 1, 2])),
    ("an answer to another question", Lie::Reply(|xid| reply(xid.wrapping_add(100), 0, &[]))),
    ("an answer without its body", Lie::Reply(|xid| reply(xid, 0, &[]))),
    ("an answer with another body", Lie::Reply(|xid| reply(xid, 0, &[0xff; 40]))),
    ("an unknown error", Lie::Reply(|xid| reply(xid, -9_999, &[]))),
    ("news of no kind", Lie::Reply(|_| reply(-1, 0, &[0xff; 24]))),
    ("the session's end, which is not true", Lie::Reply(|xid| reply(xid, -112, &[]))),
];

fn reply(xid: i32, error: i32, body: &[u8]) -> Vec<u8> {
    [&xid.to_be_bytes()[..], &1_i64.to_be_bytes(), &error.to_be_bytes(), body].concat()
}

/// A greeting that is none of the lies.
fn greeting() -> Vec<u8> {
    let body =
        [&[0; 4][..], &4_000_i32.to_be_bytes(), &0x77_i64.to_be_bytes(), &16_i32.to_be_bytes(), &[1; 17]]
            .concat();
    let mut body = body;
    *body.last_mut().unwrap() = 0; // it is no read-only session
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

async fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn tell(lie: Lie, stream: &mut TcpStream) -> io::Result<()> {
    frame(stream).await?;
    if let Lie::Greeting(bytes) = lie {
        return stream.write_all(bytes).await;
    }
    stream.write_all(&greeting()).await?;
    loop {
        let request = frame(stream).await?;
        let xid = i32::from_be_bytes(request[..4].try_into().unwrap());
        match lie {
            Lie::Raw(bytes) => return stream.write_all(bytes).await,
            // -2 is a ping, which is answered as it should be; the crate waits for that before it asks anything.
            Lie::Reply(_) if xid == -2 => stream.write_all(&framed(&reply(xid, 0, &[]))).await?,
            Lie::Reply(answer) => {
                stream.write_all(&framed(&answer(xid))).await?;
                return Ok(());
            }
            Lie::Greeting(_) => unreachable!("it was told"),
        }
    }
}

/// Lies on the first three connections, and passes on what `truth` says on every later one.
async fn liar(lie: Lie, truth: SocketAddr, told: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let told = told.clone();
            tokio::spawn(async move {
                if told.load(Ordering::Relaxed) >= 3 {
                    let mut server = TcpStream::connect(truth).await.unwrap();
                    // Whichever end goes first.
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                } else if tell(lie, &mut stream).await.is_ok() {
                    told.fetch_add(1, Ordering::Relaxed);
                    // What a peer that was lied to makes of it, it makes within this.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_costs_a_connection_and_nothing_else() {
    let server = Server::start().await.unwrap();
    let mut checks = Vec::new();
    for (n, (what, lie)) in LIES.into_iter().enumerate() {
        let told = Arc::new(AtomicUsize::new(0));
        let address = liar(lie, server.address(), told.clone()).await;
        checks.push(tokio::spawn(async move {
            let options = Options::default().with_session_timeout(Duration::from_secs(4));
            let registry = Registry::open(address.to_string().parse().unwrap(), options);
            let service = "time".parse().unwrap();
            let mut registration =
                registry.register(&service, Instance::new("10.0.0.1", 80 + u16::try_from(n).unwrap()));
            let mut watch = registry.watch(&service);
            let recovered = async {
                registration.registered().await.unwrap();
                watch.live().await.unwrap();
            };
            let recovered = timeout(Duration::from_secs(60), recovered).await;
            assert!(
                recovered.is_ok(),
                "{what}: {:?} after {} lies",
                registry.connection().borrow(),
                told.load(Ordering::Relaxed)
            );
            assert!(told.load(Ordering::Relaxed) >= 3, "{what}: it was lied to");
            registry.close(Duration::from_secs(5)).await;
        }));
    }
    for check in checks {
        check.await.unwrap();
    }
}
