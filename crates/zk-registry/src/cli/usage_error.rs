//! The error of a wrong command line: one line that names the flag and what is accepted.

use std::fmt;

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
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
