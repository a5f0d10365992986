//! Beside peers in Python that PyPI has: what they write we read, and what we write they read. `.ci/peers` runs these tests.

use std::num::NonZeroU16;
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::peers;
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::registries::options;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::format::named;
use zk_registry::{Instance, Member, Registry, Resolve, ServiceName, ServiceWatch, Status, Withdrawn};

const SOON: Duration = Duration::from_secs(60);

fn registry(chroot: &Chroot, base: &str, format: &str) -> Registry {
    let options = options().with_base(base.parse().unwrap()).with_format(named(format).unwrap());
    Registry::open(chroot.connect_string().parse().unwrap(), options)
}

fn interface() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

fn weight(weight: u16) -> NonZeroU16 {
    NonZeroU16::new(weight).unwrap()
}

/// The only member, once there is one.
async fn only(watch: &mut ServiceWatch) -> Member {
    eventually(SOON, "one member", async || watch.current().len() == 1).await;
    let snapshot = watch.current();
    assert_eq!((snapshot.rejected().len(), snapshot.shadows()), (0, 0));
    Member::clone(snapshot.instances().next().unwrap())
}

#[tokio::test]
async fn apache_dubbo_and_we_find_each_other() {
    let Some(dubbo) = peers::in_python("apache_dubbo") else { return };
    let chroot = ZooKeeper::shared().chroot("apache-dubbo").await;
    let to = chroot.connect_string();
    let (server, root) = (to.split('/').next().unwrap(), format!("{}/dubbo", chroot.path()));
    let ours = registry(&chroot, "/dubbo", "dubbo:group=g,version=1.0.0,protocol=tri");

    let instance = Instance::new("10.0.0.1", 50051).with_zone("a").with_metadata("note", "a b,é=~*");
    let mut registration = ours.register(&interface(), instance.with_weight(weight(2)));
    registration.registered().await.unwrap();
    let reader = dubbo.clone().args(["watch", server, &root, "com.foo.Bar"]).start();
    let stated = "group=g note=a b,é=~* version=1.0.0 weight=200 zone=a";
    reader.says(&format!("providers tri://10.0.0.1:50051/com.foo.Bar {stated}"), SOON).await;
    registration.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    reader.says(&format!("providers tri://10.0.0.1:50051/com.foo.Bar disabled=true {stated}"), SOON).await;
    let told = reader.stdout().all();
    assert!(told.iter().all(|line| line.text != "providers none"), "there was a gap: {told:?}");
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    reader.says("providers none", SOON).await;

    let url =
        "tri://10.0.0.2:50052/com.foo.Bar?group=g&version=1.0.0&weight=300&note=x%2Cy&interface=com.foo.Bar";
    let writer = dubbo.args(["register", server, &root, url]).start();
    writer.says("registered", SOON).await;
    let mut watch = ours.watch(&interface());
    let theirs = only(&mut watch).await;
    assert_eq!((theirs.address().as_str(), theirs.weight().get()), ("10.0.0.2:50052", 300));
    assert_eq!(theirs.metadata()["note"], "x%2Cy", "it encodes each value, and then all of them");
    drop(writer);
    eventually(SOON, "its end is seen", async || watch.current().is_empty()).await;
}

#[tokio::test]
async fn dubbo_python3_consumes_what_we_provide_and_obeys_the_same_overrides() {
    let Some(dubbo) = peers::in_python("dubbo_python3") else { return };
    let chroot = ZooKeeper::shared().chroot("dubbo-python3").await;
    let ours = registry(&chroot, "/dubbo", "dubbo:group=g,version=1.0.0,protocol=jsonrpc");
    let raw = chroot.raw().await;
    raw.mkdir("/dubbo/com.foo.Bar/configurators").await.unwrap();
    let mut watch = ours.watch(&interface());
    watch.live().await.unwrap();
    let mut registration = ours.register(&interface(), Instance::new("10.0.0.1", 8080));
    registration.registered().await.unwrap();

    let to = chroot.connect_string();
    let consumer = dubbo.args(["consume", &to, "com.foo.Bar", "g", "1.0.0"]).start();
    consumer.says("providers 10.0.0.1:8080 weight 100", SOON).await;
    assert_eq!(raw.list("/dubbo/com.foo.Bar/consumers").await.unwrap().unwrap().len(), 1);
    assert_eq!(only(&mut watch).await.weight().get(), 100);

    let weighed = override_of(&raw, "weight=50").await;
    consumer.says("providers 10.0.0.1:8080 weight 50", SOON).await;
    eventually(SOON, "so do we", async || {
        watch.current().instances().all(|member| member.weight().get() == 50)
    })
    .await;
    raw.delete(&weighed).await.unwrap();
    let disabled = override_of(&raw, "disabled=true").await;
    consumer.says("providers 10.0.0.1:8080 weight 100 disabled", SOON).await;
    eventually(SOON, "so do we", async || {
        let status = |member: &Member| (member.weight().get(), member.status());
        watch.current().instances().all(|member| status(member) == (100, Status::Draining))
    })
    .await;
    raw.delete(&disabled).await.unwrap();
    eventually(SOON, "it is up again", async || {
        watch.current().instances().all(|member| member.status() == Status::Up)
    })
    .await;
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    consumer.says("providers none", SOON).await;
}

/// An operator overrides a parameter of the provider; the node.
async fn override_of(raw: &Raw, parameter: &str) -> String {
    let url = "override%3A%2F%2F10.0.0.1%3A8080%2Fcom.foo.Bar%3Fcategory%3Dconfigurators%26dynamic%3Dfalse\
               %26enabled%3Dtrue%26group%3Dg%26version%3D1.0.0";
    let path = format!("/dubbo/com.foo.Bar/configurators/{url}%26{}", parameter.replace('=', "%3D"));
    raw.create(&path, b"", CreateMode::Persistent).await.unwrap();
    path
}

#[tokio::test]
async fn twitter_serverset_and_we_find_each_other() {
    let Some(twitter) = peers::in_python("twitter_serverset") else { return };
    let chroot = ZooKeeper::shared().chroot("twitter").await;
    let ours = registry(&chroot, "/services", "serverset");
    let to = chroot.connect_string();
    let mut registration =
        ours.register(&interface(), Instance::new("10.0.0.1", 8080).with_ssl_port(8443).with_zone("a"));
    registration.registered().await.unwrap();
    let reader = twitter.clone().args(["watch", &to, "/services/com.foo.Bar"]).start();
    reader.says("members 10.0.0.1:8080 ALIVE https=10.0.0.1:8443", SOON).await;

    let path = "/services/com.foo.Bar";
    let writer = twitter.args(["register", &to, path, "10.0.0.2", "8081"]).start();
    writer.says("registered", SOON).await;
    let both = "10.0.0.1:8080 ALIVE https=10.0.0.1:8443, 10.0.0.2:8081 ALIVE admin=10.0.0.2:8082";
    reader.says(&format!("members {both}"), SOON).await;
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    reader.says("members 10.0.0.2:8081 ALIVE", SOON).await;
    let mut watch = ours.watch(&interface());
    let theirs = only(&mut watch).await;
    assert_eq!((theirs.address().as_str(), theirs.status()), ("10.0.0.2:8081", Status::Up));
    assert_eq!(theirs.metadata()["shard"], "7");
    let admin = registry(&chroot, "/services", "serverset:endpoint=admin");
    assert_eq!(only(&mut admin.watch(&interface())).await.address(), "10.0.0.2:8082");
    drop(writer);
    eventually(SOON, "its end is seen", async || watch.current().is_empty()).await;
}
