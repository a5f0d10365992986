//! A string as Java's `ObjectOutputStream` writes it.

/// What every stream begins with.
const MAGIC: [u8; 4] = [0xac, 0xed, 0x00, 0x05];
const STRING: u8 = 0x74;
const LONG_STRING: u8 = 0x7c;

/// The bytes of a serialized string.
pub(super) fn write(text: &str) -> Vec<u8> {
    let text = modified(text);
    let mut bytes = MAGIC.to_vec();
    match u16::try_from(text.len()) {
        Ok(length) => {
            bytes.push(STRING);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(LONG_STRING);
            bytes.extend((text.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(text);
    bytes
}

/// The string in a stream; `None` for a null, for what is no string, and for what is no stream.
pub(super) fn read(bytes: &[u8]) -> Option<String> {
    let (kind, rest) = bytes.strip_prefix(&MAGIC)?.split_first()?;
    let (length, rest) = match *kind {
        STRING => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        LONG_STRING => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        _ => return None,
    };
    unmodified(rest.get(..length)?)
}

/// Whether these bytes are a stream.
pub(super) fn is_stream(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// UTF-8 as Java's streams have it: two bytes for U+0000, and two surrogates of three bytes each beyond the basic plane.
fn modified(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let [high, middle, low] = [0xe0 | unit >> 12, 0x80 | unit >> 6 & 0x3f, 0x80 | unit & 0x3f];
        // Each of them is below 256 by its mask.
        match unit {
            0x0001..=0x007f => bytes.push(unit as u8),
            0x0000 | 0x0080..=0x07ff => bytes.extend([(0xc0 | unit >> 6) as u8, low as u8]),
            _ => bytes.extend([high as u8, middle as u8, low as u8]),
        }
    }
    bytes
}

fn unmodified(mut bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let tail = |byte: u8| (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f));
    loop {
        let (unit, rest) = match *bytes {
            [] => return String::from_utf16(&units).ok(),
            [one @ ..0x80, ref rest @ ..] => (u16::from(one), rest),
            [one @ 0xc0..=0xdf, two, ref rest @ ..] => (u16::from(one & 0x1f) << 6 | tail(two)?, rest),
            [one @ 0xe0..=0xef, two, three, ref rest @ ..] => {
                (u16::from(one & 0x0f) << 12 | tail(two)? << 6 | tail(three)?, rest)
            }
            _ => return None,
        };
        units.push(unit);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_the_jdk_wrote_them() {
        let text = include_str!("../fixtures/motan/motan-string.bin");
        let stream = include_bytes!("../fixtures/motan/motan-java-serialized.bin");
        assert_eq!(write(text), stream);
        assert_eq!(read(stream).as_deref(), Some(text));
    }

    #[test]
    fn every_text_comes_back_and_what_is_none_does_not() {
        for text in ["", "a\0b", "é世", "\u{1f600}", &"x".repeat(65_535), &"x".repeat(65_536)] {
            assert_eq!(read(&write(text)).as_deref(), Some(text));
        }
        assert_eq!(write("\0")[7..], [0xc0, 0x80]);
        assert_eq!(write("\u{1f600}").len(), 7 + 6);
        for bad in [
            &b"\xac\xed\x00\x05\x70"[..],
            b"\xac\xed\x00\x05\x74\x00\x02a",
            b"text",
            b"",
            b"\xac\xed\x00\x05\x7c\xff\xff\xff\xff\xff\xff\xff\xffa",
            b"\xac\xed\x00\x05\x74\x00\x01\xff",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
