//! Dubbo's urls, as they stand in the names of nodes: read as Java's reader does.

use std::borrow::Cow;

use crate::format::percent;

/// A url that was read. What of the name needs no decoding is borrowed from it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::format) struct Url<'a> {
    pub(in crate::format) protocol: String,
    /// Without brackets.
    pub(in crate::format) host: String,
    pub(in crate::format) port: Option<u16>,
    pub(in crate::format) path: String,
    /// Those with a name.
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Url<'a> {
    /// Reads the name of a node.
    pub(in crate::format) fn read(name: &'a str) -> Result<Self, &'static str> {
        let (left, parameters) = match escapes(name).find(|(_, byte)| *byte == b'?') {
            Some((at, _)) => (percent::decode(&name[..at]), encoded_parameters(&name[at + ESCAPE..])),
            None => {
                let whole = percent::decode(name);
                let (left, right) = whole.split_once('?').unwrap_or((&whole, ""));
                (left.to_owned().into(), plain_parameters(right))
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

    /// The same, on its own.
    pub(in crate::format) fn into_owned(self) -> Url<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let parameters = self.parameters.into_iter().map(|(key, value)| (own(key), own(value))).collect();
        Url { parameters, ..self }
    }

    /// The value of a parameter, or of its `default.` form.
    pub(in crate::format) fn get(&self, key: &str) -> Option<&str> {
        let of = |wanted: &dyn Fn(&str) -> bool| self.parameters().find(|(key, _)| wanted(key));
        let found =
            of(&|name| name == key).or_else(|| of(&|name| name.strip_prefix("default.") == Some(key)));
        found.map(|(_, value)| value)
    }

    /// Every parameter that stands there.
    pub(in crate::format) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Refuses a value that a url cannot carry.
pub(super) fn check_value(key: &str, value: &str) -> Result<(), String> {
    let is_bad = |c: char| matches!(c, '&' | ';' | '#') || c.is_control();
    if value.contains(is_bad) || value.trim() != value || value.is_empty() {
        let why = "a url cannot carry `&`, `;`, `#`, controls, blanks at an end, or nothing";
        return Err(format!("{key} {value:?}: {why}"));
    }
    Ok(())
}

/// The parameters right of the first escaped `?`: the whole is encoded once.
fn encoded_parameters(text: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut parameters = Vec::with_capacity(PARAMETERS);
    let mut add = |begin: usize, equals: Option<usize>, end: usize| {
        let (key, value) = match equals {
            Some(at) => (&text[begin..at], &text[at + ESCAPE..end]),
            None => (&text[begin..end], ""),
        };
        if !key.is_empty() {
            parameters.push((percent::decode(key), percent::decode(value)));
        }
    };
    let (mut begin, mut equals) = (0, None);
    for (at, byte) in escapes(text) {
        match byte {
            b'&' | b';' => {
                add(begin, equals, at);
                (begin, equals) = (at + ESCAPE, None);
            }
            b'=' if equals.is_none() => equals = Some(at),
            _ => {}
        }
    }
    add(begin, equals, text.len());
    parameters
}

/// The parameters of a url that was not encoded.
fn plain_parameters<'a>(text: &str) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let pairs = text.split(['&', ';']).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let own = |text: &str| Cow::Owned(text.to_owned());
    pairs.filter(|(key, _)| !key.is_empty()).map(|(key, value)| (own(key), own(value))).collect()
}

/// Where an escape begins, and the byte that it stands for.
fn escapes(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    text.match_indices('%').filter_map(move |(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + ESCAPE)?;
        let [high, low] = digits else { return None };
        u8::try_from(digit(high)? << 4 | digit(low)?).ok().map(|byte| (at, byte))
    })
}

/// The version of the protocol that our urls state.
pub(super) const PROTOCOL_VERSION: &str = "2.0.2";
/// The release that our urls state.
pub(super) const CLIENT: &str = concat!("zk-registry-", env!("CARGO_PKG_VERSION"));
/// The parameter that states when a provider began to serve, in milliseconds since the Unix epoch.
pub(super) const TIMESTAMP: &str = "timestamp";
/// The parameter that states how many milliseconds its warm-up takes.
pub(super) const WARM_UP: &str = "warmup";
/// The length of an escape.
const ESCAPE: usize = 3;
/// About how many parameters a provider has.
const PARAMETERS: usize = 24;
