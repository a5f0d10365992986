//! The nodes that ZooKeeper holds below a service, read past everything that is tested, and how a snapshot differs from them.
//!
//! It knows only the few kinds of [`TestRecord`] that the tests write, and judges them by the documented rules, not by the
//! library's code.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, RngExt};
use zk_registry::{Snapshot, Zxid};

use crate::raw::{Error, Raw};

/// The data that a test writes into a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestRecord {
    /// Nothing: rejected when a session owns the node, else a namespace.
    Empty,
    /// An instance at 10.0.0.1 and this port.
    Instance(u16),
    /// No record of any format: rejected.
    Nonsense,
}

impl TestRecord {
    /// Mostly instances.
    pub fn draw(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..20) {
            0 => Self::Empty,
            1 => Self::Nonsense,
            _ => Self::Instance(rng.random_range(1..=u16::MAX)),
        }
    }

    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Instance(port) => format!("{{\"address\":\"10.0.0.1\",\"port\":{port}}}").into_bytes(),
            Self::Nonsense => b"{\"address\":".to_vec(),
        }
    }
}

/// A service at a moment without writes.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Every child that is an instance: the write that created it, the write that changed it last, its data.
    instances: BTreeMap<String, (i64, i64, Vec<u8>)>,
    rejected: BTreeSet<String>,
    /// The last change of the service that can be told from what is there.
    pub zxid: Zxid,
}

impl Truth {
    /// Reads the children of `path`, after the server caught up with its leader.
    ///
    /// # Errors
    ///
    /// Those of the client crate.
    pub async fn read(raw: &Raw, path: &str) -> Result<Self, Error> {
        raw.sync(path).await?;
        let Some((_, parent)) = raw.get(path).await? else { return Ok(Self::default()) };
        let names = raw.list(path).await?.unwrap_or_default();
        let paths: Vec<_> = names.iter().map(|name| format!("{path}/{name}")).collect();
        let mut truth = Self { zxid: Zxid(parent.pzxid), ..Self::default() };
        for (name, node) in names.into_iter().zip(raw.get_many(&paths).await?) {
            let Some((data, stat)) = node else { continue };
            truth.zxid = truth.zxid.max(Zxid(stat.mzxid));
            if data.is_empty() && stat.ephemeral_owner == 0 {
                continue; // a namespace
            }
            if data.ends_with(b"}") {
                truth.instances.insert(name, (stat.czxid, stat.mzxid, data));
            } else {
                truth.rejected.insert(name);
            }
        }
        Ok(truth)
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// The names of the instances.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.instances.keys().map(String::as_str)
    }

    /// In which respects the snapshot is not the truth, in words; nothing where it is.
    pub fn differences(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut found = Vec::new();
        for member in snapshot.instances() {
            let id = member.id().as_str();
            match self.instances.get(id) {
                None => found.push(format!("{id} is listed but not there")),
                Some((created, modified, _)) => {
                    if (member.created().0, member.modified().0) != (*created, *modified) {
                        found.push(format!("{id} is listed as it was at {}", member.modified()));
                    }
                }
            }
            if let Some((_, _, data)) = self.instances.get(id)
                && data.starts_with(b"{\"address\"")
                && *data != TestRecord::Instance(member.port()).bytes()
            {
                found.push(format!("{id} is listed with port {}", member.port()));
            }
        }
        let listed: BTreeSet<&str> = snapshot.instances().map(|member| member.id().as_str()).collect();
        if listed.len() != snapshot.len() {
            found.push("an instance is listed twice".to_owned());
        }
        found.extend(self.names().filter(|id| !listed.contains(id)).map(|id| format!("{id} is missing")));
        let rejected: BTreeSet<String> = snapshot.rejected().iter().map(|one| one.id.clone()).collect();
        for id in rejected.symmetric_difference(&self.rejected) {
            found.push(format!("{id} is rejected in one of the two only"));
        }
        found
    }
}
