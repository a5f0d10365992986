//! The connect string, checked before anything is touched.
//!
//! A mistake here would otherwise show as an eternal failure to resolve ` host2`, so everything is trimmed and judged at
//! the edge. No name is resolved.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::instance::address;
use crate::instance::check_segment;

/// Where ZooKeeper is: `host:port,host:port/chroot`, as every ZooKeeper client takes it.
///
/// The port defaults to 2181, blanks around commas are trimmed, IPv6 addresses stand in brackets, and each host may be
/// prefixed with `tcp://` or `tls://` (`tcp+tls://` says the same). The chroot follows the last host; everything then
/// happens below it. `Display` gives back an equivalent string.
///
/// ```
/// let to: zk_registry::ConnectString = "zk1, zk2:2182, [2001:db8::1]/fleet".parse()?;
/// assert_eq!(to.to_string(), "zk1:2181,zk2:2182,[2001:db8::1]:2181/fleet");
/// # Ok::<(), zk_registry::Error>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct ConnectString {
    /// At least one.
    pub(crate) hosts: Vec<Host>,
    /// Begins with a slash and does not end with one.
    pub(crate) chroot: Option<String>,
}

/// One server of a connect string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Host {
    /// A DNS name or an IP address, without brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
    /// `None`: TLS if the options carry it.
    pub(crate) tls: Option<bool>,
}

impl FromStr for ConnectString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let last = parts.pop().unwrap_or_default();
        let (last, chroot) = split_chroot(last);
        parts.push(last);
        let alone = parts.len() == 1;
        let hosts = parts.into_iter().map(|part| match part {
            "" if !alone => Err(refuse(text, part, "an empty server: a comma too many")),
            part => parse_host(part).map_err(|why| refuse(text, part, why)),
        });
        let hosts = hosts.collect::<Result<_, _>>()?;
        let chroot = parse_chroot(chroot).map_err(|why| refuse(text, chroot, why))?;
        Ok(Self { hosts, chroot })
    }
}

impl ConnectString {
    /// The servers, sorted, and the chroot: the same for every spelling of the same ZooKeeper.
    pub(crate) fn cluster(&self) -> String {
        let hosts: BTreeSet<_> = self.hosts.iter().map(Host::address).collect();
        let hosts = Vec::from_iter(hosts).join(",");
        hosts + self.chroot.as_deref().unwrap_or_default()
    }
}

impl Host {
    /// `host:port`, in lower case.
    fn address(&self) -> String {
        let (open, close) = if self.name.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.name.to_ascii_lowercase(), self.port)
    }
}

/// Cuts at the first slash that is not part of `scheme://`.
fn split_chroot(host: &str) -> (&str, &str) {
    let start = host.find("://").map_or(0, |at| at + "://".len());
    let end = host[start..].find('/').map_or(host.len(), |at| start + at);
    (host[..end].trim_end(), &host[end..])
}

fn parse_host(host: &str) -> Result<Host, &'static str> {
    let (tls, address) = match host.split_once("://") {
        None => (None, host),
        Some(("tcp", rest)) => (Some(false), rest),
        Some(("tls" | "tcp+tls", rest)) => (Some(true), rest),
        Some(_) => return Err("only `tcp://` and `tls://` are known"),
    };
    if address.contains('/') {
        return Err("the chroot stands once, after the last host");
    }
    if address.contains(';') {
        return Err("commas separate servers, semicolons do not");
    }
    if address.contains(char::is_whitespace) {
        return Err("a host is a name or an IP address, without blanks; commas separate servers");
    }
    let (name, port) = address::split(address)?;
    Ok(Host { name: name.to_owned(), port: port.unwrap_or(DEFAULT_PORT), tls })
}

fn parse_chroot(chroot: &str) -> Result<Option<String>, &'static str> {
    // A blank before the last slash is trimmed as one at the end is: what is shown has to mean the same.
    let chroot = chroot.strip_suffix('/').unwrap_or(chroot).trim_end();
    chroot.split('/').skip(1).try_for_each(check_segment)?;
    Ok((!chroot.is_empty()).then(|| chroot.to_owned()))
}

fn refuse(text: &str, part: &str, why: &str) -> Error {
    let message = format!("connect string {text:?}: {part:?}: {why}; use `host[:port],...[/chroot]`");
    Error::new(ErrorKind::Invalid, message)
}

