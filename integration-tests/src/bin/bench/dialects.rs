//! A fleet whose records stand in the names of its nodes, beside one whose records are their data.

use std::time::Instant;

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Subject, Unit, World};
use integration_tests::raw::Raw;
use zk_registry::format::named;
use zk_registry::{Options, Resolve};

use crate::fleet::{LargeFleet, SOON, host, open_with, time};
use crate::grouped::grouped;
use crate::view::cold;

pub(crate) const SUBJECT: Subject = Subject {
    name: "dialects",
    title: "to see a fleet of another dialect",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let chroot = world.zookeeper().await.chroot("dialects").await;
    let curator = LargeFleet::of(SIZE, &chroot).await;
    let providers = (0..SIZE).map(|n| (provider(n), ADDRESS.to_vec()));
    curator.raw.mkdir(PROVIDERS).await.expect("the chroot is ours");
    curator.raw.mkdir(CONFIGURATORS).await.expect("the chroot is ours");
    curator.raw.create_many(providers).await.expect("the chroot is ours");
    let ours = async || dubbo(&curator.to).await;
    let (ours, beside) = world.runs.beside(ours, async || cold::ours(&curator, SIZE).await.0).await;
    let (again, floor) = world
        .runs
        .beside(
            async || dubbo(&curator.to).await,
            async || cold::raw_reads(&curator.raw, PROVIDERS, SIZE).await,
        )
        .await;
    disband(&curator.raw).await;
    let what = format!(
        "cold start, {} Dubbo providers, names of {} bytes, from `watch`",
        grouped(SIZE),
        provider(0).len() - PROVIDERS.len() - 1
    );
    let reference = format!("as many instances of `curator`, records of {} bytes", curator.record(0).len());
    curator.disband(SIZE).await;
    vec![
        Row::new(what.clone(), Unit::Time, again.into_iter().collect())
            .beside("raw list and multi-reads, not decoded", floor.into_iter().collect()),
        Row::new(what, Unit::Time, ours.into_iter().collect())
            .beside(reference, beside.into_iter().collect())
            .bound(Bound::RatioAtMost(1.5)),
    ]
}

/// From `watch` to a live snapshot.
async fn dubbo(to: &str) -> f64 {
    let format = named("dubbo:group=g,version=1.0.0").expect("it is a format");
    let base = "/dubbo".parse().expect("it is a path");
    let registry = open_with(to, Options::default().with_base(base).with_format(format)).await;
    let start = Instant::now();
    let mut watch = registry.watch(&time());
    let found = watch.live().await.expect("the registry is open").len();
    let took = start.elapsed();
    assert_eq!(found, SIZE, "live means complete");
    registry.close(SOON).await;
    took.as_nanos() as f64
}

/// The node of the `n`th provider, named as Dubbo 3.2 for Java names it.
fn provider(n: usize) -> String {
    let address = format!("dubbo%3A%2F%2F{}%3A20880%2Ftime%3F", host(n));
    format!("{PROVIDERS}/{address}{PARAMETERS}")
}

async fn disband(raw: &Raw) {
    raw.delete_many((0..SIZE).map(provider)).await.expect("they are there");
}

const SIZE: usize = 10_000;
const PROVIDERS: &str = "/dubbo/time/providers";
const CONFIGURATORS: &str = "/dubbo/time/configurators";
/// What Java's clients put into a node unless they are told otherwise: their own address.
const ADDRESS: &[u8] = b"10.0.0.1";
const PARAMETERS: &str = "anyhost%3Dtrue%26application%3Ddemo-provider%26background%3Dfalse%26category%3Dproviders\
    %26deprecated%3Dfalse%26dubbo%3D2.0.2%26dynamic%3Dtrue%26generic%3Dfalse%26group%3Dg%26interface%3Dtime\
    %26methods%3DsayHello%2CsayHelloAsync%26pid%3D4404%26prefer.serialization%3Dfastjson2%2Chessian2%26release%3D3.2.0\
    %26revision%3D1.0.0%26service-name-mapping%3Dtrue%26side%3Dprovider%26timestamp%3D1663550532949%26version%3D1.0.0\
    %26warmup%3D600000%26weight%3D200";
