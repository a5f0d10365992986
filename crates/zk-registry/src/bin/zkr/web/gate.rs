//! Who may ask for what. The page is on loopback, where every page of every browser of this machine can send requests to: a request has to
//! name this machine, must not come from another site's page, and can only change something with a token that such a page cannot know.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It names another host: a site whose name was made to resolve to loopback (DNS rebinding).
    Host,
    /// It comes from a page of another site.
    Origin,
    /// Nothing can be changed here.
    ReadOnly,
    Token,
}

/// The header that carries the token.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("zkr-token");

/// Whether a request may be answered at all.
pub(super) fn may_ask(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = only(headers, &HOST).filter(|host| is_loopback(host)).ok_or(Refusal::Host)?;
    match (headers.get(ORIGIN), only(headers, &ORIGIN)) {
        (None, _) => Ok(()),
        (Some(_), Some(origin)) if origin.strip_prefix("http://") == Some(host) => Ok(()),
        _ => Err(Refusal::Origin),
    }
}

/// Whether a request that may be answered may change something. A browser names the origin of every request that can.
pub(super) fn may_change(headers: &HeaderMap, token: Option<&str>) -> Result<(), Refusal> {
    let token = token.ok_or(Refusal::ReadOnly)?;
    match only(headers, &TOKEN) {
        Some(told) if is_same(told.as_bytes(), token.as_bytes()) => Ok(()),
        _ => Err(Refusal::Token),
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::to_str)?.ok()?;
    values.next().is_none().then_some(first)
}

/// Compares in a time that says nothing of where the first difference is.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_this_machine_is_answered_and_no_page_of_another_site() {
        for host in ["localhost:1", "127.0.0.1", "127.0.0.1:8", "[::1]:8", "LocalHost"] {
            assert_eq!(may_ask(&headers(&[(HOST, host)])), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:1", "10.0.0.1", "[::2]", "", "127.0.0.1.evil.example"]
        {
            assert_eq!(may_ask(&headers(&[(HOST, host)])), Err(Refusal::Host), "{host}");
        }
        assert_eq!(may_ask(&headers(&[])), Err(Refusal::Host));
        assert_eq!(may_ask(&headers(&[(ORIGIN, "http://localhost:1"), (HOST, "localhost:1")])), Ok(()));
        for origin in ["http://evil.example", "null", "https://localhost:1", "http://localhost:2", ""] {
            let asked = may_ask(&headers(&[(HOST, "localhost:1"), (ORIGIN, origin)]));
            assert_eq!(asked, Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn two_values_of_one_header_are_no_value() {
        let mut twice = headers(&[(HOST, "localhost")]);
        twice.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(may_ask(&twice), Err(Refusal::Host));
    }

    #[test]
    fn a_change_needs_the_token_and_that_there_is_one() {
        assert_eq!(may_change(&headers(&[(TOKEN, "secret")]), None), Err(Refusal::ReadOnly));
        for token in ["", "secre", "secrets", "Secret"] {
            assert_eq!(
                may_change(&headers(&[(TOKEN, token)]), Some("secret")),
                Err(Refusal::Token),
                "{token}"
            );
        }
        assert_eq!(may_change(&headers(&[]), Some("secret")), Err(Refusal::Token));
        assert_eq!(may_change(&headers(&[(TOKEN, "secret")]), Some("secret")), Ok(()));
    }
}
