//! Settings that are one of a few words, and how a wrong one is named.

use std::fmt::Display;

use crate::error::{Error, ErrorKind};

/// The meaning of a word; the default without one.
pub(super) fn word<T: Copy + Default>(
    option: &str,
    given: Option<String>,
    words: &[(&str, T)],
) -> Result<T, Error> {
    let Some(given) = given else { return Ok(T::default()) };
    let known = words.iter().find(|(word, _)| *word == given);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        invalid(option, format!("use one of {}", words.join(", ")))
    })
}

pub(super) fn invalid(option: &str, why: impl Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{option}: {why}"))
}
