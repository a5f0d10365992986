//! Unique: an instance is listed once, and no publication repeats the one before it.

use super::look::{Guarantee, Look, Worst};

pub(super) struct Unique;

impl Guarantee for Unique {
    fn check(&mut self, look: &Look<'_>, _: &mut Worst) -> Result<(), String> {
        let now = look.now;
        if !now.instances.is_sorted_by(|(a, ..), (b, ..)| a < b) {
            return Err(format!("an instance is listed twice, or out of order: {:?}", now.instances));
        }
        let Some(before) = look.news().filter(|before| before.revision + 1 == now.revision) else {
            return Ok(());
        };
        let is_news = now.instances != before.instances
            || now.others != before.others
            || now.freshness != before.freshness
            || now.watermark != before.watermark
            || before.snapshot.diff(&now.snapshot).next().is_some();
        if is_news { Ok(()) } else { Err(format!("revision {} repeats the one before it", now.revision)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Trust::Live;
    use super::super::tests::{looks, registered, seen};
    use super::*;

    #[test]
    fn a_repetition_and_a_double_are_found() {
        let then = |second| {
            let first = seen(2, 20, Live, &[("a", 10)]);
            looks(Unique, [(first, registered(&[])), (second, registered(&[]))])
        };
        assert_eq!(then(seen(3, 20, Live, &[("a", 10), ("b", 20)])), Ok(()));
        assert_eq!(then(seen(3, 30, Live, &[("a", 10)])), Ok(()));
        assert_eq!(then(seen(4, 20, Live, &[("a", 10)])), Ok(()), "what was in between was not seen");
        assert!(then(seen(3, 20, Live, &[("a", 10)])).unwrap_err().contains("repeats"));
        assert!(then(seen(3, 20, Live, &[("a", 10), ("a", 10)])).unwrap_err().contains("twice"));
    }
}
