//! TLS towards ZooKeeper: from PEM text to the client crate's options, which host names it can take, and why a handshake
//! fails.

#[cfg(feature = "tls")]
pub(super) use with_feature::{Certificates, handshake, server_name};
#[cfg(not(feature = "tls"))]
pub(super) use without_feature::{Certificates, handshake, server_name};

#[cfg(feature = "tls")]
mod with_feature {
    use std::io::ErrorKind::{TimedOut, UnexpectedEof, WouldBlock};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::client::WebPkiServerVerifier;
    use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
    use zookeeper_client::{Connector, TlsCa, TlsCerts, TlsDynamicCerts, TlsIdentity, TlsOptions};

    use crate::options::Tls;

    /// The certificates of the next handshake, in a cell that the client crate looks into.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Certificates(TlsDynamicCerts);

    impl Certificates {
        pub(in super::super) fn new(tls: &Tls) -> Result<Self, String> {
            Ok(Self(TlsDynamicCerts::new(certificates(tls)?)))
        }

        /// Takes others instead, or an error and none of them.
        pub(in super::super) fn update(&self, tls: &Tls) -> Result<(), String> {
            self.0.update(certificates(tls)?);
            Ok(())
        }

        pub(in super::super) fn apply(&self, connector: Connector) -> Connector {
            connector.with_tls(TlsOptions::new().with_certs(self.0.clone()))
        }
    }

    fn certificates(tls: &Tls) -> Result<TlsCerts, String> {
        let authorities = |error| format!("tls authorities: {error}");
        let identity = |error| format!("tls identity: {error}");
        let mut builder = TlsCerts::builder().with_ca(TlsCa::from_pem(&tls.ca_pem).map_err(authorities)?);
        if let Some((certificate, key)) = &tls.identity_pem {
            builder = builder.with_identity(TlsIdentity::from_pem(certificate, key).map_err(identity)?);
        }
        // The crate would find a key that is not the certificate's when it connects; we want to know at once.
        config(tls)?;
        builder.build().map_err(authorities)
    }

    /// The name to verify a server's certificate against. The crate panics on a name that is none, so such a name must never
    /// reach it; and a certificate carries no trailing dot.
    pub(in super::super) fn server_name(host: &str) -> Result<&str, String> {
        let name = host.strip_suffix('.').unwrap_or(host);
        match ServerName::try_from(name) {
            Ok(_) => Ok(name),
            Err(_) => Err(format!("connect string: {host:?} is no name that TLS could verify")),
        }
    }

