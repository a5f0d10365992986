//! What the program is told: flags, then the environment, then the file, then the defaults.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use zk_registry::cli::UsageError;

use crate::daemon::args::Args;
use crate::daemon::command::{Cli, Command};
use crate::daemon::config_file::ConfigFile;

/// The command line, with what the file adds to it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The command and its arguments.
    pub cli: Cli,
    values: Values,
    file: Option<ConfigFile>,
}

/// Every flag of a server by its long name, as it would be typed.
pub(crate) type Values = BTreeMap<String, Vec<OsString>>;

/// Why there is nothing to run.
#[derive(Debug)]
pub enum NotLoaded {
    /// Help or the version was asked for.
    Answer(clap::Error),
    /// The words, the environment or the file cannot be used.
    Usage(UsageError),
}

impl Loaded {
    /// Reads the command line `words`, program name included, the environment, and the file that `--config` names.
    ///
    /// # Errors
    ///
    /// A word, a variable or a key that cannot be used, in one line.
    pub fn from_words(words: &[OsString]) -> Result<Self, NotLoaded> {
        let Some(path) = value_of("--config", words) else { return Self::parse(words, None) };
        let file = ConfigFile::read(Path::new(path), &Args::command()).map_err(NotLoaded::Usage)?;
        let mut all = words.to_vec();
        all.extend(added(words, &file));
        Self::parse(&all, Some(file))
    }

    fn parse(words: &[OsString], file: Option<ConfigFile>) -> Result<Self, NotLoaded> {
        let mut command = command_for(words);
        let parsed = command.clone().try_get_matches_from(words).and_then(|matches| {
            Ok(Self { cli: Cli::from_arg_matches(&matches)?, values: values(&matches), file: file.clone() })
        });
        parsed.map_err(|error| {
            let error = error.format(&mut command);
            if error.use_stderr() {
                let complaint = UsageError::of_this_process(&error, &command);
                NotLoaded::Usage(match &file {
                    Some(file) => file.locate(complaint),
                    None => complaint,
                })
            } else {
                NotLoaded::Answer(error)
            }
        })
    }

    /// The same complaint with the line of the file that it is about, if it is about one.
    pub fn locate(&self, complaint: UsageError) -> UsageError {
        match &self.file {
            Some(file) => file.locate(complaint),
            None => complaint,
        }
    }

    /// Whether there is a file.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The arguments of the server, to serve or to be checked; `None` for a probe.
    pub fn server(&self) -> Option<&Args> {
        match &self.cli.command {
            None => Some(&self.cli.serve),
            Some(Command::Check(args)) => Some(args),
            Some(Command::Probe(_)) => None,
        }
    }

    /// The flags whose values differ in `other`, in the order of their names.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let all = self.values.keys().chain(other.values.keys());
        let mut changed: Vec<_> =
            all.filter(|flag| self.values.get(*flag) != other.values.get(*flag)).cloned().collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

/// The parser of these words. A variable that a subcommand does not read does not stand in its way.
fn command_for(words: &[OsString]) -> clap::Command {
    let command = Cli::command();
    match words.get(1).and_then(|word| command.find_subcommand(word)) {
        Some(_) => command.mut_args(|arg| arg.env(None)),
        None => command,
    }
}

/// What the file says where neither a flag nor a variable says it.
fn added(words: &[OsString], file: &ConfigFile) -> Vec<OsString> {
    let command = command_for(words);
    let probe = words.iter().any(|word| word == "probe");
    let target = match words.get(1).and_then(|word| command.find_subcommand(word)) {
        Some(subcommand) => subcommand.clone(),
        None => command,
    };
    let known = |key: &str| target.get_arguments().find(|arg| arg.get_long() == Some(key));
    let mut all = Vec::new();
    for entry in file.entries() {
        let flag = format!("--{}", entry.key);
        let Some(arg) = known(&entry.key) else {
            debug_assert!(probe, "a key of the file is a flag of every other command");
            continue;
        };
        let variable = arg.get_env().and_then(env::var_os);
        if value_of(&flag, words).is_none() && variable.is_none_or(|value| is_blank(&value)) {
            all.extend(entry.values.iter().map(|value| format!("{flag}={value}").into()));
        }
    }
    all
}

/// The value of a flag among words. A value never looks like a flag: the parser of the words would refuse it.
fn value_of<'a>(flag: &str, words: &'a [OsString]) -> Option<&'a OsStr> {
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        if word == flag {
            return Some(words.next().map_or_else(|| OsStr::new(""), OsString::as_os_str));
        }
        let joined = word.to_str().and_then(|word| word.strip_prefix(flag)?.strip_prefix('='));
        if let Some(value) = joined {
            return Some(OsStr::new(value));
        }
    }
    None
}

