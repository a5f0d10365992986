//! The error of a wrong command line: one line that names the flag and what is accepted.

use std::env;
use std::ffi::OsString;
use std::fmt;

use clap::error::{ContextKind, ContextValue};

/// A wrong use of the command line: one line that names the flag and what is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageError(String);

impl UsageError {
    /// The complaint `what` about `flag`.
    pub fn new(flag: &str, what: impl fmt::Display) -> Self {
        Self(format!("{flag}: {what}"))
    }

    /// What the library says of options that cannot work, with the flag that they came from: its message begins with the
    /// option.
    pub fn from_registry(error: &crate::Error) -> Self {
        let text = error.to_string();
        if let Some(what) = text.strip_prefix("format ") {
            return Self::new("--format", what);
        }
        let (option, what) = text.split_once(": ").unwrap_or(("", &text));
        let flag = match option {
            "acl" => "--acl",
            "credentials" => "--auth-file",
            "session timeout" => "--session-timeout",
            "tls" | "tls authorities" => "--tls-ca",
            "tls identity" => "--tls-cert, --tls-key",
            "connect string" => "--zookeeper",
            _ => return Self::new("--zookeeper", text),
        };
        Self::new(flag, what)
    }

    /// The essence of an error of clap in one line: its first paragraph, without the word "error".
    ///
    /// Not for help and version, which clap also reports as errors.
    pub fn from_clap(error: &clap::Error) -> Self {
        let text = error.to_string();
        let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let line = lines.join(" ");
        Self(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
    }

    /// The same for the command line of this process, parsed by `command`: names the environment variable where the value
    /// came from one, because the person who reads the error did not type the flag.
    pub fn of_this_process(error: &clap::Error, command: &clap::Command) -> Self {
        let complaint = Self::from_clap(error);
        let typed: Vec<_> = env::args_os().collect();
        match variable(error, command, &typed, |name| env::var(name).ok()) {
            Some((name, value)) if value.trim().is_empty() => {
                Self(format!("{} (the environment variable {name} is set, but empty: unset it)", complaint.0))
            }
            Some((name, _)) => Self(format!("{} (from the environment variable {name})", complaint.0)),
            None => complaint,
        }
    }
}

/// The variable that a wrong value came from, and its value.
fn variable(
    error: &clap::Error,
    command: &clap::Command,
    typed: &[OsString],
    value_of: impl Fn(&str) -> Option<String>,
) -> Option<(String, String)> {
    let ContextValue::String(argument) = error.get(ContextKind::InvalidArg)? else { return None };
    let wrong = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    // "--pod-ip <IP>"
    let flag = argument.split(' ').next()?;
    let is_typed = |word: &OsString| {
        let word = word.to_string_lossy();
        word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
    };
    if typed.iter().any(is_typed) {
        return None;
    }
    let name = env_of(command, flag.strip_prefix("--")?)?;
    let value = value_of(&name)?;
    value.contains(wrong).then_some((name, value))
}

/// The environment variable of a flag, of the command or one of its subcommands.
fn env_of(command: &clap::Command, long: &str) -> Option<String> {
    let own = command.get_arguments().find(|argument| argument.get_long() == Some(long));
    let name = own.and_then(|argument| argument.get_env()).map(|name| name.to_string_lossy().into_owned());
    name.or_else(|| command.get_subcommands().find_map(|command| env_of(command, long)))
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
