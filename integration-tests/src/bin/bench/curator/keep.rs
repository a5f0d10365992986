//! To register, and to stay registered when the link is cut and when the process stands still.

use integration_tests::bench::{Row, Unit, World};
use integration_tests::raw::Raw;
use integration_tests::zookeeper::Chroot;

use super::driver::Curator;
use super::registrant;
use super::rows::{SESSION, few, row, samples};
use crate::fleet::{SOON, open};
use crate::registration::back::Expired;
use crate::registration::blip::{CutLink, back, register};
use crate::registration::many;

pub(super) async fn registered(world: &World, curator: &mut Curator) -> Row {
    let chroot = prepared(world).await;
    let to = chroot.connect_string();
    let ours = async || many::ours(&chroot, 1_000).await;
    let theirs = async || {
        curator.open(&to, SESSION).await;
        let took = curator.register(1_000).await;
        curator.close().await;
        took
    };
    let found = samples(few(world).beside(ours, theirs).await);
    row("1,000 instances, from the first to be registered to the last that is", Unit::Time, found, curator)
}

/// Membership events that another client sees of a cut of a second.
pub(super) async fn cut(world: &World, curator: &mut Curator) -> Row {
    let (link, their_link) = (CutLink::new(world).await, CutLink::new(world).await);
    let registry = open(&link.to()).await;
    let registrations = register(&registry, INSTANCES).await;
    curator.open(&their_link.to(), SESSION).await;
    curator.register(INSTANCES).await;
    let (link, their_link) = (link.watched().await, their_link.watched().await);

    let ours = async || link.cut(async || back(&registry, &registrations).await).await.events;
    let mut cuts = 0;
    let theirs = async || {
        cuts += 1;
        their_link.cut(async || curator.reconnected(cuts).await).await.events
    };
    let found = samples(few(world).beside(ours, theirs).await);
    registry.close(SOON).await;
    curator.close().await;
    let what =
        format!("cut of 1 s in a session of 10 s, {INSTANCES} instances: events seen by another client");
    row(what, Unit::Count, found, curator)
}

/// From the thaw of a process to its instance's return, after the server has expired its session.
pub(super) async fn frozen(world: &World, curator: &mut Curator) -> Row {
    let chroots = [prepared(world).await, prepared(world).await];
    let [ours, theirs] = [chroots[0].raw().await, chroots[1].raw().await];
    let registrant = registrant::start(&chroots[0].connect_string()).await;
    curator.open(&chroots[1].connect_string(), registrant::SESSION).await;
    curator.register(1).await;
    let (path, their_path) = (only(&ours).await, only(&theirs).await);

    let found = few(world).alone(async || {
        // Together until then: it takes seconds.
        let (ours, theirs) = tokio::join!(
            Expired::new(&ours, &path, || registrant.freeze()),
            Expired::new(&theirs, &their_path, || curator.freeze()),
        );
        (ours.back().await, theirs.back().await)
    });
    let found = found.await.into_iter().unzip();
    curator.close().await;
    row("process frozen past its session: from the thaw to listed again", Unit::Time, samples(found), curator)
}

/// A subtree with the service in it.
async fn prepared(world: &World) -> Chroot {
    let chroot = world.zookeeper().await.chroot("keep").await;
    let setup = chroot.raw().await;
    setup.mkdir("/services/time").await.expect("the chroot is ours");
    setup.close().await;
    chroot
}

/// Where the only instance is.
async fn only(raw: &Raw) -> String {
    let names = raw.list("/services/time").await.expect("the server is up").unwrap_or_default();
    assert_eq!(names.len(), 1, "{names:?}");
    format!("/services/time/{}", names[0])
}

const INSTANCES: u16 = 3;
