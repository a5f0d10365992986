//! What a gRPC status says of the instance, wherever it stands.

use std::time::Duration;

use http::HeaderMap;

use crate::balance::Outcome;

/// What a gRPC status among these headers or trailers says; `None` if there is none.
pub(super) fn of_grpc_status(headers: &HeaderMap) -> Option<Outcome> {
    let code = headers.get(GRPC_STATUS)?;
    Some(match (code.as_bytes(), number(headers, "grpc-retry-pushback-ms")) {
        (RESOURCE_EXHAUSTED | UNAVAILABLE, Some(millis)) => {
            Outcome::Overloaded { retry_after: Duration::from_millis(millis) }
        }
        (DEADLINE_EXCEEDED | INTERNAL | RESOURCE_EXHAUSTED | UNAVAILABLE | UNKNOWN, _) => Outcome::Failure,
        _ => Outcome::Success,
    })
}

pub(super) const GRPC_STATUS: &str = "grpc-status";
const UNKNOWN: &[u8] = b"2";
const DEADLINE_EXCEEDED: &[u8] = b"4";
const RESOURCE_EXHAUSTED: &[u8] = b"8";
const INTERNAL: &[u8] = b"13";
const UNAVAILABLE: &[u8] = b"14";

/// The number in a header.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
