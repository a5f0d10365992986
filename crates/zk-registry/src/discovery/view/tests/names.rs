//! A view of a format that names its nodes otherwise than its instances.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::discovery::view::{Batch, Read, View};
use crate::error::Error;
use crate::format::sealed::{Carries, Codec, Decoded, NodeKind, Owner};
use crate::format::{Curator, Format};
use crate::instance::{Instance, InstanceId, NodeName, ServiceName};
use crate::options::{RecordLimits, Suspicion};
use crate::store::{Fault, Node, Stat};

/// The records of `curator` under numbered nodes: `member_` and a number, as serversets have them.
#[derive(Debug)]
struct Numbered;

impl Format for Numbered {
    fn name(&self) -> &'static str {
        "numbered"
    }
}

impl Codec for Numbered {
    fn node_name(&self, id: &InstanceId) -> NodeName {
        format!("member_{}", id.as_str().len()).parse().unwrap()
    }

    fn encode(
        &self,
        service: &ServiceName,
        id: &InstanceId,
        instance: &Instance,
        owner: &Owner,
        registered: SystemTime,
    ) -> Result<Vec<u8>, Error> {
        Curator.encode(service, id, instance, owner, registered)
    }

    fn decode(&self, service: &ServiceName, name: &NodeName, data: &[u8]) -> Result<Decoded, String> {
        let Decoded { instance, owner } = Curator.decode(service, name, data)?;
        let id = instance.address().parse().map_err(|error: Error| error.to_string())?;
        Ok(Decoded { instance: instance.with_id(id), owner })
    }

    fn is_namespace(&self, node: NodeKind, data: &[u8]) -> bool {
        Curator.is_namespace(node, data)
    }

    fn carries(&self) -> Carries {
        Curator.carries()
    }
}

fn node(port: u16, zxid: i64) -> Node {
    let data = format!(r#"{{"name":"time","id":"x","address":"10.0.0.1","port":{port}}}"#);
    Node { data: data.into(), stat: Stat { czxid: zxid, mzxid: zxid, owner: zxid, ..Stat::default() } }
}

fn batch(items: Vec<(&str, Result<Node, Fault>)>, children: u32) -> Batch {
    let items = items.into_iter().map(|(name, answer)| Read::answer(name.to_owned(), answer)).collect();
    Batch { items, parent: Some(Stat { children, ..Stat::default() }), gapless: true }
}

#[test]
fn an_instance_is_listed_by_its_id_and_goes_with_its_node() {
    let now = Instant::now();
    let service: ServiceName = "time".parse().unwrap();
    let mut view = View::new(
        service,
        Arc::new(Numbered),
        Suspicion::Forget,
        RecordLimits::default(),
        Duration::from_secs(10),
    );
    view.begin_resync(now);
    let both = vec![("member_1", Ok(node(1, 1))), ("member_2", Ok(node(2, 2)))];
    assert!(view.listed(batch(both, 2), now).is_empty());
    let ids = |view: &mut View| -> Vec<String> {
        view.publish().unwrap().instances().map(|member| member.id().to_string()).collect()
    };
    assert_eq!(ids(&mut view), ["10.0.0.1:1", "10.0.0.1:2"]);

    view.mark("member_1", now);
    view.take_marks(1);
    assert_eq!(view.loaded(batch(vec![("member_1", Err(Fault::NoNode))], 1), now), ["member_1"]);
    assert_eq!(ids(&mut view), ["10.0.0.1:2"]);

    view.begin_resync(now);
    assert_eq!(view.listed(batch(Vec::new(), 0), now), ["member_2"], "the node changed, whatever the id is");
    assert!(ids(&mut view).is_empty());
}
