//! Ordered: revision and watermark only grow, and no snapshot shows an instance older than an earlier one did.

use std::collections::BTreeMap;

use zk_registry::Zxid;

use super::look::{Guarantee, Look, Worst};

/// The newest that was seen of every instance.
#[derive(Default)]
pub(super) struct Ordered(BTreeMap<String, (Zxid, Zxid)>);

impl Guarantee for Ordered {
    fn check(&mut self, look: &Look<'_>, _: &mut Worst) -> Result<(), String> {
        let now = look.now;
        if let Some(before) = look.before {
            if now.revision < before.revision {
                return Err(format!("revision {} after {}", now.revision, before.revision));
            }
            if now.watermark < before.watermark {
                return Err(format!("watermark {} after {}", now.watermark, before.watermark));
            }
            if now.revision == before.revision {
                return Ok(());
            }
        }
        for (id, created, modified) in &now.instances {
            let newest = self.0.entry(id.clone()).or_default();
            if (*created, *modified) < *newest {
                return Err(format!("{id} as of {modified}, created at {created}, after {newest:?}"));
            }
            *newest = (*created, *modified);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Trust::Live;
    use super::super::tests::{looks, registered, seen};
    use super::*;

    fn after(first: super::super::Seen, second: super::super::Seen) -> Result<(), String> {
        looks(Ordered::default(), [first, second].map(|seen| (seen, registered(&[]))))
    }

    #[test]
    fn nothing_goes_back() {
        let first = seen(2, 20, Live, &[("a", 10), ("b", 20)]);
        assert_eq!(after(first.clone(), seen(3, 30, Live, &[("a", 30)])), Ok(()));
        assert!(after(first.clone(), seen(1, 20, Live, &[])).unwrap_err().contains("revision"));
        assert!(after(first.clone(), seen(3, 19, Live, &[])).unwrap_err().contains("watermark"));
        assert!(after(first, seen(3, 30, Live, &[("b", 19)])).unwrap_err().contains("b as of"));
    }
}
