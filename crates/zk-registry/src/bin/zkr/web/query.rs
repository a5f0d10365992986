//! What of the fleet a page shows: the part of its address behind the question mark.

use std::fmt::Write as _;

use zk_registry::ServiceName;

use crate::live::Sort;

/// What a page shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Query {
    /// Without one, the first that there is.
    pub(super) service: Option<ServiceName>,
    pub(super) filter: String,
    pub(super) sort: Sort,
    /// Counted from 0.
    pub(super) page: usize,
}

impl Query {
    /// What means nothing is left out.
    pub(super) fn of(text: Option<&str>) -> Self {
        let mut query = Self { service: None, filter: String::new(), sort: Sort::Id, page: 0 };
        for pair in text.unwrap_or_default().split('&').take(16) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            match name {
                "service" => query.service = value.parse().ok(),
                "filter" => query.filter = value,
                "sort" => query.sort = Sort::named(&value).unwrap_or(query.sort),
                "page" => query.page = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        query
    }

    /// The address of a page that shows this.
    pub(super) fn address(&self) -> String {
        let mut address = format!("/?sort={}&page={}", encode(self.sort.word()), self.page);
        if let Some(service) = &self.service {
            address += &format!("&service={}", encode(service.as_str()));
        }
        if !self.filter.is_empty() {
            address += &format!("&filter={}", encode(&self.filter));
        }
        address
    }
}

/// Percent-encodes all but what stands for itself everywhere.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The text of a form's value: `+` is a blank, `%41` is a byte.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0);
                bytes.push(u8::try_from(value).unwrap_or_default());
                after
            }
            (b'+', after) => {
                bytes.push(b' ');
                after
            }
            (other, after) => {
                bytes.push(*other);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_says_what_it_shows_and_nonsense_is_left_out() {
        let query =
            Query::of(Some("service=com%2Fexample%2Fa&filter=zone+a%26&sort=last%20change&page=2&x&=&y=%"));
        assert_eq!(query.service, Some("com/example/a".parse().unwrap()));
        assert_eq!((query.filter.as_str(), query.sort, query.page), ("zone a&", Sort::Changed, 2));
        let nothing = Query::of(Some("service=..&sort=none&page=-1"));
        assert_eq!(nothing, Query::of(None));
    }

    proptest! {
        #[test]
        fn every_query_survives_its_address(filter: String, page: usize) {
            let query = Query { service: Some("a/b".parse().unwrap()), filter, sort: Sort::Zone, page };
            let address = query.address();
            prop_assert!(address.is_ascii());
            prop_assert_eq!(Query::of(address.strip_prefix("/?")), query);
        }
    }
}
