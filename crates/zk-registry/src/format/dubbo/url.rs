//! Dubbo's urls, as they stand in the names of nodes: read as Java's reader does.

use crate::format::percent;

/// A url that was read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::format) struct Url {
    pub(in crate::format) protocol: String,
    /// Without brackets.
    pub(in crate::format) host: String,
    pub(in crate::format) port: Option<u16>,
    pub(in crate::format) path: String,
    parameters: Vec<(String, String)>,
}

impl Url {
    /// Reads the name of a node.
    pub(in crate::format) fn read(name: &str) -> Result<Self, &'static str> {
        let (left, parameters) = match name.char_indices().find(|(at, _)| is_escaped(name, *at, "%3F")) {
            Some((at, _)) => {
                let pairs = split(&name[at + 3..], &["%26", "%3B"]).into_iter().map(|pair| {
                    let equals =
                        pair.char_indices().map(|(at, _)| at).find(|at| is_escaped(pair, *at, "%3D"));
                    equals.map_or((pair, ""), |at| (&pair[..at], &pair[at + 3..]))
                });
                (
                    percent::decode(&name[..at]).into_owned(),
                    parameters(pairs, |text| percent::decode(text).into_owned()),
                )
            }
            None => {
                let whole = percent::decode(name);
                let (left, right) = whole.split_once('?').unwrap_or((&whole, ""));
                let pairs = right.split(['&', ';']).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                (left.to_owned(), parameters(pairs, str::to_owned))
            }
        };
        let left = left.split('#').next().unwrap_or_default();
        let (protocol, rest) = left.split_once("://").ok_or("no protocol")?;
        if protocol.is_empty() {
            return Err("an empty protocol");
        }
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = address.rsplit_once('@').map_or(address, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(['%', ']']) => {
                (host, Some(port.parse().map_err(|_| "the port is no number")?))
            }
            _ => (address, None),
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Ok(Self {
            protocol: protocol.to_owned(),
            host: bare.to_owned(),
            port,
            path: path.to_owned(),
            parameters,
        })
    }

    /// The value of a parameter, or of its `default.` form.
    pub(in crate::format) fn get(&self, key: &str) -> Option<&str> {
        let of = |wanted: &dyn Fn(&str) -> bool| {
            self.parameters.iter().find(|(key, _)| wanted(key)).map(|(_, value)| value.as_str())
        };
        of(&|name| name == key).or_else(|| of(&|name| name.strip_prefix("default.") == Some(key)))
    }

    /// Every parameter that stands there.
    pub(in crate::format) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The pairs whose names are not empty.
fn parameters<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    decode: impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    let named = pairs.map(|(key, value)| (decode(key), decode(value)));
    named.filter(|(key, _)| !key.is_empty()).collect()
}

/// Whether this escape stands there, in either case.
fn is_escaped(text: &str, at: usize, escape: &str) -> bool {
    text.get(at..at + escape.len()).is_some_and(|here| here.eq_ignore_ascii_case(escape))
}

fn split<'a>(text: &'a str, escapes: &[&str]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, _) in text.match_indices('%') {
        if at >= begin && escapes.iter().any(|escape| is_escaped(text, at, escape)) {
            parts.push(&text[begin..at]);
            begin = at + 3;
        }
    }
    parts.push(&text[begin..]);
    parts
}
