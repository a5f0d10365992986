//! The credentials and certificates of the next connection, which may change while a session lasts.
//!
//! The client crate connects by itself within a session, and tells afterwards. It takes certificates anew for each handshake
//! from a cell that is written here: before a session is opened, and as long as its connection is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use zookeeper_client::{Connector, SaslOptions};

use super::super::{State, States};
use super::diagnosis::Looks;
use super::tls::Certificates;
use crate::options::{Credentials, Options, SecretSource, Secrets, Tls};

/// Shared by the sessions of one registry.
#[derive(Debug)]
pub(super) struct Renewal {
    source: Option<SecretSource>,
    reads: Looks,
    certificates: Option<Certificates>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    secrets: Secrets,
    /// The last complaint, which is not repeated.
    complaint: Option<String>,
}

impl Renewal {
    /// Begins with the secrets of the options.
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let secrets = Secrets { credentials: options.credentials.clone(), tls: options.tls.clone() };
        let certificates = options.tls.as_ref().map(Certificates::new).transpose()?;
        let current = Mutex::new(Current { secrets, complaint: None });
        Ok(Self { source: options.secrets.clone(), reads: Looks::default(), certificates, current })
    }

    /// A connector that shows and trusts what is current.
    pub(super) fn apply(&self, mut connector: Connector) -> Connector {
        for credentials in &self.lock().secrets.credentials {
            connector = match credentials {
                Credentials::Digest { user, password } => {
                    connector.with_auth("digest", format!("{user}:{password}").as_bytes())
                }
                Credentials::Sasl { user, password } => {
                    connector.with_sasl(SaslOptions::digest_md5(user.clone(), password.clone()))
                }
            };
        }
        match &self.certificates {
            Some(certificates) => certificates.apply(connector),
            None => connector,
        }
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.lock().secrets.tls.clone()
    }

    /// Asks the source, if there is one, and waits at most `within` for it.
    pub(super) async fn renew(self: &Arc<Self>, within: Duration) {
        let Some(source) = self.source.clone() else { return };
        if self.reads.is_busy() {
            return;
        }
        let this = Arc::clone(self);
        let read = self.reads.run(move || this.take(source.read()));
        // A source that hangs has a thread of its own; the last good secrets do until it answers.
        let _ = timeout(within, read).await;
    }

    /// Asks the source whenever a connection is lost, and then every second until there is one again; returns when the
    /// session is over.
    pub(super) async fn follow(self: Arc<Self>, mut states: Box<dyn States>, within: Duration) {
        if self.source.is_none() {
            return;
        }
        let mut state = State::Connected;
        loop {
            match state {
                State::Connected => state = states.changed().await,
                State::Disconnected => {
                    self.renew(within).await;
                    tokio::select! {
                        biased;
                        changed = states.changed() => state = changed,
                        () = sleep(PAUSE) => {}
                    }
                }
                State::Over(_) => return,
            }
        }
    }

    fn take(&self, read: Result<Secrets, String>) {
        let mut current = self.lock();
        let taken = read.and_then(|secrets| {
            if secrets == current.secrets {
                return Ok(None);
            }
            let schemes = |secrets: &Secrets| -> Vec<_> {
                secrets.credentials.iter().map(|one| matches!(one, Credentials::Sasl { .. })).collect()
            };
            if schemes(&secrets) != schemes(&current.secrets) {
                return Err(
                    "the scheme of the credentials cannot change while the registry is open".to_owned()
                );
            }
            match (&self.certificates, &secrets.tls) {
                (Some(certificates), Some(tls)) => certificates.update(tls)?,
                (None, None) => {}
                _ => return Err("TLS cannot be turned on or off while the registry is open".to_owned()),
            }
            Ok(Some(secrets))
        });
        match taken {
            Ok(None) => current.complaint = None,
            Ok(Some(secrets)) => {
                *current = Current { secrets, complaint: None };
                info!("credentials or certificates were read anew");
            }
            Err(why) if current.complaint.as_ref() == Some(&why) => {}
            Err(why) => {
                warn!(%why, "credentials and certificates stay as they were");
                current.complaint = Some(why);
            }
        }
    }

    /// No update stops half-way in a panic.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often the source is asked while there is no connection.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(password: &str) -> Secrets {
        let credentials = Credentials::Digest { user: "fleet".to_owned(), password: password.to_owned() };
        Secrets { credentials: vec![credentials], tls: None }
    }

    #[tokio::test]
    async fn what_cannot_be_used_leaves_the_last_good_secrets() {
        let answers = Mutex::new(vec![
            Ok(Secrets { tls: Some(Tls::new("")), ..digest("new") }),
            Ok(Secrets::default()),
            Err("no such file".to_owned()),
            Ok(digest("new")),
        ]);
        let source = SecretSource::new(move || answers.lock().unwrap().pop().unwrap());
        let options =
            Options { credentials: digest("old").credentials, secrets: Some(source), ..Options::default() };
        let renewal = Arc::new(Renewal::new(&options).unwrap());
        for complains in [false, true, true, true] {
            renewal.renew(Duration::from_secs(60)).await;
            let current = renewal.lock();
            assert_eq!((&current.secrets, current.complaint.is_some()), (&digest("new"), complains));
        }
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_not_waited_for() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let source = SecretSource::new(move || {
            // Until the test ends.
            let _ = held.lock().unwrap().recv();
            Ok(Secrets::default())
        });
        let renewal =
            Arc::new(Renewal::new(&Options { secrets: Some(source), ..Options::default() }).unwrap());
        renewal.renew(Duration::from_millis(10)).await;
        renewal.renew(Duration::from_secs(3600)).await; // it is still asked
        drop(release);
    }
}
