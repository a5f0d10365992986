//! The order of the instances of a listing.

use std::sync::Arc;

use crate::snapshot::Member;

/// Instances in the order of their ids, of those with one id the youngest first.
pub(super) fn sorted(members: Vec<Arc<Member>>) -> Vec<Arc<Member>> {
    // The beginning of its id stands beside each member: comparing the ids themselves waits for memory, a dozen times for each of
    // 100,000 members.
    let mut keyed: Vec<_> =
        members.into_iter().map(|member| (beginning(member.id.as_str()), member)).collect();
    keyed.sort_by(|(a, one), (b, other)| {
        a.cmp(b).then_with(|| one.id.cmp(&other.id)).then_with(|| age(other).cmp(&age(one)))
    });
    keyed.into_iter().map(|(_, member)| member).collect()
}

/// The order of nodes that claim one id: the last one has it.
pub(super) fn age(member: &Member) -> (i64, Option<&str>) {
    (member.created.0, member.node.as_ref().map(AsRef::as_ref))
}

/// The first 16 bytes of a text as a number: of two texts the one with the smaller number is the smaller one.
fn beginning(text: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_number_is_that_of_a_smaller_text() {
        let long = "10.123.145.167:65";
        let mut texts = vec![
            "",
            "\0",
            "\0\0",
            "a",
            "a\0",
            "a\0b",
            "ab",
            "\u{e4}",
            "\u{ffff}",
            long,
            &long[..16],
            &long[..15],
        ];
        texts.extend(["10.123.145.167:64", "10.123.145.168:1", "[::1]:80", "z"]);
        for one in &texts {
            for other in &texts {
                let order = beginning(one).cmp(&beginning(other));
                assert!(order.is_eq() || order == one.cmp(other), "{one:?} {other:?}");
            }
        }
    }
}
