//! Parameters of a format's word in configuration: `dubbo:group=g,version=1.0.0`.

use crate::error::{Error, ErrorKind};

/// What follows a word, each key once.
pub(super) struct Parameters<'a> {
    word: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
    known: Vec<&'static str>,
}

impl<'a> Parameters<'a> {
    /// Splits a word from its parameters.
    pub(super) fn split(text: &'a str) -> Result<Self, Error> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !value.is_empty() && pairs.iter().all(|(other, _)| *other != key) => {
                    pairs.push((key, value));
                }
                _ => {
                    return Err(invalid(format!(
                        "format {word}: {pair:?} is not `key=value`, each key once"
                    )));
                }
            }
        }
        Ok(Self { word, pairs, known: Vec::new() })
    }

    pub(super) fn word(&self) -> &'a str {
        self.word
    }

    /// The value of a key that the format knows.
    pub(super) fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(name, _)| *name == key)?;
        Some(self.pairs.swap_remove(at).1.to_owned())
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), Error> {
        let Some((key, _)) = self.pairs.first() else { return Ok(()) };
        let word = self.word;
        Err(invalid(match self.known.join(", ") {
            known if known.is_empty() => format!("format {word} has no parameters, not {key:?}"),
            known => format!("format {word} has no parameter {key:?}; it has {known}"),
        }))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
