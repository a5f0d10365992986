//! Judges, bodies and origins, with responses made by hand.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

use super::{ByGrpcStatus, ByStatus, LeaseBody, Origin};
use crate::balance::strategy::LeastLoaded;
use crate::balance::{Balancer, Outcome};
use crate::instance::Instance;
use crate::resolve::{Resolve, StaticResolver};
use crate::tower::{Balance, BoxError, Classify};

type Frames = VecDeque<io::Result<Frame<Bytes>>>;

struct Scripted(Frames);

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn data() -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(b"data")))
}

fn trailers(status: &'static str) -> io::Result<Frame<Bytes>> {
    let status = HeaderValue::from_static(status);
    Ok(Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status)])))
}

fn response(status: u16, headers: &[(&str, &str)], frames: impl Into<Frames>) -> Response<Scripted> {
    let head = Response::builder().status(status);
    let head = headers.iter().fold(head, |head, (name, value)| head.header(*name, *value));
    head.body(Scripted(frames.into())).unwrap()
}

/// The end of a call with this response, judged by `judge`, of whose body `frames` frames are read: how many calls are in
/// flight before it is dropped, and the success rate of the instance after.
async fn ended<K>(judge: K, response: Response<Scripted>, frames: usize) -> (u32, f64)
where
    K: Classify<Response<Scripted>, Answer = Response<LeaseBody<Scripted>>>,
{
    let service = "greeter".parse().unwrap();
    let watch =
        StaticResolver::new().with("greeter".parse().unwrap(), [Instance::new("h", 1)]).watch(&service);
    let balancer = Balancer::new(LeastLoaded);
    balancer.update(&watch.clone().current().clone());
    let lease = balancer.pick().unwrap();
    let outcome = judge.classify(Ok(&response));
    let mut body = judge.deliver(response, outcome, lease).into_body();
    for _ in 0..frames {
        let _ = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    }
    let set = balancer.endpoints().unwrap();
    let endpoint = set.iter().next().unwrap();
    let in_flight = endpoint.in_flight();
    drop(body);
    assert_eq!(endpoint.in_flight(), 0, "the call is over with its body");
    (in_flight, endpoint.success_rate())
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_its_body_has_ended() {
    let body = || response(200, &[], [data(), data()]);
    assert_eq!(ended(ByStatus, body(), 1).await, (1, 1.0));
    assert_eq!(ended(ByStatus, body(), 3).await, (0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failure() {
    let broken = || response(200, &[], [data(), Err(io::ErrorKind::ConnectionReset.into())]);
    assert!(ended(ByStatus, broken(), 2).await.1 < 1.0);
    assert!(ended(ByGrpcStatus, broken(), 2).await.1 < 1.0);
}

#[test]
fn a_status_of_the_server_is_a_failure_and_one_of_the_client_is_none() {
    let judged = |status, headers: &[_]| ByStatus.classify(Ok(&response(status, headers, [])));
    for status in [200, 204, 301, 400, 404, 409] {
        assert_eq!(judged(status, &[]), Outcome::Success, "{status}");
    }
    for status in [429, 500, 502, 503, 504] {
        assert_eq!(judged(status, &[]), Outcome::Failure, "{status}");
    }
    let overloaded = Outcome::Overloaded { retry_after: Duration::from_secs(7) };
    assert_eq!(judged(503, &[("retry-after", "7")]), overloaded);
    assert_eq!(judged(429, &[("retry-after", "7")]), overloaded);
    assert_eq!(judged(503, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), Outcome::Failure);
    assert_eq!(judged(500, &[("retry-after", "7")]), Outcome::Failure);
}

#[test]
fn an_error_that_never_reached_the_instance_is_told_from_one_that_may_have() {
    let judged = |error: BoxError| Classify::<Response<Scripted>>::classify(&ByStatus, Err(&error));
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    assert_eq!(judged(refused.into()), Outcome::Unreachable);
    let wrapped = io::Error::other(crate::tower::BalanceError::Call(Box::new(io::Error::from(
        io::ErrorKind::HostUnreachable,
    ))));
    assert_eq!(judged(wrapped.into()), Outcome::Unreachable);
    assert_eq!(judged(io::Error::from(io::ErrorKind::ConnectionReset).into()), Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn the_grpc_status_counts_in_the_head_and_in_the_trailers() {
    let head = |code| ByGrpcStatus.classify(Ok(&response(200, &[("grpc-status", code)], [])));
    for code in ["2", "4", "8", "13", "14"] {
        assert_eq!(head(code), Outcome::Failure, "{code}");
        assert!(ended(ByGrpcStatus, response(200, &[], [data(), trailers(code)]), 2).await.1 < 1.0, "{code}");
    }
    for code in ["0", "1", "3", "5", "7", "16"] {
        assert_eq!(head(code), Outcome::Success, "{code}");
        let (in_flight, success) = ended(ByGrpcStatus, response(200, &[], [data(), trailers(code)]), 2).await;
        assert_eq!((in_flight, success), (0, 1.0), "{code}");
    }
    let pushed = response(200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "250")], []);
    assert_eq!(
        ByGrpcStatus.classify(Ok(&pushed)),
        Outcome::Overloaded { retry_after: Duration::from_millis(250) }
    );
    assert_eq!(ByGrpcStatus.classify(Ok(&response(502, &[], []))), Outcome::Failure);
}

/// A pooled client that answers with what it was asked.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Vec<Asked>>>);

/// The URI of a request, and its `Host`.
type Asked = (String, Option<String>);

impl Service<Request<()>> for Echo {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        self.0.lock().unwrap().push((request.uri().to_string(), host));
        ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_to_the_instance_and_keeps_its_host() {
    let instance = Instance::new("fd00::1", 80).with_ssl_port(443);
    let service = "greeter".parse().unwrap();
    let watch = StaticResolver::new().with("greeter".parse().unwrap(), [instance]).watch(&service);
    let echo = Echo::default();
    for origin in [Origin::over(echo.clone()), Origin::over_tls(echo.clone())] {
        let mut balance = Balance::new(watch.clone(), Balancer::new(LeastLoaded), origin);
        for uri in ["http://greeter/a?b=c", "/only/a/path", "greeter.example:80"] {
            balance.call(Request::builder().uri(uri).body(()).unwrap()).await.unwrap();
        }
    }
    let named = |uri: &str, host: Option<&str>| (uri.to_owned(), host.map(str::to_owned));
    assert_eq!(
        *echo.0.lock().unwrap(),
        [
            named("http://[fd00::1]:80/a?b=c", Some("greeter")),
            named("http://[fd00::1]:80/only/a/path", None),
            named("http://[fd00::1]:80/", Some("greeter.example:80")),
            named("https://[fd00::1]:443/a?b=c", Some("greeter")),
            named("https://[fd00::1]:443/only/a/path", None),
            named("https://[fd00::1]:443/", Some("greeter.example:80")),
        ]
    );
}
