//! What is answered to which request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use zk_registry::operate::Operator;

use super::body::Answer;
use super::changing::change;
use super::gate::{Refusal, may_ask, may_change};
use super::page::{Buttons, inner, whole};
use super::query::Query;
use crate::live::{Board, Now};

/// The fleet, and who may change it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Site(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    board: Mutex<Board>,
    /// Counts what is new.
    news: watch::Sender<u64>,
    to: String,
    /// Changes need it; without one there are none.
    token: Option<String>,
    operator: Operator,
}

impl Site {
    pub(super) fn new(board: Board, to: String, token: Option<String>, operator: Operator) -> Self {
        let (board, news) = (Mutex::new(board), watch::Sender::new(0));
        Self(Arc::new(Shared { board, news, to, token, operator }))
    }

    /// Changes the board, and tells the pages.
    pub(super) fn update(&self, update: impl FnOnce(&mut Board)) {
        update(&mut self.board());
        self.0.news.send_modify(|news| *news += 1);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // It is whole between any two of its steps.
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buttons(&self) -> Buttons {
        if self.0.token.is_some() { Buttons::Yes } else { Buttons::No }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let mut response = match may_ask(request.headers()) {
            Ok(()) => self.admitted(request).await,
            Err(refusal) => refused(refusal),
        };
        for (name, value) in ALWAYS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn admitted(&self, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        let allowed = if path == "/change" { Method::POST } else { Method::GET };
        if *request.method() != allowed {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
            let allowed = if allowed == Method::POST { "POST" } else { "GET" };
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        let query = Query::of(request.uri().query());
        match path {
            "/" => {
                let page = whole(&self.board(), &self.0.to, &query, self.buttons(), Now::read());
                typed("text/html; charset=utf-8", page.into())
            }
            "/events" => typed("text/event-stream", Answer::Events(self.events(query))),
            "/style.css" => typed("text/css; charset=utf-8", STYLE.to_owned().into()),
            "/script.js" => typed("text/javascript; charset=utf-8", SCRIPT.to_owned().into()),
            "/change" => self.change(request).await,
            _ => text(StatusCode::NOT_FOUND, "the page is at /"),
        }
    }

    async fn change(&self, request: Request<Incoming>) -> Response<Answer> {
        if let Err(refusal) = may_change(request.headers(), self.0.token.as_deref()) {
            return refused(refusal);
        }
        match timeout(PATIENCE, whole_body(request.into_body())).await {
            Ok(Some(body)) => {
                let (status, line) = change(&self.0.operator, &body).await;
                text(status, &line)
            }
            _ => text(StatusCode::BAD_REQUEST, "the body is too long, or does not end"),
        }
    }

    /// The inner part of the page, again for each change: at once, but no more often than every [`BETWEEN`]. A reader that is slow
    /// misses what was in between.
    fn events(&self, query: Query) -> mpsc::Receiver<Bytes> {
        let (tell, told) = mpsc::channel(1);
        let (site, mut news) = (self.clone(), self.0.news.subscribe());
        tokio::spawn(async move {
            let mut last = String::new();
            loop {
                let earliest = Instant::now() + BETWEEN;
                let Ok(place) = tell.reserve().await else { return };
                news.borrow_and_update();
                let now = inner(&site.board(), &query, site.buttons(), Now::read());
                if now == last {
                    drop(place);
                } else {
                    // Every text in it is printable: there is no end of a line but those that we write.
                    place.send(format!("retry: 500\ndata: {now}\n\n").into());
                    last = now;
                }
                sleep_until(earliest).await;
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return },
                    () = tell.closed() => return,
                }
            }
        });
        told
    }
}

async fn whole_body(body: Incoming) -> Option<Vec<u8>> {
    let mut body = body;
    let mut frames = futures_util::stream::poll_fn(move |cx| Pin::new(&mut body).poll_frame(cx));
    let mut whole = Vec::new();
    while let Some(frame) = frames.next().await {
        whole.extend_from_slice(&frame.ok()?.into_data().ok()?);
        if whole.len() > LONGEST {
            return None;
        }
    }
    Some(whole)
}

fn refused(refusal: Refusal) -> Response<Answer> {
    match refusal {
        Refusal::Host => {
            text(StatusCode::MISDIRECTED_REQUEST, "use an address of this host, or localhost, as Host")
        }
        Refusal::Origin => text(StatusCode::FORBIDDEN, "a page of another site may not ask"),
        Refusal::ReadOnly => text(StatusCode::FORBIDDEN, "this is read-only: start it with --write"),
        Refusal::Token => {
            text(StatusCode::FORBIDDEN, "open the address that zkr wrote: its token is missing here")
        }
    }
}

fn text(status: StatusCode, line: &str) -> Response<Answer> {
    let mut response = typed("text/plain; charset=utf-8", format!("{line}\n").into());
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The headers of every answer. The page loads nothing from elsewhere, is framed by no other, and runs no script but its own.
const ALWAYS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// The least time between two parts of a page.
const BETWEEN: Duration = Duration::from_millis(80);
/// How long the body of a request may take and be.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 16 * 1024;
