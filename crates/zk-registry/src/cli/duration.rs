//! Durations as people write them.

use std::time::Duration;

/// The longest duration that a flag accepts: 100 years as humantime counts them. It can be added to any moment of this
/// century without an overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 31_557_600);

/// Parses a duration as people write them, such as `500ms`, `10s` or `1m 30s`; a bare `0` needs no unit. At most 100
/// years, so that it can be added to any moment.
///
/// # Errors
///
/// What is accepted, for clap to put behind the flag's name.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = humantime::parse_duration(text).ok().filter(|duration| *duration <= MAX_DURATION);
    parsed.ok_or_else(|| "use a duration such as 500ms, 10s or 1m, at most 100 years".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_can_be_added_to_any_moment() {
        assert_eq!(duration("100years"), Ok(MAX_DURATION));
        for too_much in ["18446744073709551615s", "584542046090years", "101years"] {
            assert!(duration(too_much).is_err(), "{too_much}");
        }
        assert!(std::time::Instant::now().checked_add(MAX_DURATION).is_some());
    }
}
