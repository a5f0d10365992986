//! The differences that are none of ours to mend, each with its reason. `docs/TESTS-WITHOUT-JAVA.md` has the table.

use super::script::Step;

/// Why the servers may differ after this step; `None`: they may not.
pub(super) fn why(_step: &Step, real: &[String], ours: &[String]) -> Option<&'static str> {
    let equal =
        |cut: fn(&str) -> &str| real.iter().map(|line| cut(line)).eq(ours.iter().map(|line| cut(line)));
    if equal(without_rest_of_refused_multi_read) {
        return Some("the refusal of a multi-read has behind it what was read before");
    }
    None
}

fn without_rest_of_refused_multi_read(line: &str) -> &str {
    match line.split_once(": -5 ") {
        Some((head, _)) if head.contains(" 22 #") || head.contains(": 22 ") => head,
        _ => line,
    }
}
