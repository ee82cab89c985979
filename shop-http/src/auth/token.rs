//! JSON Web Tokens, and the public keys of their issuers.
//!
//! A [`TokenVerifier`] verifies the signature of a token with a key of the [`KeySet`], then its
//! [`Claims`]. A verified token is remembered, so that its signature is not verified for each
//! request.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, errors};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use shop_core::{Clock, Error, ErrorKind};

use super::authenticate::{Authenticate, Rejection};
use super::authorize::Principal;
use crate::refreshed::Refreshed;

/// The public keys of an issuer: a JSON Web Key Set. Keys for RS256, ES256 and EdDSA are used,
/// others are skipped.
///
/// Each key is for one algorithm, so a token cannot choose another one.
pub struct KeySet(Vec<VerificationKey>);

/// A key with its algorithm, and its id, if any.
struct VerificationKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
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
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.id))
            .finish()
    }
}

#[derive(Deserialize)]
struct JwksDocument {
    keys: Vec<Value>,
}

impl KeySet {
    /// Parses a JSON Web Key Set (RFC 7517).
    ///
    /// # Errors
    /// [`InvalidKeySet`] if `text` is not such a set, or contains no usable key.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySet> {
        let document: JwksDocument =
            serde_json::from_str(text).map_err(|error| InvalidKeySet(Some(error)))?;
        // A key of an unknown type is skipped, and does not make the others unusable.
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(verification_key)
            .collect();
        if keys.is_empty() {
            return Err(InvalidKeySet(None));
        }
        Ok(Self(keys))
    }

    /// Returns the key with this id. A token without an id is verified with the only key of the
    /// set.
    fn find(&self, id: Option<&str>) -> Option<&VerificationKey> {
        match (id, &self.0[..]) {
            (None, [only_key]) => Some(only_key),
            (None, _) => None,
            // Of two keys with the same id, the last one counts.
            (id, keys) => keys.iter().rfind(|key| key.id.as_deref() == id),
        }
    }
}

/// Converts `jwk` to a key that verifies signatures. Returns `None` if the key is for something else,
/// or if its algorithm is not supported.
fn verification_key(jwk: Jwk) -> Option<VerificationKey> {
    let common = &jwk.common;
    if let Some(key_use) = &common.public_key_use
        && *key_use != PublicKeyUse::Signature
    {
        return None;
    }
    if let Some(operations) = &common.key_operations
        && !operations.contains(&KeyOperations::Verify)
    {
        return None;
    }

    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(curve) if curve.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    if let Some(stated_algorithm) = common.key_algorithm
        && stated_algorithm != algorithm.into()
    {
        return None;
    }

    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(VerificationKey {
        id: jwk.common.key_id,
        algorithm,
        key,
    })
}

/// Verifies JSON Web Tokens with the keys of their issuer.
///
/// A token is valid if it is signed with a key of the set, by the algorithm of that key; names the
/// issuer and the audience; states the `typ` of an access token (`JWT`, `at+jwt`) or none, and no
/// `crit`; and is used between `nbf` and `exp`, with 60 seconds of leeway. The subject of the
/// principal is the claim `sub`, its scopes are those in `scope` and `scp`. Without a subject, the
/// principal is the service of the client in `client_id` or `azp`.
///
/// An unknown key id reads the key set again, at most every 30 seconds; meanwhile other tokens with
/// unknown keys are rejected. While the issuer is unavailable, the known keys stay in use. A
/// verified token is remembered until it expires, or until the keys change; at most 4,096 are.
#[derive(Debug)]
pub struct TokenVerifier {
    keys: Arc<Refreshed<KeySet>>,
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
    /// The tokens that were verified, by their texts.
    verified_tokens: Mutex<LruCache<Box<str>, VerifiedToken>>,
}

/// A token that was verified. It is remembered by its text.
struct VerifiedToken {
    /// The keys that verified the token. Once the keys were read again, the token is verified again,
    /// because its key may have been removed.
    keys: Arc<KeySet>,
    principal: Principal,
    /// In seconds since 1970.
    valid_until: i64,
}

/// The minimum time between two reads of the key set because of unknown key ids, which anyone can
/// send.
const MIN_READ_INTERVAL: Duration = Duration::from_secs(30);
/// The tolerated difference between two clocks, in seconds.
const LEEWAY_SECONDS: i64 = 60;
/// The maximum number of remembered tokens: 8 MiB with tokens of 2 KiB.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The claims of a token that are used. The issuer and the audience were verified with the
/// signature.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// The client, of tokens without a user. Some issuers write `azp`.
    client_id: Option<String>,
    azp: Option<String>,
    exp: Option<f64>,
    /// Never read: its type rejects a token with a list of issuers.
    #[serde(rename = "iss")]
    _issuer: Option<String>,
    nbf: Option<f64>,
    scope: Option<ScopeClaim>,
    scp: Option<ScopeClaim>,
}

/// Scopes as a text with spaces (RFC 8693), or as a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeClaim {
    Text(String),
    List(Vec<String>),
}

impl ScopeClaim {
    /// Returns the scopes one by one.
    fn into_scopes(self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Self::List(scopes) => scopes,
        }
    }
}

impl TokenVerifier {
    /// Creates a verifier for tokens of `issuer` for `audience`.
    pub fn new(
        keys: Arc<Refreshed<KeySet>>,
        issuer: impl Into<String>,
        audience: impl Into<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // A program may enable both backends of jsonwebtoken, which then needs a choice. If the
        // program already chose, its choice stands.
        let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Self {
            keys,
            issuer: issuer.into(),
            audience: audience.into(),
            clock,
            verified_tokens: Mutex::new(LruCache::new(MAX_REMEMBERED)),
        }
    }