    /// Tries a handshake of our own, because the client crate does not tell why its own failed. Blocks; each read takes at
    /// most `patience`.
    pub(in super::super) fn handshake(
        mut stream: TcpStream,
        host: &str,
        tls: &Tls,
        patience: Duration,
    ) -> Result<(), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let config = Arc::new(config(tls)?);
        let mut connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(patience)).map_err(|error| error.to_string())?;
        loop {
            let shaking = connection.is_handshaking();
            match connection.complete_io(&mut stream) {
                // In TLS 1.3 a server judges our certificate after our side of the handshake is done.
                Ok(_) if shaking => {}
                Ok((0, 0)) => return Err("the server ended the connection after the handshake".to_owned()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => {
                    return if shaking { Err("no answer to our handshake".to_owned()) } else { Ok(()) };
                }
                Err(error) if error.kind() == UnexpectedEof => {
                    return Err("the server ended the connection during the handshake".to_owned());
                }
                Err(error) => return Err(reason(&error)),
            }
        }
    }

    /// What is wrong with a handshake, with a word on what the certificate library's words mean.
    fn reason(error: &std::io::Error) -> String {
        use rustls::Error::InvalidCertificate;

        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(InvalidCertificate(CertificateError::Revoked)) => {
                format!("{error} (a CRL among the authorities names the server's certificate)")
            }
            Some(InvalidCertificate(CertificateError::UnknownRevocationStatus)) => {
                format!("{error} (with CRLs, each authority of the server's chain needs one)")
            }
            Some(InvalidCertificate(_)) if is_version_1(&error.to_string()) => {
                format!("{error} (the server's certificate is X.509 version 1; version 3 is needed)")
            }
            _ => error.to_string(),
        }
    }

    fn is_version_1(error: &str) -> bool {
        error.contains("UnsupportedCertVersion")
    }

    /// What the client crate makes of the same options, CRLs among the authorities included. An error begins with the option.
    fn config(tls: &Tls) -> Result<ClientConfig, String> {
        let authorities = |why: String| format!("tls authorities: {why}");
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(all::<CertificateDer<'_>>(&tls.ca_pem).map_err(authorities)?);
        let crls = all::<CertificateRevocationListDer<'_>>(&tls.ca_pem).map_err(authorities)?;
        let builder = ClientConfig::builder();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), builder.crypto_provider().clone())
                .with_crls(crls)
                .build()
                .map_err(|error| authorities(error.to_string()))?;
        let builder = builder.with_webpki_verifier(verifier);
        let Some((chain, key)) = &tls.identity_pem else { return Ok(builder.with_no_client_auth()) };
        let identity = |why: String| format!("tls identity: {why}");
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| identity(error.to_string()))?;
        let chain = all::<CertificateDer<'_>>(chain).map_err(identity)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| match error.to_string() {
            // The library speaks of a peer's certificate whose it may be.
            text if is_version_1(&text) => {
                identity("our own certificate is X.509 version 1; version 3 is needed".to_owned())
            }
            text => identity(text),
        })
    }

    /// Every item of this kind in a PEM text.
    fn all<T: PemObject>(pem: &str) -> Result<Vec<T>, String> {
        T::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}

#[cfg(not(feature = "tls"))]
mod without_feature {
    use std::net::TcpStream;
    use std::time::Duration;

    use zookeeper_client::Connector;

    use crate::options::Tls;

    const MISSING: &str =
        "tls: needs the feature `tls` of the crate zk-registry, which is not enabled in this build";

    #[derive(Clone, Debug)]
    pub(in super::super) enum Certificates {}

    impl Certificates {
        pub(in super::super) fn new(_: &Tls) -> Result<Self, String> {
            Err(MISSING.to_owned())
        }

        pub(in super::super) fn update(&self, _: &Tls) -> Result<(), String> {
            match *self {}
        }

        pub(in super::super) fn apply(&self, _: Connector) -> Connector {
            match *self {}
        }
    }

    pub(in super::super) fn server_name(_: &str) -> Result<&str, String> {
        Err(MISSING.to_owned())
    }

    pub(in super::super) fn handshake(_: TcpStream, _: &str, _: &Tls, _: Duration) -> Result<(), String> {
        Err(MISSING.to_owned())
    }
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use rustls::{ServerConfig, ServerConnection};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use zookeeper_client::{Client, Connector};

    use super::{Certificates, handshake, server_name};
    use crate::options::Tls;

    fn apply(connector: Connector, tls: &Tls) -> Result<Connector, String> {
        Certificates::new(tls).map(|certificates| certificates.apply(connector))
    }

    /// Made with OpenSSL for these tests: an authority, a server's certificate, CRLs of the authority without it and with it,
    /// and a certificate of version 1.
    const AUTHORITY: &str = include_str!("fixtures/ca.pem");
    const SERVER: &str = include_str!("fixtures/server.pem");
    const SERVER_KEY: &str = include_str!("fixtures/server.key");
    const CRL_OF_NONE: &str = include_str!("fixtures/empty.crl");
    const CRL_OF_SERVER: &str = include_str!("fixtures/revoked.crl");
    const VERSION_1: &str = include_str!("fixtures/v1.pem");
    const VERSION_1_KEY: &str = include_str!("fixtures/v1.key");

