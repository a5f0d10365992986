//! The rules of paths: where the parent is, and which names a node may have.

/// The path of the parent, by ZooKeeper's rule: what stands before the last slash. Empty means the root; `None`: no slash.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rfind('/').map(|at| &path[..at])
}

/// The last name of the path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path under which the server keeps a node: the root has two names.
pub(super) fn key(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Whether a node may have this path.
pub(super) fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else { return false };
    rest.split('/').all(|name| !matches!(name, "" | "." | "..")) && !path.chars().any(is_forbidden)
}

/// Characters above U+FFFF are two units in UTF-16, each of which is forbidden.
fn is_forbidden(character: char) -> bool {
    matches!(u32::from(character),
        0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff | 0x1_0000..)
}

/// Whether the node belongs to the server itself, so that no request may delete it.
pub(super) fn is_special(path: &str) -> bool {
    matches!(path, "/" | "/zookeeper" | "/zookeeper/config" | "/zookeeper/quota")
}

/// The path and those of its ancestors, the nearest first, the root last.
pub(super) fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key(path)), |path| match *path {
        "/" => None,
        path => Some(key(parent(path).unwrap_or_default())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_those_of_the_server() {
        for path in ["/", "/a", "/a/b", "/a.b", "/ä", "/a b"] {
            assert!(is_valid(path), "{path:?}");
        }
        for path in
            ["", "a", "/a/", "//a", "/a//b", "/.", "/a/..", "/a\u{1}", "/a\u{7f}", "/\u{e000}", "/\u{1f600}"]
        {
            assert!(!is_valid(path), "{path:?}");
        }
        assert_eq!((parent("/a/b"), parent("/a"), parent("a")), (Some("/a"), Some(""), None));
        assert_eq!(upwards("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(upwards("/").collect::<Vec<_>>(), ["/"]);
    }
}
