//! Bookmarkable: every change up to the watermark is in the snapshot, live or not.

use super::look::{Guarantee, Look, Worst};

pub(super) struct Bookmarkable;

impl Guarantee for Bookmarkable {
    fn check(&mut self, look: &Look<'_>, _: &mut Worst) -> Result<(), String> {
        let watermark = look.now.watermark;
        for (id, zxid) in look.expected.registered.iter().filter(|(_, zxid)| **zxid <= watermark) {
            match look.now.modified(id) {
                Some(modified) if modified >= *zxid => {}
                listed => {
                    return Err(format!(
                        "registered at {zxid}, and {listed:?} at watermark {watermark}: {id}"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Trust::{Live, Not};
    use super::super::tests::{looks, registered, seen};
    use super::*;

    #[test]
    fn a_watermark_that_claims_too_much_is_found() {
        let look = |seen| looks(Bookmarkable, [(seen, registered(&[("a", 5)]))]);
        assert_eq!(look(seen(1, 5, Live, &[("a", 5)])), Ok(()));
        assert_eq!(look(seen(1, 4, Live, &[])), Ok(()));
        assert!(look(seen(1, 5, Live, &[])).is_err());
        assert!(look(seen(1, 5, Not, &[("a", 4)])).is_err(), "an older record");
    }
}
