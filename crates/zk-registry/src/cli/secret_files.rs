//! The files that the flags name: credentials and PEM. Errors name the file and never repeat what it holds.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

#[cfg(unix)]
use tracing::warn;

use crate::Credentials;
use crate::cli::UsageError;

/// Who the first line of the file says we are. Errors never repeat what the file holds.
pub(super) fn credentials(file: &Path) -> Result<Credentials, UsageError> {
    warn_if_exposed("--auth-file", file);
    let text = read("--auth-file", file, AUTH_FILE_BYTES)?;
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
        UsageError::new("--auth-file", format!("{}: {accepted}", file.display()))
    })
}

pub(super) fn pem(flag: &str, file: &Path) -> Result<String, UsageError> {
    let text = read(flag, file, PEM_BYTES)?;
    if text.contains("PRIVATE KEY") {
        warn_if_exposed(flag, file);
    }
    if text.contains("-----BEGIN ") {
        Ok(text)
    } else {
        Err(UsageError::new(flag, format!("{}: must be a PEM file (`-----BEGIN ...`)", file.display())))
    }
}

/// Reads a text file of at most `most` bytes, so that an endless one such as a device ends as an error.
fn read(flag: &str, file: &Path, most: u64) -> Result<String, UsageError> {
    let wrong = |what: String| UsageError::new(flag, format!("{}: {what}", file.display()));
    let unreadable = |error: io::Error| wrong(format!("must be a readable text file ({error})"));
    let opened = File::open(file).map_err(unreadable)?;
    let mut text = String::new();
    (&opened).take(most + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > most {
        return Err(wrong(format!("must have at most {most} bytes")));
    }
    Ok(text)
}

/// Warns of a file with a secret that other users may read.
fn warn_if_exposed(flag: &str, file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = std::fs::metadata(file).map_or(0, |found| found.permissions().mode());
        if mode & 0o077 != 0 {
            let mode = format!("{:04o}", mode & 0o7777);
            warn!(flag, file = %file.display(), mode, "other users may read or change this file; use mode 0600");
        }
    }
}

const AUTH_FILE_BYTES: u64 = 64 * 1024;
const PEM_BYTES: u64 = 4 * 1024 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged while `work` runs.
    pub(in crate::cli) fn logged(work: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);

        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_can_read_is_warned_of_by_name() {
        use std::os::unix::fs::PermissionsExt;

        let secret = file("digest alice:s3cret");
        let key = file("-----BEGIN PRIVATE KEY-----\n");
        let certificate = file("-----BEGIN CERTIFICATE-----\n");
        for (mode, warned) in [(0o600, false), (0o400, false), (0o644, true), (0o640, true), (0o602, true)] {
            for one in [&secret, &key, &certificate] {
                one.as_file().set_permissions(PermissionsExt::from_mode(mode)).unwrap();
            }
            let log = logged(|| {
                credentials(secret.path()).unwrap();
                pem("--tls-key", key.path()).unwrap();
                pem("--tls-cert", certificate.path()).unwrap();
            });
            for (flag, is_secret) in [("--auth-file", true), ("--tls-key", true), ("--tls-cert", false)] {
                assert_eq!(log.contains(flag), warned && is_secret, "{flag} {mode:o}: {log}");
            }
            assert!(!log.contains("s3cret"), "{log}");
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_byte_order_mark_and_trailing_blanks_are_no_part_of_a_password() {
        let file = file("\u{feff}digest alice:s3cret  \r\n");
        let Ok(Credentials::Digest { user, password }) = credentials(file.path()) else { panic!("digest") };
        assert_eq!((user.as_str(), password.as_str()), ("alice", "s3cret"));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = credentials(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("/dev/zero: must have at most 65536 bytes"), "{error}");
        assert!(pem("--tls-ca", Path::new("/dev/zero")).is_err());
    }
}
