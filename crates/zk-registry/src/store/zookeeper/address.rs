//! The address of one server, as the client crate is told about it.

use std::fmt;

use super::tls;
use crate::options::{Host, Options};

/// One server, as the client crate is told about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    /// A name, or an IP address without brackets.
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl Address {
    pub(super) fn new(host: &Host, options: &Options) -> Result<Self, String> {
        let name = host.name.trim_start_matches('[').trim_end_matches(']');
        let name = match (host.tls, &options.tls) {
            (Some(false), _) | (None, None) => {
                return Ok(Self { name: name.to_owned(), port: host.port, tls: false });
            }
            (_, Some(_)) => tls::server_name(name)?,
            (Some(true), None) => {
                return Err(format!(
                    "tls: {name} is to be reached by TLS, but nobody is trusted to sign its certificate"
                ));
            }
        };
        Ok(Self { name: name.to_owned(), port: host.port, tls: true })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}
