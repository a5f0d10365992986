//! Identities and permissions, ours and the server's: against a server with TLS and SASL DIGEST-MD5.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use integration_tests::eventually::{always, eventually};
use integration_tests::fair_time::within;
use integration_tests::proxy::Proxy;
use integration_tests::raw::{CreateMode, Error, Raw};
use integration_tests::registries::{options, time};
use integration_tests::replay::init_tracing;
use integration_tests::servers::{Launch, Servers};
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::{
    Acl, Chroot, ConnectionState, Credentials, ErrorKind, Instance, Options, Registration, Registry, Resolve,
    Tls, Withdrawn,
};

const SOON: Duration = Duration::from_secs(20);
const NODE: &str = "/services/time/10.0.0.1:80";

fn open(to: &str, options: Options) -> Registry {
    init_tracing();
    Registry::open(to.parse().unwrap(), options)
}

fn instance() -> Instance {
    Instance::new("10.0.0.1", 80)
}

fn digest(user: &str) -> Credentials {
    Credentials::Digest { user: user.to_owned(), password: "secret".to_owned() }
}

fn sasl(password: &str) -> Credentials {
    Credentials::Sasl { user: Servers::SASL.0.to_owned(), password: password.to_owned() }
}

fn pem(zk: &Servers, file: &str) -> String {
    fs::read_to_string(zk.certificate(file)).unwrap()
}

fn trusting(zk: &Servers, ca: &str) -> Tls {
    Tls::new(pem(zk, ca))
}

fn shown(zk: &Servers, tls: Tls, who: &str) -> Tls {
    tls.with_identity(pem(zk, &format!("{who}.crt")), pem(zk, &format!("{who}.key")))
}

/// `connected`, but an error that waiting may cure is one, too.
async fn outcome(registry: &Registry) -> Result<(), zk_registry::Error> {
    let connection = registry.connection();
    eventually(SOON, "connected, or why not", async || match &*connection.borrow() {
        ConnectionState::Connected { .. } => Some(Ok(())),
        ConnectionState::Connecting { last: Some(error) } | ConnectionState::Failed(error) => {
            Some(Err(error.clone()))
        }
        _ => None,
    })
    .await
}

async fn works(registry: Registry) {
    within(SOON, "connected in time", registry.connected()).await.unwrap();
    let mut registration = registry.register(&time(), instance());
    let zxid = registered(&mut registration).await;
    let mut watch = registry.watch(&time());
    let seen = within(SOON, "seen in time", watch.wait_for(zxid)).await.unwrap();
    assert!(seen.get(registration.id()).is_some());
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
}

async fn registered(registration: &mut Registration) -> zk_registry::Zxid {
    within(SOON, "registered in time", registration.registered()).await.unwrap()
}

/// Fails for a reason that names the server and contains one of `words`, and keeps the private key to itself.
async fn fails(to: SocketAddr, tls: Tls, words: &[&str]) {
    let registry = open(&to.to_string(), options().with_tls(tls));
    let error = outcome(&registry).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
    assert!(text.contains(&to.to_string()), "{text}");
    assert!(words.iter().any(|word| text.contains(word)), "expected one of {words:?} in: {text}");
    assert!(!format!("{text} {error:?} {registry:?}").contains("PRIVATE KEY"));
}

#[tokio::test]
async fn a_private_authority_is_trusted_and_a_foreign_one_is_named() {
    let zk = Launch::secure().start().await;
    let at = zk.tls_address();
    works(open(&at.to_string(), options().with_tls(trusting(&zk, "ca.pem")))).await;
    works(open(&format!("localhost:{}", at.port()), options().with_tls(trusting(&zk, "ca.pem")))).await;
    works(open(&format!("tls://localhost.:{}", at.port()), options().with_tls(trusting(&zk, "ca.pem"))))
        .await;
    fails(at, trusting(&zk, "other-ca.pem"), &["UnknownIssuer"]).await;
    // Every address of this host reaches the server, which has a certificate for 127.0.0.1 only.
    let elsewhere = SocketAddr::from(([0, 0, 0, 0], at.port()));
    fails(elsewhere, trusting(&zk, "ca.pem"), &["not valid for name", "NotValidForName"]).await;
    // The plaintext port does not speak TLS.
    fails(zk.address(1), trusting(&zk, "ca.pem"), &["TLS"]).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_needed() {
    let zk = Launch::secure().require_client_certificate().start().await;
    let (at, trust) = (zk.tls_address(), trusting(&zk, "ca.pem"));
    works(open(&at.to_string(), options().with_tls(shown(&zk, trust.clone(), "client")))).await;
    let refusal = ["alert", "ended the connection"];
    fails(at, trust.clone(), &refusal).await;
    fails(at, shown(&zk, trust, "other-client"), &refusal).await;
}

#[tokio::test]
async fn a_certificate_is_an_identity_that_an_acl_can_name() {
    let zk = Launch::secure().start().await;
    let tls = shown(&zk, trusting(&zk, "ca.pem"), "client");
    let registry = open(&zk.tls_address().to_string(), options().with_tls(tls).with_acl(Acl::ReadOnly));
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    let stranger = zk.raw().await;
    assert!(stranger.get(NODE).await.unwrap().is_some());
    assert_eq!(stranger.set(NODE, b"{}").await, Err(Error::NoAuth));
}

#[tokio::test]
async fn what_tls_cannot_verify_is_refused_before_anything_is_sent() {
    let zk = Launch::secure().start().await;
    // It resolves, to 127.0.0.1, but no certificate can carry it.
    let to = format!("127.1:{}", zk.tls_address().port());
    let error = open(&to, options().with_tls(trusting(&zk, "ca.pem"))).connected().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("127.1"), "{error}");
    let error =
        open("localhost:1", options().with_tls(Tls::new("no certificate"))).connected().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("tls authorities"), "{error}");
}

