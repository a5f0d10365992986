//! Every node of every fixture, mutated: an instance, a rejection or ignored, never a panic.

use std::sync::Arc;

use super::*;

/// A dialect with nodes: their names and data.
type Nodes = (Arc<dyn Format>, Vec<(String, Vec<u8>)>);

/// The dialects with the nodes that real programs wrote: a name, and data.
fn nodes() -> Vec<Nodes> {
    let node = |name: &str, data: &[u8]| (name.to_owned(), data.to_vec());
    let json = |data: &str| node("node", data.as_bytes());
    let format = |word: &str| named(word).unwrap();
    let dubbo = include_str!("../fixtures/dubbo/names.tsv").lines().filter(|line| !line.starts_with('#'));
    let dubbo = dubbo.map(|line| node(line.split('\t').nth(3).unwrap(), b"10.0.0.1"));
    let application = json(include_str!("../fixtures/dubbo-app/dubbo-app-local.json"));
    vec![
        (
            format("curator"),
            vec![
                json(include_str!("../fixtures/curator/full.json")),
                json(include_str!("../fixtures/ours/v1-full.json")),
            ],
        ),
        (
            format("spring"),
            vec![json(include_str!("../fixtures/spring/spring-out-of-service.json")), application.clone()],
        ),
        (format("dubbo-app:protocol=tri"), vec![application]),
        (format("dubbo:group=*,version=*"), dubbo.collect()),
        (
            format("motan"),
            vec![
                node("10.0.0.1:8002", include_bytes!("../fixtures/motan/motan-java-serialized.bin")),
                node("10.0.0.1:8002", include_bytes!("../fixtures/motan/motan-string.bin")),
            ],
        ),
        (
            format("serverset:endpoint=http"),
            vec![
                node("member_0000000001", include_bytes!("../fixtures/serverset/serverset-gson-full.json")),
                node(
                    "vector_1",
                    br#"{"vector":[{"select":"inet=10.0.0.1:8080","weight":0.5,"priority":1}]}"#,
                ),
            ],
        ),
        (
            format("nerve"),
            vec![
                node("base64_32_eyJob3N0IjoiaF8_IiwicG9ydCI6ODB9_0000000001", b""),
                node("i-1_0000000001", br#"{"host":"h","port":80,"weight":0,"labels":{"az":"a"}}"#),
            ],
        ),
        (format("kitex"), vec![node("10.0.0.1:80", br#"{"Weight":20,"Tags":{"zone":"a"}}"#)]),
        (
            format("kratos"),
            vec![json(
                r#"{"name":"time","metadata":{"weight":"10"},"endpoints":["grpc://h:1?isSecure=true"]}"#,
            )],
        ),
        (format("armeria"), vec![node("h_80", b"h:80:1000")]),
        (format("plain"), vec![node("10.0.0.1:80", b"")]),
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
        let directories = format.directories(&service()).unwrap().len();
        let sample = Instance::new("10.0.0.1", 8080).with_metadata("shard", "7");
        let read = |name: &str, data: &[u8]| {
            let Ok(name) = name.parse() else { return };
            for directory in 0..directories {
                let child = sealed::Child { directory, name: &name, data };
                // An instance has an id or says why not, and a rule applies to any instance.
                match format.read(&service(), child) {
                    Ok(sealed::Reading::Member(Decoded { instance, .. })) => drop(instance.id()),
                    Ok(sealed::Reading::Rules(rules)) => {
                        let _whatever = format.apply(&[Arc::new(rules)], &name, &sample);
                    }
                    Ok(sealed::Reading::Ignored) | Err(_) => {}
                }
            }
        };
        for (name, data) in nodes {
            mutated(&data, |data| read(&name, &data));
            mutated(name.as_bytes(), |name| read(&String::from_utf8_lossy(&name), &data));
        }
    }
}
