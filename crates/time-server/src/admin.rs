//! The admin endpoint: HTTP for the probes of an orchestrator, for Prometheus, and for a person with curl.
//!
//! It has no authentication, which is why it listens on loopback unless told otherwise.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::debug;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::metrics::Metrics;

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
}

impl Admin {
    /// Answers for ever; dropping the future ends all its connections.
    pub(crate) async fn serve(self, listener: TcpListener) -> Infallible {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut backoff = Backoff::default();
        loop {
            while connections.try_join_next().is_some() {}
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                sleep(backoff.next()).await;
                continue;
            };
            backoff.reset();
            let admin = self.clone();
            connections.spawn(async move {
                let _place = place;
                let answer = service_fn(|request: Request<Incoming>| {
                    let response = admin.answer(request.method(), request.uri().path());
                    async { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(5))
                    // Whoever has been answered makes room for the next probe.
                    .keep_alive(false)
                    .max_buf_size(16 * 1024)
                    .serve_connection(TokioIo::new(stream), answer);
                if let Err(error) = connection.await {
                    debug!(%error, "admin connection");
                }
            });
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok"),
            "/readyz" if self.board.is_ready() => text(StatusCode::OK, "ready"),
            "/readyz" => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not every listener is registered, or one is drained, or the server is leaving",
            ),
            "/metrics" => match self.metrics.text() {
                Ok(metrics) => typed("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
            },
            "/registrations" => match serde_json::to_string(&self.board.current()) {
                Ok(json) => typed("application/json", json + "\n"),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the registrations cannot be written"),
            },
            _ => text(StatusCode::NOT_FOUND, "use /healthz, /readyz, /metrics or /registrations"),
        }
    }
}

/// Connections at the same time: probes and scrapes need few, and a flood must not take the time service's descriptors.
const CONNECTIONS: usize = 32;

fn text(status: StatusCode, line: &str) -> Response<String> {
    let mut response = typed("text/plain; charset=utf-8", format!("{line}\n"));
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;
    use tokio_util::task::AbortOnDropHandle;
    use zk_registry::{RegistrationState, Zxid};

    use super::*;

    fn get(admin: &Admin, path: &str) -> (u16, String) {
        let response = admin.answer(&Method::GET, path);
        (response.status().as_u16(), response.into_body())
    }

    #[tokio::test]
    async fn nobody_can_keep_the_probes_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        let admin = Admin { board: Board::new([], metrics.clone()), metrics };
        let _serving = AbortOnDropHandle::new(tokio::spawn(admin.serve(listener)));
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
        let mut open = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut reply = [0; 15];
            let read = timeout(Duration::from_secs(2), stream.read_exact(&mut reply)).await;
            read.expect("whoever was answered makes room").unwrap();
            assert_eq!(&reply, b"HTTP/1.1 200 OK");
            open.push(stream);
        }
    }

    #[test]
    fn probes_tell_alive_from_ready() {
        let metrics = Metrics::default();
        let board = Board::new(["127.0.0.1:8897".parse().unwrap()], metrics.clone());
        let admin = Admin { board: board.clone(), metrics };
        assert_eq!((get(&admin, "/healthz").0, get(&admin, "/readyz").0), (200, 503));

        board.set_address(0, "127.0.0.1:8897", "/services/time/127.0.0.1:8897");
        board.set_state(0, &RegistrationState::Registered { zxid: Zxid(7) });
        assert_eq!(get(&admin, "/readyz").0, 200);
        let expected = concat!(
            r#"[{"listener":"127.0.0.1:8897","address":"127.0.0.1:8897","path":"/services/time/127.0.0.1:8897","#,
            r#""status":"up","state":"registered","zxid":7,"detail":null}]"#,
            "\n"
        );
        assert_eq!(get(&admin, "/registrations"), (200, expected.to_owned()));
        assert!(get(&admin, "/metrics").1.contains(r#"state="registered"} 1"#));

        board.set_draining();
        assert_eq!((get(&admin, "/healthz").0, get(&admin, "/readyz").0), (200, 503));
        assert_eq!(get(&admin, "/").0, 404);
        assert_eq!(admin.answer(&Method::POST, "/healthz").status().as_u16(), 405);
    }
}