#[tokio::test]
async fn sasl_lets_in_whoever_knows_the_password() {
    let zk = Launch::secure().start().await;
    let chroot = zk.chroot("sasl").await;
    works(open(&chroot.connect_string(), options().with_credentials(sasl(Servers::SASL.1)))).await;
    let encrypted = options().with_credentials(sasl(Servers::SASL.1)).with_tls(trusting(&zk, "ca.pem"));
    works(open(&zk.tls_address().to_string(), encrypted)).await;
    let registry = open(
        &chroot.connect_string(),
        options().with_credentials(sasl(Servers::SASL.1)).with_acl(Acl::Creator),
    );
    let other: zk_registry::ServiceName = "other".parse().unwrap();
    let mut registration = registry.register(&other, instance());
    registered(&mut registration).await;
    let read = chroot.raw().await.get("/services/other/10.0.0.1:80").await;
    assert_eq!(read, Err(Error::NoAuth));
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_tried_over_and_over() {
    let zk = Launch::secure().start().await;
    let link = Proxy::to(zk.address(1)).await;
    let registry = open(&link.address().to_string(), options().with_credentials(sasl("a guess")));
    let error = within(SOON, "an answer", registry.connected()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert!(!format!("{error:?} {registry:?}").contains("a guess"));
    let tried = link.accepted();
    always(SOON / 4, "no further try", async || link.accepted() <= tried + 1).await;
    assert!(tried <= 3, "{tried} connections");
}

#[tokio::test]
async fn a_server_that_ignores_sasl_is_no_anonymous_session() {
    let chroot = ZooKeeper::shared().chroot("ignored").await;
    let registry = open(&chroot.connect_string(), options().with_credentials(sasl(Servers::SASL.1)));
    let error = within(SOON, "an answer", registry.connected()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    let raw = chroot.raw().await;
    let _registration = registry.register(&time(), instance());
    always(SOON / 10, "nothing is registered", async || raw.list("/services").await.unwrap().is_none()).await;
}

/// A registration with this ACL, a stranger, and a client of the same identity.
async fn guarded(acl: Acl) -> (Registry, Registration, Raw, Registry) {
    let chroot = ZooKeeper::shared().chroot("guarded").await;
    let ours = || options().with_credentials(digest("fleet")).with_acl(acl).with_chroot(Chroot::Expect);
    let registry = open(&chroot.connect_string(), ours());
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    let ally = open(&chroot.connect_string(), ours());
    let mut watch = ally.watch(&time());
    eventually(SOON, "whoever has the identity reads", async || watch.current().len() == 1).await;
    (registry, registration, chroot.raw().await, ally)
}

async fn may_not_write(stranger: &Raw) {
    assert_eq!(stranger.set(NODE, b"{}").await, Err(Error::NoAuth));
    assert_eq!(stranger.delete(NODE).await, Err(Error::NoAuth));
    let sibling = stranger.create("/services/time/intruder", b"{}", CreateMode::Ephemeral).await;
    assert_eq!(sibling, Err(Error::NoAuth));
    let service = stranger.create("/services/intruder", b"", CreateMode::Persistent).await;
    assert_eq!(service, Err(Error::NoAuth));
}

#[tokio::test]
async fn what_is_the_creators_is_nobody_elses() {
    let (_registry, registration, stranger, _ally) = guarded(Acl::Creator).await;
    assert_eq!(stranger.get(NODE).await, Err(Error::NoAuth));
    assert_eq!(stranger.list("/services/time").await, Err(Error::NoAuth));
    may_not_write(&stranger).await;
    registration.update(|attributes| attributes.zone = Some("a".to_owned())).await.unwrap();
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test]
async fn what_is_read_only_can_be_read_by_everybody() {
    let (_registry, registration, stranger, _ally) = guarded(Acl::ReadOnly).await;
    assert!(stranger.get(NODE).await.unwrap().is_some());
    may_not_write(&stranger).await;
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
}
