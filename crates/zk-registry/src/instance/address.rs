//! `host`, `host:port` and `[v6]:port`: how an address is split, in node names and connect strings alike.
//!
//! Nothing is resolved here, and nothing says whether a name exists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Whether a host is the unspecified address, in any spelling that the C library's resolver takes.
pub(crate) fn is_unspecified(host: &str) -> bool {
    // Of a hundred thousand hosts nearly none gets past this line.
    host.starts_with(['0', ':', '[']) && as_ip(host).is_some_and(|ip| ip.to_canonical().is_unspecified())
}

fn as_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let without_zone = bare.split_once('%').map_or(bare, |(ip, _)| ip);
    without_zone.parse().ok().map(IpAddr::V6).or_else(|| as_ipv4(bare).map(IpAddr::V4))
}

/// An IPv4 address as `inet_aton` reads it: up to four numbers, decimal, octal or hexadecimal, the last of which fills all the
/// bytes that are left.
fn as_ipv4(host: &str) -> Option<Ipv4Addr> {
    let mut numbers = Vec::with_capacity(4);
    for part in host.split('.') {
        numbers.push(number(part)?);
    }
    let (last, bytes) = numbers.split_last()?;
    let left = 4_u32.checked_sub(u32::try_from(bytes.len()).ok()?).filter(|left| *left > 0)?;
    let mut bits = Some(*last).filter(|last| left == 4 || last >> (8 * left) == 0)?;
    for (at, byte) in bytes.iter().enumerate() {
        bits |= u32::from(u8::try_from(*byte).ok()?) << (24 - 8 * at);
    }
    Some(Ipv4Addr::from_bits(bits))
}

fn number(part: &str) -> Option<u32> {
    let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(hexadecimal) => (hexadecimal, 16),
        None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
        None => (part, 10),
    };
    // `from_str_radix` would take a sign.
    let digits = Some(digits).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
    u32::from_str_radix(digits?, radix).ok()
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

    #[test]
    fn every_spelling_of_the_unspecified_address_is_known() {
        for host in [
            "0.0.0.0",
            "0",
            "00",
            "0x0",
            "0X00",
            "0.0",
            "0.0.0",
            "0x0.0.00.0",
            "::",
            "[::]",
            "0:0:0:0:0:0:0:0",
            "::0",
            "::0.0.0.0",
            "::ffff:0.0.0.0",
            "::FFFF:0:0",
            "0:0:0:0:0:ffff:0:0",
            "::%eth0",
        ] {
            assert!(is_unspecified(host), "{host}");
        }
        for host in [
            "",
            ".",
            "0.",
            "0.0.0.0.0",
            "0x",
            "08",
            "0.0.0.1",
            "1",
            "127.0.0.1",
            "::1",
            "0.example",
            "x0",
            "00x0",
            "4294967296",
            "0.256.0.0",
            "+0",
            "-0",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_unspecified(host), "{host}");
        }
    }

    #[test]
    fn an_ipv4_address_is_read_as_the_system_reads_it() {
        let read = |host: &str| as_ipv4(host).map(|ip| ip.to_string());
        for host in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.1"] {
            assert_eq!(read(host).as_deref(), Some("127.0.0.1"), "{host}");
        }
        assert_eq!(read("255.16777215").as_deref(), Some("255.255.255.255"));
        assert_eq!(read("255.16777216"), None);
        assert_eq!(read("256.1"), None);
    }
}
