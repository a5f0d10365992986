//! The configuration file: TOML whose keys are the names of the flags.
//!
//! Values are parsed by the flags' own parsers. An error names the file, the line, the key and what is accepted.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zk_registry::cli::UsageError;

/// What a file says.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One key of a file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key, which is the long name of a flag.
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    line: usize,
}

impl ConfigFile {
    /// Reads a file whose keys are the long names of the flags of `command`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or its first key or value that is refused, with its line and what is accepted.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<Self, UsageError> {
        let text = text(path).map_err(|error| {
            UsageError::new("--config", format!("{}: must be a readable text file ({error})", path.display()))
        })?;
        Self::parse(path, &text, command)
    }

    fn parse(path: &Path, text: &str, command: &Command) -> Result<Self, UsageError> {
        let wrong = |at: usize, what: String| {
            UsageError::new(&format!("{}:{}", path.display(), line_of(text, at)), what)
        };
        let table = DeTable::parse(text).map_err(|error| {
            wrong(error.span().map_or(0, |span| span.start), error.message().replace('\n', ", "))
        })?;
        let mut entries = Vec::new();
        for (key, value) in table.get_ref() {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let flag = flags(command).find(|flag| flag.get_long() == Some(name)).ok_or_else(|| {
                let accepted: Vec<_> = flags(command).filter_map(Arg::get_long).collect();
                wrong(at, format!("{name}: is no key; accepted are {}", accepted.join(", ")))
            })?;
            let values = values(flag, value).map_err(|(at, what)| wrong(at, format!("{name}: {what}")))?;
            for (at, value) in &values {
                accepted(flag, value).map_err(|what| wrong(*at, format!("{name}: {what}")))?;
            }
            let values = values.into_iter().map(|(_, value)| value).collect();
            entries.push(Entry { key: name.to_owned(), values, line: line_of(text, at) });
        }
        entries.sort_by_key(|entry| entry.line);
        Ok(Self { path: path.to_owned(), entries })
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same complaint with the line of the key whose flag it names first.
    pub(crate) fn locate(&self, complaint: UsageError) -> UsageError {
        let text = complaint.to_string();
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
        let mut flags = words.filter_map(|word| word.strip_prefix("--"));
        match flags.find_map(|flag| self.entries.iter().find(|entry| entry.key == flag)) {
            Some(Entry { key, line, .. }) => {
                let text = text.strip_prefix(&format!("--{key}: ")).unwrap_or(&text);
                UsageError::new(&format!("{}:{line}", self.path.display()), format!("{key}: {text}"))
            }
            None => complaint,
        }
    }
}

/// The flags that a file can state.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|long| long != "config") && arg.get_action().takes_values())
}

/// The words of a value, as they would be typed, each with its offset in the file. The error is the offset of a value of
/// the wrong type, and what is accepted.
fn values(flag: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<(usize, String)>, (usize, String)> {
    let text = |value: &Spanned<_>| match scalar(value) {
        Some(text) => Ok((value.span().start, text)),
        None => Err(refused(flag, value)),
    };
    let repeats = matches!(flag.get_action(), ArgAction::Append);
    let is_map = flag.get_long() == Some("metadata");
    match value.get_ref() {
        DeValue::Array(items) if repeats => items.iter().map(text).collect(),
        DeValue::Table(table) if is_map => {
            let pair = |(key, value): (&Spanned<_>, &Spanned<_>)| {
                let (at, text) = text(value)?;
                Ok((at, format!("{}={text}", key.get_ref())))
            };
            table.iter().map(pair).collect()
        }
        _ => text(value).map(|text| vec![text]),
    }
}

fn refused(flag: &Arg, value: &Spanned<DeValue<'_>>) -> (usize, String) {
    let accepted = match flag.get_action() {
        _ if flag.get_long() == Some("metadata") => r#"a table of texts such as { rack = "7" }"#,
        ArgAction::Append => r#"a text or a list of texts, such as ["127.0.0.1:8897"]"#,
        _ => "a text in quotes, or a whole number",
    };
    let kind = value.get_ref().type_str();
    (value.span().start, format!("a value of type {kind} is not accepted; use {accepted}"))
}

/// A text or a whole number, as it would be typed.
fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        _ => None,
    }
}

