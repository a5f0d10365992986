//! When a certificate expires: the one field of it that an operator needs to see coming.
//!
//! Walks over the outermost fields of X.509 and judges nothing: whether a certificate is trusted is for the TLS library.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// When the first certificate of a PEM text to expire does, in seconds since 1970; `None` where there is no certificate, or
/// none that can be read.
pub(crate) fn first_expiry(pem: &str) -> Option<i64> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    certificates.filter_map(|certificate| not_after(&certificate.ok()?)).min()
}

/// `Certificate { tbs { [0] version, serial, algorithm, issuer, validity { notBefore, notAfter }, .. }, .. }`
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut tbs, _) = element(certificate)?;
    // Version 1 does not say its version.
    if let (VERSION, _, rest) = element(tbs)? {
        tbs = rest;
    }
    for _ in ["serial", "algorithm", "issuer"] {
        tbs = element(tbs)?.2;
    }
    let (_, validity, _) = element(tbs)?;
    let (_, _, after) = element(validity)?;
    let (tag, text, _) = element(after)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of a year are those from 1950 to 2049 (RFC 5280).
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The tag and the content of the first element of DER, and what stands behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| (length << 8) | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

const GENERALIZED_TIME: u8 = 0x18;
const UTC_TIME: u8 = 0x17;
/// `[0]`, constructed.
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test; OpenSSL says of it: notAfter=Nov  2 16:18:19 2126 GMT.
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

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let end: jiff::Timestamp = "2126-11-02T16:18:19Z".parse().unwrap();
        assert_eq!(first_expiry(CERTIFICATE), Some(end.as_second()));
        assert_eq!(first_expiry(&[CERTIFICATE, CERTIFICATE].concat()), Some(end.as_second()));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        for cut in 0..der.len() {
            let _ = not_after(der.get(..cut).unwrap()); // it does not panic
        }
        assert_eq!(not_after(&[]), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(first_expiry("none"), None);
    }
}
