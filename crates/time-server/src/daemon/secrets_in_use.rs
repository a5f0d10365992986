//! The files with secrets that the next connection reads, and when their certificates expire.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zk_registry::cli::SecretFiles;
use zk_registry::{SecretSource, Secrets};

use crate::daemon::expiry::first_expiry;
use crate::daemon::metrics::Metrics;

/// Clones share the files.
#[derive(Clone, Debug)]
pub(crate) struct SecretsInUse {
    files: Arc<Mutex<SecretFiles>>,
    metrics: Metrics,
}

impl SecretsInUse {
    /// The files, which have just been read with this result.
    pub(crate) fn new(files: SecretFiles, read: &Secrets, metrics: Metrics) -> Self {
        tell_expiries(&metrics, read);
        Self { files: Arc::new(Mutex::new(files)), metrics }
    }

    /// Uses other files from the next connection on, which have just been read with this result.
    pub(crate) fn set(&self, files: SecretFiles, read: &Secrets) {
        *self.lock() = files;
        tell_expiries(&self.metrics, read);
    }

    /// Reads the files of then, whenever a connection is made.
    pub(crate) fn source(&self) -> SecretSource {
        let this = self.clone();
        SecretSource::new(move || {
            let files = this.lock().clone();
            match files.read() {
                Ok(secrets) => {
                    tell_expiries(&this.metrics, &secrets);
                    Ok(secrets)
                }
                Err(error) => {
                    this.metrics.count_refused_secrets();
                    Err(error.to_string())
                }
            }
        })
    }

    /// No update stops half-way in a panic.
    fn lock(&self) -> MutexGuard<'_, SecretFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_expiries(metrics: &Metrics, secrets: &Secrets) {
    let Some(tls) = &secrets.tls else { return };
    let identity = tls.identity_pem.as_ref().map(|(certificate, _)| certificate);
    for (file, pem) in [("tls-ca", Some(&tls.ca_pem)), ("tls-cert", identity)] {
        if let Some(expiry) = pem.and_then(|pem| first_expiry(pem)) {
            metrics.set_expiry(file, expiry);
        }
    }
}
