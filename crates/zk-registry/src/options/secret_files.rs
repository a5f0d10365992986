//! Files with credentials and PEM. Errors name the file and never repeat what it holds.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::Credentials;

/// The identity in the first line of a file. The error is for a person to read.
pub(crate) fn credentials(file: &Path) -> Result<Credentials, String> {
    let text = read(file, AUTH_FILE_BYTES)?;
    let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().trim();
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
        format!("{}: {accepted}", file.display())
    })
}

/// The text of a PEM file. The error is for a person to read.
pub(crate) fn pem(file: &Path) -> Result<String, String> {
    let text = read(file, PEM_BYTES)?;
    if text.contains("-----BEGIN ") {
        Ok(text)
    } else {
        Err(format!("{}: must be a PEM file (`-----BEGIN ...`)", file.display()))
    }
}

/// Reads a text file of at most `most` bytes, so that an endless one such as a device ends as an error.
fn read(file: &Path, most: u64) -> Result<String, String> {
    let wrong = |what: String| format!("{}: {what}", file.display());
    let unreadable = |error: io::Error| wrong(format!("must be a readable text file ({error})"));
    let opened = File::open(file).map_err(unreadable)?;
    let mut text = String::new();
    (&opened).take(most + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > most {
        return Err(wrong(format!("must have at most {most} bytes")));
    }
    Ok(text)
}

/// Warns of a file with a secret that other users may read. `option` names the flag or setting.
pub(crate) fn warn_if_exposed(option: &str, file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = std::fs::metadata(file).map_or(0, |found| found.permissions().mode());
        if mode & 0o077 != 0 {
            let mode = format!("{:04o}", mode & 0o7777);
            tracing::warn!(flag = option, file = %file.display(), mode, "other users may read or change this file; use mode 0600");
        }
    }
}

const AUTH_FILE_BYTES: u64 = 64 * 1024;
const PEM_BYTES: u64 = 4 * 1024 * 1024;
