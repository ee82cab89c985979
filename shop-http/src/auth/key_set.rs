//! The public keys of an issuer of tokens.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use shop_core::{Error, ErrorKind};

/// The public keys of an issuer: a JSON Web Key Set. Keys for RS256, ES256 and EdDSA are used, others are skipped.
///
/// Each key is for one algorithm, so a token cannot choose another one.
pub struct KeySet(Vec<VerificationKey>);

/// A key with its algorithm, and its id if it has one.
pub(super) struct VerificationKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// A text that is not a JSON Web Key Set with a usable key.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON Web Key Set with a key for RS256, ES256 or EdDSA")]
pub struct InvalidKeySet(#[source] Option<serde_json::Error>);

impl From<InvalidKeySet> for Error {
    fn from(error: InvalidKeySet) -> Self {
        Self::new(ErrorKind::Invalid, "the keys of the issuer are invalid").with_source(error)
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// The keys of a JSON Web Key Set (RFC 7517).
    ///
    /// # Errors
    /// [`InvalidKeySet`] if `text` is not such a set, or has no usable key.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySet> {
        let document: Document = serde_json::from_str(text).map_err(|error| InvalidKeySet(Some(error)))?;
        // A key of an unknown type does not make the others unusable.
        let known = document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<_> = known.filter_map(verification_key).collect();
        if keys.is_empty() { Err(InvalidKeySet(None)) } else { Ok(Self(keys)) }
    }

    /// The key with this id. A token without an id is for the only key of the set.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&VerificationKey> {
        match (id, &self.0[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            // Of two keys with the same id, the last one counts.
            (id, keys) => keys.iter().rfind(|key| key.id.as_deref() == id),
        }
    }
}

/// The key for signatures, unless its algorithm is not supported.
fn verification_key(jwk: Jwk) -> Option<VerificationKey> {
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    if jwk.common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(curve) if curve.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    if jwk.common.key_algorithm.as_ref().is_some_and(|given| *given != name) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(VerificationKey { id: jwk.common.key_id, algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_verifies_unless_it_is_for_something_else() {
        let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        for (more, is_usable) in [
            ("", true),
            (r#","use":"sig""#, true),
            (r#","use":"enc""#, false),
            (r#","key_ops":["sign","verify"]"#, true),
            (r#","key_ops":["sign"]"#, false),
            (r#","key_ops":[]"#, false),
        ] {
            let set = format!(r#"{{"keys":[{key}{more}}}]}}"#);
            assert_eq!(KeySet::parse(&set).is_ok(), is_usable, "{set}");
        }
    }
}
