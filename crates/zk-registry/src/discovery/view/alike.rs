//! Attributes that many instances of a service state alike, kept once: their zone and metadata are what an instance takes
//! most memory for.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::instance::{Attributes, Instance};

/// The attributes that were stated lately, each different from the others.
#[derive(Debug, Default)]
pub(super) struct Alike {
    latest: VecDeque<Arc<Attributes>>,
}

/// How many are remembered: each costs an instance that states others a comparison.
const MOST: usize = 8;

impl Alike {
    /// Lets an instance have the attributes of an earlier one, if they are equal.
    pub(super) fn share(&mut self, instance: &mut Instance) {
        match self.latest.iter().find(|known| ***known == *instance.attributes()) {
            Some(known) => instance.share_attributes(known),
            None => {
                if self.latest.len() == MOST {
                    self.latest.pop_front();
                }
                self.latest.push_back(instance.shared_attributes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_attributes_of_a_few_kinds_are_kept_once() {
        let mut alike = Alike::default();
        let mut stated = |zone: usize| {
            let mut instance =
                Instance::new("h", 1).with_zone(zone.to_string()).with_metadata("version", "1");
            let told = instance.clone();
            alike.share(&mut instance);
            assert_eq!(instance, told);
            instance
        };
        let first: Vec<_> = (0..MOST).map(&mut stated).collect();
        for (zone, first) in first.iter().enumerate().rev() {
            assert!(std::ptr::eq(stated(zone).attributes(), first.attributes()));
        }
        // One more kind, and the oldest is forgotten.
        stated(MOST);
        assert!(!std::ptr::eq(stated(0).attributes(), first[0].attributes()));
        assert_eq!(alike.latest.len(), MOST);
    }
}