const DEFAULT_PORT: u16 = 2181;

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Host { name, port, tls }) in self.hosts.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let scheme = match tls {
                None => "",
                Some(false) => "tcp://",
                Some(true) => "tls://",
            };
            let (open, close) = if name.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{scheme}{open}{name}{close}:{port}")?;
        }
        f.write_str(self.chroot.as_deref().unwrap_or_default())
    }
}

impl fmt::Debug for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<ConnectString>().unwrap().to_string()
    }

    #[test]
    fn what_people_write_is_understood() {
        for (text, meaning) in [
            ("zk", "zk:2181"),
            (" zk1:2182 ,\tzk2 ", "zk1:2182,zk2:2181"),
            ("10.0.0.1:2181,[::1]", "10.0.0.1:2181,[::1]:2181"),
            ("tcp://a,tls://b:2281,tcp+tls://[::1]:2281", "tcp://a:2181,tls://b:2281,tls://[::1]:2281"),
            ("a,b/fleet/blue", "a:2181,b:2181/fleet/blue"),
            ("tls://a/fleet/", "tls://a:2181/fleet"),
            ("a/", "a:2181"),
            ("a/fleet / ", "a:2181/fleet"),
        ] {
            assert_eq!(shown(text), meaning, "{text:?}");
        }
    }

    #[test]
    fn every_spelling_of_one_zookeeper_names_one_cluster() {
        let cluster = |text: &str| text.parse::<ConnectString>().unwrap().cluster();
        assert_eq!(cluster("zk2:2182, ZK1,tls://[::1]/fleet"), "[::1]:2181,zk1:2181,zk2:2182/fleet");
        assert_eq!(cluster("zk1,zk2"), cluster("zk2:2181,zk1:2181,zk1"));
        assert_ne!(cluster("zk1,zk2"), cluster("zk1,zk2/fleet"));
    }

    #[test]
    fn a_mistake_is_one_line_that_names_it_and_says_what_is_accepted() {
        for (bad, why) in [
            ("", "empty"),
            ("a,", "empty"),
            (",a", "empty"),
            ("a,,b", "empty"),
            ("/fleet", "empty"),
            (":2181", "empty"),
            ("tls://", "empty"),
            ("a:x", "from 1 to 65535"),
            ("a:0", "from 1 to 65535"),
            ("a:99999", "from 1 to 65535"),
            ("a b", "a name"),
            ("a:1 b:2", "commas separate servers"),
            ("a:1;b:2", "commas separate servers"),
            ("zk1:2181,", "a comma too many"),
            ("::1", "in brackets"),
            ("2001:db8::1:2181", "in brackets"),
            ("[::1", "without"),
            ("[fe80::1%eth0]:2181", "zone id"),
            ("http://a", "only `tcp://`"),
            ("a/x,b", "after the last host"),
            ("a/x,b/x", "after the last host"),
            ("a//x", "a segment is empty"),
            ("a/x//", "a segment is empty"),
            ("a/ /", "a segment is empty"),
            ("a/..", "cannot be a segment"),
            ("a/x\ny", "control"),
        ] {
            let error = bad.parse::<ConnectString>().unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(
                text.contains(why) && text.contains("use `host[:port]") && !text.contains('\n'),
                "{text}"
            );
            assert!(text.contains(&format!("{bad:?}")), "{text}");
        }
    }

    prop_compose! {
        fn host()(name in "[a-z][a-z0-9.-]{0,9}|10\\.0\\.0\\.[0-9]|2001:db8::[0-9a-f]{1,4}", port in 1u16.., tls: Option<bool>) -> Host {
            Host { name, port, tls }
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(
            hosts in prop::collection::vec(host(), 1..5),
            chroot in proptest::option::of("(/[a-zé:@-]{1,5}){1,3}"),
        ) {
            let to = ConnectString { hosts, chroot };
            prop_assert_eq!(&to.to_string().parse::<ConnectString>().unwrap(), &to);
        }

        #[test]
        fn no_text_panics_and_what_is_accepted_is_stable(text in "[a-z0-9:/,\\[\\]%. +\\PC]{0,24}") {
            if let Ok(to) = text.parse::<ConnectString>() {
                prop_assert_eq!(to.to_string().parse::<ConnectString>().unwrap(), to);
            }
        }
    }
}
