//! The admin endpoint: HTTP for the probes of an orchestrator, for Prometheus, and for a person with curl.
//!
//! It has no authentication, which is why it listens on loopback unless told otherwise.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;
use zk_registry::printable;

use crate::daemon::admin_connections::{AdminConnections, AdminPlace};
use crate::daemon::backoff::Backoff;
use crate::daemon::board::Board;
use crate::daemon::metrics::Metrics;

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
}

/// Where the admin endpoint listens.
#[derive(Debug)]
pub(crate) enum AdminListener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl AdminListener {
    /// Accepts a connection: its stream, its peer, and whether it came over loopback.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>, bool)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let is_loopback = stream.local_addr()?.ip().to_canonical().is_loopback();
                Ok((Box::new(stream), Some(peer.ip().to_canonical()), is_loopback))
            }
            #[cfg(unix)]
            Self::Unix(listener) => Ok((Box::new(listener.accept().await?.0), None, false)),
        }
    }
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Admin {
    /// Answers for ever; dropping the future ends all its connections.
    pub(crate) async fn serve(self, listener: AdminListener) -> Infallible {
        let open = AdminConnections::default();
        let mut connections = JoinSet::new();
        let mut backoff = Backoff::default();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((stream, peer, is_loopback)) = listener.accept().await else {
                sleep(backoff.next()).await;
                continue;
            };
            backoff.reset();
            // Where every other connection has asked already, this one has to come again.
            if let Some(place) = open.admit(peer) {
                connections.spawn(self.clone().converse(stream, place, is_loopback));
            }
        }
    }

    async fn converse(self, stream: Box<dyn Stream>, place: AdminPlace, is_loopback: bool) {
        let answer = service_fn(|request: Request<Incoming>| {
            place.set_asked();
            let response = if is_loopback && !names_loopback(&request) {
                text(StatusCode::MISDIRECTED_REQUEST, "use an address of this host, or localhost, as Host")
            } else {
                self.answer(request.method(), request.uri().path())
            };
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            // A connection that was answered makes room for the next probe.
            .keep_alive(false)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), answer);
        tokio::select! {
            biased; // a request that has come is answered, whoever else wants the place
            ended = timeout(ANSWERED_WITHIN, connection) => {
                if let Ok(Err(error)) = ended {
                    debug!(%error, "admin connection");
                }
            }
            () = place.ended() => {}
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
            "/registrations" => match printable::json(&self.board.current()) {
                Some(json) => typed("application/json", json + "\n"),
                None => text(StatusCode::INTERNAL_SERVER_ERROR, "the registrations cannot be written"),
            },
            _ => text(StatusCode::NOT_FOUND, "use /healthz, /readyz, /metrics or /registrations"),
        }
    }
}

/// The time for the head of a request, and for a whole connection.
const HEAD_WITHIN: Duration = Duration::from_secs(1);
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Whether a request names this host as its target: a web page whose name was made to resolve to loopback (DNS rebinding)
/// names itself.
fn names_loopback(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_loopback_name),
        // HTTP/1.0 has no Host, and browsers do not speak it.
        (None, _) => request.version() == Version::HTTP_10,
        _ => false,
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

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

    async fn serving() -> (std::net::SocketAddr, AbortOnDropHandle<Infallible>) {
        let listener = crate::daemon::listener::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        let admin = Admin { board: Board::new([], metrics.clone()), metrics };
        let serving = tokio::spawn(admin.serve(AdminListener::Tcp(listener)));
        (address, AbortOnDropHandle::new(serving))
    }

    async fn ask(address: std::net::SocketAddr, host: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        timeout(Duration::from_secs(2), stream.read_to_string(&mut reply)).await.expect("an answer").unwrap();
        reply
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_probe_is_answered_at_once_however_many_silent_connections_there_are() {
        let (address, _serving) = serving().await;
        let mut silent = Vec::new();
        for _ in 0..1_000 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..10 {
            let began = tokio::time::Instant::now();
            assert!(ask(address, "localhost").await.starts_with("HTTP/1.1 200"));
            assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn a_silent_connection_ends_after_a_second() {
        let (address, _serving) = serving().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HT").await.unwrap();
        let mut reply = Vec::new();
        timeout(Duration::from_secs(3), stream.read_to_end(&mut reply)).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn on_loopback_a_request_for_another_host_is_refused() {
        let (address, _serving) = serving().await;
        for host in ["localhost", "LocalHost:9097", "127.0.0.1:9097", "127.9.9.9", "[::1]:9097"] {
            assert!(ask(address, host).await.starts_with("HTTP/1.1 200"), "{host}");
        }
        for host in ["evil.example", "evil.example:9097", "localhost.evil.example", "10.0.0.1", ""] {
            assert!(ask(address, host).await.starts_with("HTTP/1.1 421"), "{host}");
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