    /// What a handshake with a server of that certificate comes to, and whether the client crate takes the same authorities.
    fn shake(authorities: &str) -> Result<(), String> {
        let tls = Tls::new(authorities);
        apply(Client::connector(), &tls)?;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let chain = CertificateDer::pem_slice_iter(SERVER.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
            // It ends when the client has seen enough.
            while connection.complete_io(&mut stream).is_ok_and(|moved| moved != (0, 0)) {}
        });
        let stream = TcpStream::connect(address).unwrap();
        let shaken = handshake(stream, "localhost", &tls, Duration::from_millis(200));
        server.join().unwrap();
        shaken
    }

    #[test]
    fn a_revoked_certificate_is_named_so() {
        shake(AUTHORITY).unwrap();
        shake(&[AUTHORITY, CRL_OF_NONE].concat()).unwrap();
        let why = shake(&[AUTHORITY, CRL_OF_SERVER].concat()).unwrap_err();
        assert!(why.contains("Revoked") && why.contains("a CRL among the authorities"), "{why}");
    }

    #[test]
    fn our_own_certificate_of_version_1_is_not_called_a_peers() {
        let tls = Tls::new(AUTHORITY).with_identity(VERSION_1, VERSION_1_KEY);
        let why = apply(Client::connector(), &tls).err().unwrap();
        assert!(why.starts_with("tls identity: our own") && !why.contains("peer"), "{why}");
    }

    /// A key made for this test.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUDGPLpURLNf0QkanzqmMPOOTtkOQwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjYxNjE4MTlaGA8yMTI2MTEwMjE2MTgx
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGYZ
iXr0iLrLi/AoT9DBDcEm0BXjGk8yPNp7Wui/BVdyPevqG6mvJ1pAFIwYxTKGURI0
o3Igtz/X0SD2D0EQIu6jUzBRMB0GA1UdDgQWBBR6C1eslei/iyhg+Nq5adNRhd6O
UTAfBgNVHSMEGDAWgBR6C1eslei/iyhg+Nq5adNRhd6OUTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIG/L5WTL+tYm2fqIuufZlGh64LCEBIRROSK9
AvduF5I6AiBZavsGWK5aEgz4oez/VzwT9ljJwOacc+Mcos3TJ1Zvag==
-----END CERTIFICATE-----
";
    const ITS_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUKNItbApfRkQvADP
ped6sgTM0wfkfQ28N1hKSKuD8QGhRANCAARmGYl69Ii6y4vwKE/QwQ3BJtAV4xpP
Mjzae1rovwVXcj3r6huprydaQBSMGMUyhlESNKNyILc/19Eg9g9BECLu
-----END PRIVATE KEY-----
";
    const ANOTHER_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjUoZ6hFyUm3GWg0k
jeNIoS/QGdc3kDYDuezE5SBIsSehRANCAAQQ+JQstgpKUbC4x/4sMUecc9rEJbyf
dWkt/Rp9kOtW7HEuMFoGy2Ev/6wx+CDXDiM3G4s75m8dC5042Z3BhWIr
-----END PRIVATE KEY-----
";

    #[test]
    fn a_key_that_is_not_the_certificates_is_found_before_anything_is_sent() {
        let identity =
            |key| apply(Client::connector(), &Tls::new(CERTIFICATE).with_identity(CERTIFICATE, key));
        assert!(identity(ITS_KEY).is_ok());
        assert!(identity(ANOTHER_KEY).is_err_and(|why| why.starts_with("tls identity")));
        let certificates =
            Certificates::new(&Tls::new(CERTIFICATE).with_identity(CERTIFICATE, ITS_KEY)).unwrap();
        let half = Tls::new(CERTIFICATE).with_identity(CERTIFICATE, ANOTHER_KEY);
        assert!(certificates.update(&half).is_err(), "only one of two files was written so far");
    }

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
