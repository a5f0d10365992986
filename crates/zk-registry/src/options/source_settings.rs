//! What a configuration file or the environment says of a further source.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::words::{invalid, word};
use super::{Options, Source, SourceUse};
use crate::error::Error;

/// A further place where the instances of each service stand. What is left out is as in the first place, which `base` and `format`
/// of [`Settings`](super::Settings) say.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct SourceSettings {
    /// The path below which services live.
    pub base: Option<String>,
    /// The name of the format, as [`format::named`](crate::format::named) takes it.
    pub format: Option<String>,
    /// What it is for: `read-and-write` or `read`. Defaults to `read-and-write`.
    pub usage: Option<String>,
}

impl SourceSettings {
    /// Takes up a variable, of which the name goes on like this: `1_BASE`.
    pub(super) fn set(all: &mut BTreeMap<u16, Self>, numbered: &str, value: String) -> Result<(), String> {
        let parts = numbered.split_once('_').and_then(|(number, field)| Some((number.parse().ok()?, field)));
        let Some((number, field @ ("BASE" | "FORMAT" | "USAGE"))) = parts else {
            return Err(
                "there is no such setting; number a source, and name its BASE, FORMAT or USAGE".to_owned()
            );
        };
        let source = all.entry(number).or_default();
        match field {
            "BASE" => source.base = Some(value),
            "FORMAT" => source.format = Some(value),
            _ => source.usage = Some(value),
        }
        Ok(())
    }

    /// The source beside the first one, which these options have.
    pub(super) fn resolve(self, options: &Options) -> Result<Source, Error> {
        let mut source = Source::new(options.base.clone(), options.format.clone());
        if let Some(base) = self.base {
            source.base = base.parse().map_err(|error: Error| invalid("base", error))?;
        }
        if let Some(format) = self.format {
            source.format = crate::format::named(&format).map_err(|error| invalid("format", error))?;
        }
        let words = [("read-and-write", SourceUse::ReadAndWrite), ("read", SourceUse::Read)];
        source.usage = word("usage", self.usage, &words)?;
        Ok(source)
    }
}
