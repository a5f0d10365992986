//! One pooled client for all instances: each request is sent to the host and port of the instance that was picked.

use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, header};
use tower_service::Service;

use crate::snapshot::Member;
use crate::tower::{BoxError, Connect};

/// A maker of clients that share one pooled HTTP client and differ in the origin (scheme, host and port) of their requests.
///
/// Nothing is dialled before the first request: the pooled client does that, and a dial that fails fails the call. Give the
/// balance a [retry](crate::tower::Balance::with_retry) for requests that can be sent again.
///
/// The host that a request names goes into its `Host` header, if it has none, before the origin replaces it. With TLS, the
/// name that the certificate is checked for is the instance's host: configure the service's name in the pooled client.
#[derive(Clone, Debug)]
pub struct Origin<S> {
    pooled: S,
    scheme: Scheme,
}

/// The client of one instance: the pooled one, with the instance's origin.
#[derive(Clone)]
pub struct WithOrigin<S> {
    pooled: S,
    scheme: Scheme,
    authority: Authority,
}

impl<S> Origin<S> {
    /// Requests go to `http://host:port`.
    pub fn over(pooled: S) -> Self {
        Self { pooled, scheme: Scheme::HTTP }
    }

    /// Requests go to `https://host:port`, with the instance's `ssl_port` if it has one.
    pub fn over_tls(pooled: S) -> Self {
        Self { pooled, scheme: Scheme::HTTPS }
    }
}

impl<S: Clone + Send + Sync + 'static> Connect for Origin<S> {
    type Client = WithOrigin<S>;
    type Error = BoxError;

    fn connect(&self, to: &Arc<Member>) -> impl Future<Output = Result<WithOrigin<S>, BoxError>> + Send {
        let is_tls = self.scheme == Scheme::HTTPS;
        let port = to.ssl_port().filter(|_| is_tls).unwrap_or_else(|| to.port());
        let host = to.host();
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let client = authority.parse().map(|authority| {
            let (pooled, scheme) = (self.pooled.clone(), self.scheme.clone());
            WithOrigin { pooled, scheme, authority }
        });
        ready(client.map_err(|error: http::uri::InvalidUri| error.into()))
    }
}

impl<S, B> Service<Request<B>> for WithOrigin<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.pooled.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let named = request.uri().authority().map(|named| HeaderValue::from_str(named.as_str()));
        if let Some(Ok(named)) = named {
            request.headers_mut().entry(header::HOST).or_insert(named);
        }
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query =
            Some(parts.path_and_query.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")));
        // All three parts are there, so they make a URI.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        self.pooled.call(request)
    }
}

impl<S> fmt::Debug for WithOrigin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