    /// Returns the principal of `token`, if the token was verified with these `keys` before, and is
    /// still valid `now`, in seconds since 1970.
    fn verified_principal(&self, token: &str, keys: &Arc<KeySet>, now: i64) -> Option<Principal> {
        let mut verified_tokens = self.verified_tokens.lock();
        let verified = verified_tokens.get(token)?;
        let is_valid = Arc::ptr_eq(&verified.keys, keys) && verified.valid_until >= now;
        is_valid.then(|| verified.principal.clone())
    }

    /// Verifies the signature, the issuer and the audience of a token.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] with the reason.
    fn verify(&self, key: &VerificationKey, token: &str) -> Result<Claims, Rejection> {
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // `Claims::valid_until` compares `exp` with the clock of this service.
        validation.validate_exp = false;

        let decoded = decode::<Claims>(token, &key.key, &validation)
            .map_err(|error| rejection(error.kind()))?;
        Ok(decoded.claims)
    }
}

impl Claims {
    /// Returns until when the token is valid, in seconds since 1970.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] if the token is not valid `now`, or never expires.
    fn valid_until(&self, now: i64) -> Result<i64, Rejection> {
        let expiry = self.exp.ok_or(Rejection::invalid(MISSING_CLAIM))?;
        let valid_until = whole_seconds(expiry).saturating_add(LEEWAY_SECONDS);
        if valid_until < now {
            return Err(Rejection::invalid("has expired"));
        }
        if let Some(not_before) = self.nbf
            && whole_seconds(not_before).saturating_sub(LEEWAY_SECONDS) > now
        {
            return Err(Rejection::invalid("is not valid yet"));
        }
        Ok(valid_until)
    }

    /// Returns the principal with the scopes of this token: the user in `sub`, or else a service
    /// that is named after the client.
    fn into_principal(self) -> Principal {
        let principal = match self.sub {
            Some(subject) => Principal::new(subject),
            // The name contains spaces, so that it differs from the names in the file of API keys.
            None => Principal::service(format!(
                "token of {}",
                self.client_id
                    .or(self.azp)
                    .as_deref()
                    .unwrap_or("no client")
            )),
        };
        let scopes = [self.scope, self.scp]
            .into_iter()
            .flatten()
            .flat_map(ScopeClaim::into_scopes);
        principal.with_scopes(scopes)
    }
}

/// Returns the time of a claim without the fraction of its second.
#[expect(
    clippy::cast_possible_truncation,
    reason = "out of range is far in the past or in the future"
)]
const fn whole_seconds(time: f64) -> i64 {
    time as i64
}

/// The reason why a token without a required claim is rejected.
const MISSING_CLAIM: &str = "lacks one of exp, iss and aud";

/// Returns whether a token with this `typ` can be an access token (RFC 8725, section 3.11).
fn is_access_token(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    let subtype = media_type
        .strip_prefix("application/")
        .unwrap_or(&media_type);
    ["jwt", "at+jwt"].contains(&subtype)
}

/// Returns the rejection of a token that failed with `error`. The text of the rejection reveals
/// nothing of the contents of the token.
fn rejection(error: &errors::ErrorKind) -> Rejection {
    Rejection::invalid(match error {
        errors::ErrorKind::InvalidIssuer => "is of another issuer",
        errors::ErrorKind::InvalidAudience => "is for another audience",
        errors::ErrorKind::MissingRequiredClaim(_) => MISSING_CLAIM,
        errors::ErrorKind::Json(_) => "has a claim of a wrong type",
        errors::ErrorKind::InvalidAlgorithm => {
            "is signed by another algorithm than that of its key"
        }
        errors::ErrorKind::InvalidSignature => "has an invalid signature",
        _ => "is not a valid JSON Web Token",
    })
}

/// Checks that a token with this header can be an access token, and has no extensions.
///
/// # Errors
/// [`Rejection::Invalid`] if the token cannot be an access token, or has extensions.
fn check_header(header: &Header) -> Result<(), Rejection> {
    if header.crit.is_some() {
        return Err(Rejection::invalid(
            "has extensions that are not supported (crit)",
        ));
    }
    let may_be_access_token = header.typ.as_deref().is_none_or(is_access_token);
    if !may_be_access_token {
        return Err(Rejection::invalid("is not an access token (typ)"));
    }
    Ok(())
}

#[async_trait]
impl Authenticate for TokenVerifier {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        // The header is decoded before the keys are read, because they may be unavailable. A text
        // that is no token, such as an API key that was removed, is not valid in any case.
        let header = decode_header(token)
            .map_err(|_error| Rejection::invalid("is not a valid JSON Web Token"))?;
        let mut keys = self.keys.get().await.ok_or(Rejection::Unavailable)?;
        let now = self.clock.now().as_millis() / 1_000;
        if let Some(principal) = self.verified_principal(token, &keys, now) {
            return Ok(principal);
        }
        check_header(&header)?;

        // The issuer may have added a key since the keys were read.
        let key_id = header.kid.as_deref();
        if keys.find(key_id).is_none() {
            keys = self
                .keys
                .no_older_than(MIN_READ_INTERVAL)
                .await
                .ok_or(Rejection::Unavailable)?;
        }
        let key = keys
            .find(key_id)
            .ok_or(Rejection::invalid("is signed with an unknown key"))?;

        let claims = self.verify(key, token)?;
        let valid_until = claims.valid_until(now)?;
        let principal = claims.into_principal();
        let verified = VerifiedToken {
            keys,
            principal: principal.clone(),
            valid_until,
        };
        self.verified_tokens.lock().put(token.into(), verified);
        Ok(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_verifies_unless_it_is_for_something_else() {
        let key =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
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
