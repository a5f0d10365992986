//! The files that the flags name: credentials and PEM. Errors name the flag and the file, and never repeat what it holds.

use std::path::{Path, PathBuf};

use crate::cli::UsageError;
use crate::options::secret_files::{self, warn_if_exposed};
use crate::{Credentials, SecretSource, Secrets, Tls};

/// The files of [`ClusterArgs`](crate::cli::ClusterArgs) that hold who we are to ZooKeeper and whom we trust.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SecretFiles {
    /// `--auth-file`.
    pub auth: Option<PathBuf>,
    /// `--tls-ca`; turns TLS on.
    pub ca: Option<PathBuf>,
    /// `--tls-cert`.
    pub certificate: Option<PathBuf>,
    /// `--tls-key`.
    pub key: Option<PathBuf>,
}

impl SecretFiles {
    /// Reads them all.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read or does not hold what its flag needs.
    pub fn read(&self) -> Result<Secrets, UsageError> {
        let tls = match &self.ca {
            None => None,
            Some(ca) => {
                let tls = Tls::new(pem("--tls-ca", ca)?);
                Some(match (&self.certificate, &self.key) {
                    (Some(cert), Some(key)) => {
                        tls.with_identity(pem("--tls-cert", cert)?, pem("--tls-key", key)?)
                    }
                    _ => tls,
                })
            }
        };
        let credentials = self.auth.as_deref().map(credentials).transpose()?.into_iter().collect();
        Ok(Secrets { credentials, tls })
    }

    /// Reads them anew before each connection.
    pub fn source(self) -> SecretSource {
        SecretSource::new(move || self.read().map_err(|error| error.to_string()))
    }

    /// Warns of each file with a secret that other users may read or change.
    pub(super) fn warn_if_exposed(&self, secrets: &Secrets) {
        if let Some(file) = &self.auth {
            warn_if_exposed(AUTH_FILE, file);
        }
        let Some(tls) = &secrets.tls else { return };
        let identity = tls.identity_pem.as_ref();
        for (flag, file, pem) in [
            ("--tls-ca", &self.ca, Some(&tls.ca_pem)),
            ("--tls-cert", &self.certificate, identity.map(|(certificate, _)| certificate)),
            ("--tls-key", &self.key, identity.map(|(_, key)| key)),
        ] {
            if let (Some(file), true) = (file, pem.is_some_and(|pem| pem.contains("PRIVATE KEY"))) {
                warn_if_exposed(flag, file);
            }
        }
    }
}

/// Who the first line of the file says we are.
fn credentials(file: &Path) -> Result<Credentials, UsageError> {
    secret_files::credentials(file).map_err(|what| UsageError::new(AUTH_FILE, what))
}

fn pem(flag: &str, file: &Path) -> Result<String, UsageError> {
    secret_files::pem(file).map_err(|what| UsageError::new(flag, what))
}

const AUTH_FILE: &str = "--auth-file";

#[cfg(test)]
pub(super) mod tests {
    use std::io;
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
            let files = SecretFiles {
                auth: Some(secret.path().to_owned()),
                ca: Some(certificate.path().to_owned()),
                certificate: Some(certificate.path().to_owned()),
                key: Some(key.path().to_owned()),
            };
            let log = logged(|| files.warn_if_exposed(&files.read().unwrap()));
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
