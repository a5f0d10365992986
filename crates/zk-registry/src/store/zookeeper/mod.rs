//! The store on a real ZooKeeper. The only folder that names `zookeeper_client`.
//!
//! The crate has traps, and each is closed where it would snap: a task that spins (`lifeline`), watchers that panic or leave
//! dangling pointers, watches that are not armed again (`watcher`), errors that say too little (`faults`, `diagnosis`), TLS names
//! that panic (`tls`), requests so large that they cost the connection (`super::limits`).
//!
//! It does not use one-shot watches, the crate's lock recipes, read-only or detached sessions, and never re-attaches to a
//! session.

mod address;
mod diagnosis;
mod faults;
mod lifeline;
mod renewal;
mod session;
mod tls;
mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::timeout;
use zookeeper_client::{Client, Connector, Error};

use self::address::Address;
use self::diagnosis::Looks;
use self::lifeline::Lifeline;
use self::renewal::Renewal;
use self::session::Session;
use super::{Connect, ConnectFault, Store};
use crate::error::ErrorKind;
use crate::options::{ConnectString, Options};

/// Opens sessions with a real ZooKeeper.
#[derive(Clone)]
pub(crate) struct ZooKeeper(Result<Arc<Template>, String>);

/// What every session begins with.
struct Template {
    connector: Connector,
    hosts: Vec<Address>,
    /// Adds credentials and TLS to the connector.
    renewal: Arc<Renewal>,
    /// What it means when the server refuses us.
    refusal: &'static str,
    chroot: Option<String>,
    /// See [`Connect::cluster`].
    cluster: String,
    session_timeout: Duration,
    connection_timeout: Duration,
    /// Looks at why no server gives a session.
    looks: Looks,
    /// Looks for the way to the servers.
    routes: Looks,
}

impl ZooKeeper {
    /// What cannot work is said by `validate`, and by `connect`.
    pub(crate) fn new(to: &ConnectString, options: &Options) -> Self {
        Self(Template::new(to, options).map(Arc::new))
    }

    /// Whether the options can work, as far as that can be said without connecting.
    pub(crate) fn validate(&self) -> Result<(), crate::error::Error> {
        let refused = |why: &String| crate::error::Error::new(ErrorKind::Invalid, why.clone());
        self.0.as_ref().map(|_| ()).map_err(refused)
    }
}

/// A fifth of the longest session that a server grants by default. A caller that asks for a longer one is not to wait for minutes
/// for a server that does not answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(8);

const NO_CREDENTIALS: &str = "ZooKeeper takes no connection without credentials, and none are configured";
const WRONG_CREDENTIALS: &str = "ZooKeeper refused our credentials";

impl Template {
    fn new(to: &ConnectString, options: &Options) -> Result<Self, String> {
        let session_timeout = options.session_timeout;
        let connection_timeout = (session_timeout / 5).clamp(Duration::from_secs(1), LONGEST_SILENCE);
        // Eager: one pass over the hosts. Otherwise the crate could spin when every attempt fails at once.
        let connector = Client::connector()
            .with_fail_eagerly()
            .with_session_timeout(session_timeout)
            .with_connection_timeout(connection_timeout);
        let renewal = Arc::new(Renewal::new(options)?);
        let hosts = to.hosts.iter().map(|host| Address::new(host, options)).collect::<Result<_, _>>()?;
        Ok(Self {
            connector,
            hosts,
            renewal,
            refusal: if options.credentials.is_empty() { NO_CREDENTIALS } else { WRONG_CREDENTIALS },
            chroot: to.chroot.clone(),
            cluster: to.cluster(),
            session_timeout,
            connection_timeout,
            looks: Looks::default(),
            routes: Looks::default(),
        })
    }

    /// The connect string of the crate, which trims and guesses nothing.
    fn hosts(&self) -> String {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|host| format!("{}://{host}", if host.tls { "tcp+tls" } else { "tcp" }))
            .collect();
        hosts.join(",")
    }

    async fn connect(&self) -> Result<Session, ConnectFault> {
        let runtime = Handle::current();
        let lifeline = Lifeline::new();
        let hosts = self.hosts();
        self.renewal.renew(self.connection_timeout).await;
        let route = || diagnosis::local(&self.routes, &self.hosts, self.connection_timeout);
        // While the session is opened; one that hangs at a name server is not joined by another at every attempt.
        let early = (!self.routes.is_busy()).then(route);
        let connect = self.renewal.apply(self.connector.clone()).connect(&hosts);
        let connect = lifeline::spawning(runtime.clone(), lifeline.clone(), connect);
        // The crate keeps to the session timeout, or to one connection timeout more.
        let within = self.session_timeout + 2 * self.connection_timeout;
        let client = match timeout(within, connect).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(self.fault(error).await),
            Err(_) => return Err(self.fault(Error::Timeout).await),
        };
        let local = early.unwrap_or_else(route).await;
        let chroot = self.chroot.as_deref().filter(|chroot| *chroot != "/").unwrap_or_default();
        let session =
            Session::new(client, chroot, self.connection_timeout, lifeline, runtime.clone(), local)?;
        runtime.spawn(Arc::clone(&self.renewal).follow(session.states(), self.connection_timeout));
        Ok(session)
    }

    async fn fault(&self, error: Error) -> ConnectFault {
        match error {
            Error::AuthFailed => ConnectFault::Auth(self.refusal.to_owned()),
            Error::BadArguments(why) => ConnectFault::Invalid((*why).to_owned()),
            // Only what is wrong with a certificate or a key is found before the first host is tried.
            Error::Custom(error) => ConnectFault::Invalid(error.to_string()),
            _ => {
                let tls = self.renewal.tls();
                let finding =
                    diagnosis::diagnose(&self.looks, &self.hosts, tls.as_ref(), self.connection_timeout);
                ConnectFault::Unavailable(finding.await)
            }
        }
    }
}

impl Connect for ZooKeeper {
    fn servers(&self) -> usize {
        self.0.as_ref().map_or(0, |template| template.hosts.len())
    }

    fn cluster(&self) -> String {
        self.0.as_ref().map_or_else(|_| String::new(), |template| template.cluster.clone())
    }

    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let template = self.0.clone();
        Box::pin(async move {
            let template = template.map_err(ConnectFault::Invalid)?;
            let session = template.connect().await?;
            Ok(Arc::new(session) as Arc<dyn Store>)
        })
    }
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(template) => f.debug_tuple("ZooKeeper").field(&template.hosts).finish(),
            Err(why) => f.debug_tuple("ZooKeeper").field(why).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Credentials;

    #[tokio::test]
    async fn a_server_that_wants_credentials_is_not_said_to_have_refused_ours() {
        let to: ConnectString = "zk1".parse().unwrap();
        let some = Credentials::Digest { user: "fleet".to_owned(), password: "secret".to_owned() };
        for (credentials, words) in [(vec![], "none are configured"), (vec![some], "refused our credentials")]
        {
            let options = Options { credentials, ..Options::default() };
            let fault = Template::new(&to, &options).unwrap().fault(Error::AuthFailed).await;
            assert!(matches!(&fault, ConnectFault::Auth(why) if why.contains(words)), "{fault:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_answer_costs_seconds_however_long_the_session() {
        let to: ConnectString = "zk1,zk2".parse().unwrap();
        let silence = |timeout| {
            let options = Options::default().with_session_timeout(Duration::from_secs(timeout));
            Template::new(&to, &options).unwrap().connection_timeout
        };
        assert_eq!([1, 10, 3_600].map(silence), [1, 2, 8].map(Duration::from_secs));
    }
}
