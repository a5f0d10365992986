//! An HTTP server on a thread of its own, which can be killed as a process is: its connections break, its port refuses.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::thread;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running server that answers every request with its address. Dropping it kills it.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    life: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl WebServer {
    /// Starts one on a free port of the loopback address.
    ///
    /// # Panics
    ///
    /// When there is no free port, or no thread.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let (life, killed) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async {
                tokio::select! {
                    () = serve(listener, address) => {}
                    _ = killed => {}
                }
            });
            // Dropping the runtime closes every connection, whatever it was about to say.
        });
        Self { address, life: Some(life), thread: Some(thread) }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, and waits until its sockets are closed.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.life.take();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, address: SocketAddr) {
    let listener = TcpListener::from_std(listener).expect("the runtime takes the socket");
    let answer = move |_: Request<Incoming>| async move {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(address.to_string()))))
    };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}
