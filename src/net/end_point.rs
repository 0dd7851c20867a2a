//! The `tls-server-end-point` channel binding: a hash of the server's certificate (RFC 5929).

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::der::{OBJECT_IDENTIFIER, SEQUENCE, element};

/// The binding of this certificate (DER), hashed as its own signature is, but with SHA-256 instead of MD5 and SHA-1;
/// `None` if its signature algorithm has no single hash that is known here.
pub(super) fn of_certificate(der: &[u8]) -> Option<Vec<u8>> {
    match *signature_algorithm(der)? {
        // RSA (PKCS #1 v1.5) with MD5, SHA-1, SHA-2.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, hash] => match hash {
            4 | 5 | 11 => Some(Sha256::digest(der).to_vec()),
            12 => Some(Sha384::digest(der).to_vec()),
            13 => Some(Sha512::digest(der).to_vec()),
            14 => Some(Sha224::digest(der).to_vec()),
            _ => None,
        },
        // ECDSA with SHA-1, and with SHA-2.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => Some(Sha256::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, hash] => match hash {
            1 => Some(Sha224::digest(der).to_vec()),
            2 => Some(Sha256::digest(der).to_vec()),
            3 => Some(Sha384::digest(der).to_vec()),
            4 => Some(Sha512::digest(der).to_vec()),
            _ => None,
        },
        _ => None,
    }
}

// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, ... }, signature }
fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (_, rest) = element(certificate, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    Some(identifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    fn certificate(key: &KeyPair) -> Vec<u8> {
        CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_hashed_as_its_signature_is() {
        let der = certificate(&KeyPair::generate().unwrap());
        assert_eq!(of_certificate(&der), Some(Sha256::digest(&der).to_vec()));
        let der = certificate(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
        assert_eq!(of_certificate(&der), Some(Sha384::digest(&der).to_vec()));
    }

    #[test]
    fn a_signature_without_a_hash_of_its_own_has_no_binding() {
        assert_eq!(of_certificate(&certificate(&KeyPair::generate_for(&PKCS_ED25519).unwrap())), None);
        assert_eq!(of_certificate(b"no certificate"), None);
    }
}
