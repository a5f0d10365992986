//! TLS towards ZooKeeper: from PEM text to the client crate's options, and which host names it can take.

#[cfg(feature = "tls")]
pub(super) use with_feature::{apply, server_name};
#[cfg(not(feature = "tls"))]
pub(super) use without_feature::{apply, server_name};

#[cfg(feature = "tls")]
mod with_feature {
    use rustls_pki_types::ServerName;
    use zookeeper_client::{Connector, TlsOptions};

    use crate::connect::Tls;

    pub(in super::super) fn apply(connector: Connector, tls: &Tls) -> Result<Connector, String> {
        let mut options = TlsOptions::new()
            .with_pem_ca(&tls.ca_pem)
            .map_err(|error| format!("TLS authorities: {error}"))?;
        if let Some((certificate, key)) = &tls.identity_pem {
            options = options
                .with_pem_identity(certificate, key)
                .map_err(|error| format!("TLS identity: {error}"))?;
        }
        Ok(connector.with_tls(options))
    }

    /// The name to verify a server's certificate against. The crate panics on a name that is none, so such a name must never
    /// reach it; and a certificate carries no trailing dot.
    pub(in super::super) fn server_name(host: &str) -> Result<&str, String> {
        let name = host.strip_suffix('.').unwrap_or(host);
        match ServerName::try_from(name) {
            Ok(_) => Ok(name),
            Err(_) => Err(format!("{host:?} is no name that TLS could verify")),
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without_feature {
    use zookeeper_client::Connector;

    use crate::connect::Tls;

    const MISSING: &str =
        "TLS needs the feature `tls` of the crate zk-registry, which is not enabled in this build";

    pub(in super::super) fn apply(_: Connector, _: &Tls) -> Result<Connector, String> {
        Err(MISSING.to_owned())
    }

    pub(in super::super) fn server_name(_: &str) -> Result<&str, String> {
        Err(MISSING.to_owned())
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::server_name;

    #[test]
    fn names_and_addresses_can_be_verified() {
        assert_eq!(server_name("zk1.example.com"), Ok("zk1.example.com"));
        assert_eq!(server_name("zk1.example.com."), Ok("zk1.example.com"));
        assert_eq!(server_name("127.0.0.1"), Ok("127.0.0.1"));
        assert_eq!(server_name("::1"), Ok("::1"));
    }

    #[test]
    fn what_resolves_but_is_no_name_is_refused() {
        for host in ["127.1", "fe80::1%eth0", "", "a b"] {
            assert!(server_name(host).is_err(), "{host}");
        }
    }
}
