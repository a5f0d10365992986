//! Percent coding as Java's `URLEncoder` writes it, and as every writer's is read.

use std::borrow::Cow;

/// Encodes as Java's `URLEncoder` does: letters, digits and `.-*_` stay, a blank is `+`.
pub(super) fn encode(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                encoded.push('%');
                encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
                encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

/// Decodes `%XX` as UTF-8, and `+` as a blank. What is no escape stays as it is; bytes that are not UTF-8 become U+FFFD.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    let Some(first) = text.bytes().position(|byte| matches!(byte, b'%' | b'+')) else { return text.into() };
    let (plain, mut rest) = text.as_bytes().split_at(first);
    let mut bytes = Vec::with_capacity(text.len());
    bytes.extend_from_slice(plain);
    while let Some((byte, later)) = rest.split_first() {
        rest = later;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match escape(later) {
                Some(escaped) => {
                    rest = &later[2..];
                    escaped
                }
                None => b'%',
            },
            other => *other,
        });
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        .into()
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_coded_as_in_java() {
        for (plain, encoded) in
            [("a b=c+d*e-f.g_h~i", "a+b%3Dc%2Bd*e-f.g_h%7Ei"), ("é,中", "%C3%A9%2C%E4%B8%AD"), ("", "")]
        {
            assert_eq!(encode(plain), encoded);
            assert_eq!(decode(encoded), plain);
        }
        // Go's and Python's writers.
        assert_eq!(decode("%2a%20~%2B"), "* ~+");
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%é"), "%é");
        assert_eq!(decode("%FF"), "\u{fffd}");
    }
}
