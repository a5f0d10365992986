//! The order in which children are listed. Clients may not rely on one, and their tests do: it is Apache ZooKeeper's, where the
//! names are in a Java `HashSet` that began with eight buckets.

use std::collections::BTreeMap;

/// A node's children, each with its place in the order of creation.
pub(super) type Children = BTreeMap<Box<str>, i32>;

/// The names as Apache ZooKeeper lists them; `widest`: the most that there were at once.
pub(super) fn listed(children: &Children, widest: u32) -> Vec<String> {
    // The set doubles its buckets when more than three quarters are taken, and never halves them.
    let mut buckets = 8_u32;
    while widest > buckets / 4 * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    let mut names: Vec<_> =
        children.iter().map(|(name, place)| (hash(name) & (buckets - 1), *place, name)).collect();
    names.sort_unstable();
    names.into_iter().map(|(_, _, name)| name.to_string()).collect()
}

/// What a `HashSet` makes of Java's hash of a string.
fn hash(name: &str) -> u32 {
    let hash =
        name.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<const N: usize>(names: [&str; N], widest: u32) -> Vec<String> {
        let children = (0..).zip(names).map(|(place, name)| (name.into(), place)).collect();
        listed(&children, widest)
    }

    #[test]
    fn children_come_in_the_order_of_a_java_hash_set() {
        // As Apache ZooKeeper 3.9.3 lists them.
        assert_eq!(in_order(["one", "two"], 2), ["two", "one"]);
        assert_eq!(
            in_order(["b", "a", "i"], 3),
            ["a", "i", "b"],
            "in one bucket in the order of their creation"
        );
        assert_eq!(in_order(["b", "i", "a"], 3), ["i", "a", "b"]);
    }

    #[test]
    fn the_buckets_of_the_most_children_there_were_stay() {
        // `a` is 97 and `i` is 105: one bucket of eight, two of sixteen.
        assert_eq!(in_order(["i", "a"], 7), ["a", "i"]);
    }
}
