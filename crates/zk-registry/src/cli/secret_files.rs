//! The files that the flags name: credentials and PEM. Errors name the file and never repeat what it holds.

use std::fs;
use std::path::Path;

use crate::Credentials;
use crate::cli::UsageError;

/// Who the first line of the file says we are. Errors never repeat what the file holds.
pub(super) fn credentials(file: &Path) -> Result<Credentials, UsageError> {
    let text = read("--auth-file", file)?;
    let line = text.lines().next().unwrap_or_default().trim();
    let parsed = line.split_once(' ').and_then(|(scheme, identity)| {
        let (user, password) = identity.trim_start().split_once(':')?;
        let (user, password) = (user.to_owned(), password.to_owned());
        match scheme {
            _ if user.is_empty() => None,
            "digest" => Some(Credentials::Digest { user, password }),
            "sasl" => Some(Credentials::Sasl { user, password }),
            _ => None,
        }
    });
    parsed.ok_or_else(|| {
        let accepted = "the first line must be `digest user:password` or `sasl user:password`";
        UsageError::new("--auth-file", format!("{}: {accepted}", file.display()))
    })
}

pub(super) fn pem(flag: &str, file: &Path) -> Result<String, UsageError> {
    let text = read(flag, file)?;
    if text.contains("-----BEGIN ") {
        Ok(text)
    } else {
        Err(UsageError::new(flag, format!("{}: must be a PEM file (`-----BEGIN ...`)", file.display())))
    }
}

fn read(flag: &str, file: &Path) -> Result<String, UsageError> {
    fs::read_to_string(file).map_err(|error| {
        UsageError::new(flag, format!("{}: must be a readable text file ({error})", file.display()))
    })
}
