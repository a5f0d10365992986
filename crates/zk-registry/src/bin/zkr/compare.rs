//! How two states of one instance differ, in words.

use zk_registry::Instance;

use crate::shown::pairs;

/// What is different in `new`, each as `name old -> new`. Empty where only the node was written again.
pub(crate) fn differences(old: &Instance, new: &Instance) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, old: String, new: String| {
        if old != new {
            found.push(format!("{what} {old} -> {new}"));
        }
    };
    let or_none = |text: Option<&str>| text.unwrap_or("none").to_owned();
    compare("address", old.address(), new.address());
    compare("status", old.status().to_string(), new.status().to_string());
    compare("weight", old.weight().to_string(), new.weight().to_string());
    compare("zone", or_none(old.zone()), or_none(new.zone()));
    let port = |port: Option<u16>| port.map_or_else(|| "none".to_owned(), |port| port.to_string());
    compare("TLS port", port(old.ssl_port()), port(new.ssl_port()));
    let metadata = |instance: &Instance| format!("{{{}}}", pairs(instance.metadata()));
    compare("metadata", metadata(old), metadata(new));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named() {
        let old = Instance::new("a", 1);
        assert_eq!(differences(&old, &old), [""; 0]);
        let new = Instance::new("a", 2).with_zone("z").with_metadata("k", "v");
        assert_eq!(differences(&old, &new), ["address a:1 -> a:2", "zone none -> z", "metadata {} -> {k=v}"]);
    }
}
