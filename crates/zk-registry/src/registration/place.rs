//! Where the node of a registration stands, and where it should: formats that put data into a name or a directory move it.

use std::num::NonZeroU16;

use crate::error::Error;
use crate::format::sealed::{Child, Decoded, Owner, Reading, Record};
use crate::instance::{Attributes, BasePath, Instance, NodeName, ServiceName};
use crate::options::Source;

/// A node: its directory, its name, and the path that both make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Spot {
    /// As a path below the base.
    pub(super) directory: ServiceName,
    pub(super) name: NodeName,
    pub(super) path: String,
}

/// The places of one registration's node.
#[derive(Debug)]
pub(super) struct Places {
    /// Where it stands, as far as known.
    pub(super) at: Spot,
    pub(super) wanted: Spot,
    /// Where a move puts it whose answer is not known.
    moving: Option<Spot>,
}

/// What follows when the node does not stand where it was looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Elsewhere {
    /// It may stand where it was moved: that is read next.
    Moved,
    /// It stands nowhere.
    Nowhere,
}

impl Spot {
    /// The place that a record names; an error of kind `Invalid` when it lies in ZooKeeper's own part of the tree.
    pub(super) fn new(base: &BasePath, record: &Record) -> Result<Self, Error> {
        let path = base.instance(&record.directory, &record.name)?;
        Ok(Self { directory: record.directory.clone(), name: record.name.clone(), path })
    }

    /// What the node there says with these data, with the weight as it was asked for, and who wrote it.
    pub(super) fn read(
        &self,
        source: &Source,
        service: &ServiceName,
        data: &[u8],
    ) -> Option<(Instance, Option<Owner>)> {
        let (Self { directory, name, .. }, format) = (self, &source.format);
        let directory = format.position(service, directory)?;
        let reading = format.read(service, Child { directory, name, data }).ok()?;
        let Reading::Member(Decoded { instance, owner }) = reading else { return None };
        let unit = format.weight_unit();
        let weight = instance.weight().get().saturating_add(unit / 2) / unit;
        let attributes = Attributes {
            weight: NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN),
            ..instance.attributes().clone()
        };
        Some((instance.with_attributes(attributes), owner))
    }
}

impl Places {
    pub(super) fn new(first: Spot) -> Self {
        Self { at: first.clone(), wanted: first, moving: None }
    }

    /// From now on the node should stand there. One of which nothing was sent yet stands nowhere else.
    pub(super) fn want(&mut self, spot: Spot, is_untouched: bool) {
        if is_untouched {
            self.at = spot.clone();
        }
        self.wanted = spot;
    }

    /// Whether the node stands, or may stand, elsewhere than it should.
    pub(super) fn is_astray(&self) -> bool {
        self.moving.is_some() || self.at != self.wanted
    }

    /// Whether the node stands there, may, or should.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        [Some(&self.at), Some(&self.wanted), self.moving.as_ref()]
            .into_iter()
            .flatten()
            .map(|spot| spot.path.as_str())
    }

    /// A move to where the node should stand is sent.
    pub(super) fn sending(&mut self) {
        self.moving = Some(self.wanted.clone());
    }

    /// The last write was executed.
    pub(super) fn written(&mut self) {
        if let Some(spot) = self.moving.take() {
            self.at = spot;
        }
    }

    /// The move that was sent was not executed.
    pub(super) fn stayed(&mut self) {
        self.moving = None;
    }

    /// The node does not stand where it was looked for.
    pub(super) fn missing(&mut self) -> Elsewhere {
        match self.moving.take() {
            Some(spot) => {
                self.at = spot;
                Elsewhere::Moved
            }
            None => {
                self.at = self.wanted.clone();
                Elsewhere::Nowhere
            }
        }
    }
}