fn is_blank(value: &OsStr) -> bool {
    value.to_string_lossy().trim().is_empty()
}

fn values(matches: &ArgMatches) -> Values {
    let matches = matches.subcommand().map_or(matches, |(_, below)| below);
    let command = Args::command();
    let flags = command.get_arguments().filter_map(|arg| Some((arg.get_id().as_str(), arg.get_long()?)));
    flags
        .filter_map(|(id, long)| {
            let raw = matches.try_get_raw(id).ok()??;
            Some((long.to_owned(), raw.map(OsStr::to_owned).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn load(words: &[&str], text: &str) -> Result<Loaded, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let all: Vec<OsString> = [words, &["--config", &path]].concat().iter().map(OsString::from).collect();
        Loaded::from_words(&all).map_err(|error| match error {
            NotLoaded::Usage(error) => error.to_string(),
            NotLoaded::Answer(error) => panic!("{error}"),
        })
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "weight = 2\nzone = 'a'\nlisten = ['127.0.0.1:1', '127.0.0.1:2']\n[metadata]\nrack = '7'";
        let loaded = load(&["time-server", "--weight", "3", "--metadata=row=1"], text).unwrap();
        let args = &loaded.cli.serve;
        assert_eq!((args.weight.unwrap().get(), args.zone.as_deref()), (3, Some("a")));
        assert_eq!(args.metadata, [("row".to_owned(), "1".to_owned())], "a flag replaces, it does not add");
        assert_eq!(args.listen.len(), 2);
        assert_eq!(args.registry.cluster.base[0].to_string(), "/services");
    }

    #[test]
    fn every_command_takes_the_file_and_a_probe_what_concerns_it() {
        let text = "weight = 2\nadmin = 9097\nlisten = '127.0.0.1:1'";
        let loaded = load(&["time-server", "check"], text).unwrap();
        assert_eq!(loaded.server().unwrap().weight.unwrap().get(), 2);
        let loaded = load(&["time-server", "probe", "--ready"], text).unwrap();
        let Some(Command::Probe(probe)) = loaded.cli.command else { panic!("{loaded:?}") };
        assert_eq!(probe.admin.unwrap().to_string(), "127.0.0.1:9097");
        assert!(load(&["time-server", "probe"], "wieght = 2").unwrap_err().contains("wieght"));
    }

    #[test]
    fn a_flag_that_needs_another_finds_it_in_the_file() {
        let loaded = load(&["time-server", "--tls-cert", "c", "--tls-key", "k"], "tls-ca = 'ca'").unwrap();
        assert!(loaded.cli.serve.registry.cluster.tls_ca.is_some());
        let loaded = load(&["time-server"], "\ntls-cert = 'c'\ntls-key = 'k'").unwrap();
        let error = loaded.cli.serve.clone().registry.resolve().unwrap_err();
        let message = loaded.locate(error).to_string();
        assert!(message.contains(":2: tls-cert: ") && message.contains("--tls-ca"), "{message}");
    }

    #[test]
    fn the_flags_that_differ_are_named() {
        let one = load(&["time-server"], "weight = 2\nzone = 'a'").unwrap();
        let other = load(&["time-server"], "weight = 3\nzone = 'a'\nlinger = '1s'").unwrap();
        let mut differences = one.differences(&other);
        differences.retain(|flag| flag != "config"); // each text has a file of its own here
        assert_eq!(differences, ["linger", "weight"]);
        assert!(one.differences(&one).is_empty());
    }
}
