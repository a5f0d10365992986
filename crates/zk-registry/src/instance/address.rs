//! `host`, `host:port` and `[v6]:port`: how an address is split, in node names and connect strings alike.
//!
//! Nothing is resolved here, and nothing says whether a name exists.

use std::net::Ipv6Addr;

/// The host (IPv6 without its brackets) and the port, if there is one; or what is wrong with the address.
pub(crate) fn split(address: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a `[` without its `]`")?;
            if host.contains('%') {
                return Err("an IPv6 address with a zone id means nothing to other hosts");
            }
            host.parse::<Ipv6Addr>().map_err(|_| "only an IPv6 address stands in brackets")?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':').ok_or("only `:port` may follow the `]`")?),
            };
            (host, port)
        }
        None => {
            let (host, port) = match address.split_once(':') {
                Some((_, rest)) if rest.contains(':') => {
                    return Err("an IPv6 address stands in brackets, `[::1]:2181`");
                }
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            };
            if host.is_empty() {
                return Err("the host is empty");
            }
            if !host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')) {
                return Err("a host is a name or an IP address");
            }
            (host, port)
        }
    };
    Ok((host, port.map(parse_port).transpose()?))
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| port.parse().ok()).flatten().filter(|port| *port != 0);
    port.ok_or("a port is a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_into_host_and_port() {
        assert_eq!(split("zk"), Ok(("zk", None)));
        assert_eq!(split("zk-1.example:2181"), Ok(("zk-1.example", Some(2181))));
        assert_eq!(split("[2001:db8::1]"), Ok(("2001:db8::1", None)));
        assert_eq!(split("[::1]:80"), Ok(("::1", Some(80))));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (bad, why) in [
            ("", "empty"),
            (":80", "empty"),
            ("::1", "brackets"),
            ("fe80::1:80", "brackets"),
            ("[::1", "without"),
            ("[zk]:80", "only an IPv6"),
            ("[fe80::1%eth0]:80", "zone id"),
            ("[::1]80", "follow"),
            ("zk:", "port"),
            ("zk:0", "port"),
            ("zk:+80", "port"),
            ("zk:65536", "port"),
            ("zk 1:80", "a name"),
            ("user@zk:80", "a name"),
        ] {
            let reason = split(bad).unwrap_err();
            assert!(reason.contains(why), "{bad:?}: {reason}");
        }
    }
}
