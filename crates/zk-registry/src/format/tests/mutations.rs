//! Every node of every fixture, mutated: an instance, a rejection or ignored, never a panic.

use super::*;

/// A dialect with nodes: their names and data.
type Nodes = (&'static dyn Format, Vec<(String, Vec<u8>)>);

/// The dialects with the nodes that real programs wrote: a name, and data.
fn nodes() -> Vec<Nodes> {
    let json = |data: &str| ("node".to_owned(), data.as_bytes().to_vec());
    vec![
        (
            &Curator as &dyn Format,
            vec![
                json(include_str!("../fixtures/curator/full.json")),
                json(include_str!("../fixtures/ours/v1-full.json")),
            ],
        ),
        (
            &Spring,
            vec![
                json(include_str!("../fixtures/spring/spring-out-of-service.json")),
                json(include_str!("../fixtures/dubbo-app/dubbo-app-local.json")),
            ],
        ),
    ]
}

/// Bits that flip, cuts, wrong types, huge and deep values, and other encodings of some bytes.
fn mutated(bytes: &[u8], mut each: impl FnMut(Vec<u8>)) {
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            each(flipped);
        }
        each(bytes[..at].to_vec());
        each(bytes[at..].to_vec());
        for insert in [
            &b"\0"[..],
            b"\"",
            b"%",
            b"%2",
            b"{",
            b"[",
            b":",
            b"&",
            b"=",
            b"null",
            b"-1",
            b"1e999",
            b"\xff\xfe",
            b"\xc0\x80",
            "é".as_bytes(),
        ] {
            each([&bytes[..at], insert, &bytes[at..]].concat());
        }
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("%25", ""), ("9", "")] {
        let deep = [open.repeat(20_000), close.repeat(20_000)].concat();
        each(deep.clone().into_bytes());
        let at = bytes.iter().position(|byte| *byte == b':').map_or(0, |at| at + 1);
        each([&bytes[..at], deep.as_bytes(), &bytes[at..]].concat());
    }
    let utf16: Vec<u8> = bytes.iter().flat_map(|byte| [*byte, 0]).collect();
    each([&b"\xff\xfe"[..], &utf16].concat());
}

#[test]
fn no_mutation_of_what_real_programs_wrote_panics() {
    for (format, nodes) in nodes() {
        let read = |name: &str, data: &[u8]| {
            let Ok(name) = name.parse() else { return };
            for directory in 0..format.directories(&service()).map_or(1, |all| all.len()) {
                let child = sealed::Child { directory, name: &name, data };
                // What is read has an id, or says why not.
                if let Ok(sealed::Reading::Member(Decoded { instance, .. })) = format.read(&service(), child)
                {
                    let _whatever = instance.id();
                }
            }
        };
        for (name, data) in nodes {
            mutated(&data, |data| read(&name, &data));
            mutated(name.as_bytes(), |name| read(&String::from_utf8_lossy(&name), &data));
        }
    }
}