/// Asks the parser of the flag alone; what flags need of each other is judged once all are together.
fn accepted(flag: &Arg, value: &str) -> Result<(), String> {
    let word = format!("--value={value}");
    let parser = flag.get_value_parser().clone();
    let alone = Arg::new("value").long("value").value_parser(parser).action(ArgAction::Set);
    let parsed = Command::new("file").no_binary_name(true).arg(alone).try_get_matches_from([word]);
    parsed.map(|_| ()).map_err(|error| {
        let text = UsageError::from_clap(&error).to_string();
        // "invalid value '0' for '--weight <value>': use ..."
        match text.split_once(" for '--").and_then(|(what, rest)| Some((what, rest.split_once('\'')?.1))) {
            Some((what, rest)) => format!("{what}{rest}"),
            None => text,
        }
    })
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// So that an endless file, such as a device, ends as an error.
const FILE_BYTES: u64 = 1024 * 1024;

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::daemon::args::Args;

    fn parse(text: &str) -> Result<ConfigFile, String> {
        ConfigFile::parse(Path::new("time.toml"), text, &Args::command()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mistake_is_one_line_with_the_file_the_line_the_key_and_what_is_accepted() {
        for (text, words) in [
            ("\nwieght = 2", ["time.toml:2: ", "wieght: is no key", "weight, zone"]),
            (
                "zone = 'a'\nweight = true",
                ["time.toml:2: ", "weight: ", "a text in quotes, or a whole number"],
            ),
            ("weight = 0", ["time.toml:1: ", "weight: invalid value '0'", "from 1 to 65535"]),
            ("weight = 1.5", ["time.toml:1: ", "weight: ", "a whole number"]),
            (
                "listen = [\n  '127.0.0.1:1',\n  'localhost',\n]",
                ["time.toml:3: ", "listen: invalid value 'localhost'", "socket address"],
            ),
            ("listen = { a = 1 }", ["time.toml:1: ", "listen: ", "a list of texts"]),
            ("[metadata]\nrack = []", ["time.toml:2: ", "metadata: ", "a table of texts"]),
            ("zone = ['a']", ["time.toml:1: ", "zone: ", "a text in quotes"]),
            ("format = 'json'", ["time.toml:1: ", "format: invalid value 'json'", "curator-strict"]),
            ("idle = 10", ["time.toml:1: ", "idle: ", "such as 500ms"]),
            ("zookeeper = ''", ["time.toml:1: ", "zookeeper: ", "host[:port]"]),
            ("config = 'other.toml'", ["time.toml:1: ", "config: is no key", "acl"]),
            ("zone = 'a'\nzone = 'b'", ["time.toml:2: ", "duplicate key", ""]),
            ("zone = ", ["time.toml:1: ", "", ""]),
        ] {
            let message = parse(text).unwrap_err();
            assert_eq!(message.lines().count(), 1, "{text}: {message}");
            assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
        }
    }

    #[test]
    fn values_are_those_that_would_be_typed() {
        let file = parse("weight = 2\nlisten = ['127.0.0.1:1', '[::1]:2']\nadmin = 9097\n[metadata]\nrack = 7\nrow = 'a=b'").unwrap();
        let values = |key: &str| file.entries().iter().find(|entry| entry.key == key).unwrap().values.clone();
        assert_eq!(values("weight"), ["2"]);
        assert_eq!(values("listen"), ["127.0.0.1:1", "[::1]:2"]);
        assert_eq!(values("admin"), ["9097"]);
        assert_eq!(values("metadata"), ["rack=7", "row=a=b"]);
    }

    #[test]
    fn a_complaint_of_what_does_not_fit_together_is_located() {
        let file = parse("format = 'plain'\n\nweight = 2").unwrap();
        let complaint = UsageError::new("--weight", "--format plain cannot carry it");
        let located = file.locate(complaint).to_string();
        assert!(located.starts_with("time.toml:3: weight: --format plain "), "{located}");
        let foreign = UsageError::new("--zone", "--weightless");
        assert_eq!(file.locate(foreign.clone()), foreign);
    }
}
