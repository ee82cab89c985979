//! JSON Web Tokens, and the public keys of their issuers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, errors};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use shop_core::{Clock, Error, ErrorKind};

use super::authenticate::{Authenticate, Rejection};
use super::authorize::Principal;
use crate::refreshed::Refreshed;

/// The public keys of an issuer: a JSON Web Key Set. Keys for RS256, ES256 and EdDSA are used, others are skipped.
///
/// Each key is for one algorithm, so a token cannot choose another one.
pub struct KeySet(Vec<VerificationKey>);

/// A key with its algorithm, and its id if it has one.
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
    /// The keys of a JSON Web Key Set (RFC 7517).
    ///
    /// # Errors
    /// [`InvalidKeySet`] if `text` is not such a set, or has no usable key.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySet> {
        let document: JwksDocument =
            serde_json::from_str(text).map_err(|error| InvalidKeySet(Some(error)))?;
        // A key of an unknown type does not make the others unusable.
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(verification_key)
            .collect();
        if keys.is_empty() {
            Err(InvalidKeySet(None))
        } else {
            Ok(Self(keys))
        }
    }

    /// The key with this id. A token without an id is for the only key of the set.
    fn find(&self, id: Option<&str>) -> Option<&VerificationKey> {
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
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|of| *of != PublicKeyUse::Signature)
    {
        return None;
    }
    if jwk
        .common
        .key_operations
        .as_ref()
        .is_some_and(|all| !all.contains(&KeyOperations::Verify))
    {
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
    if jwk
        .common
        .key_algorithm
        .as_ref()
        .is_some_and(|given| *given != name)
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
/// A token is valid if it is signed with a key of the set, by the algorithm of that key; has the issuer and the
/// audience; has the `typ` of an access token (`JWT`, `at+jwt`) or none, and no `crit`; and is used between `nbf` and
/// `exp`, with 60 seconds of leeway. The subject of the principal is the claim `sub`, its scopes are those in `scope` and
/// `scp`. Without a subject it is the service of the client in `client_id` or `azp`.
///
/// An unknown key id reads the key set again, at most every 30 seconds; meanwhile other tokens with unknown keys are
/// rejected. While the issuer is unavailable, the known keys stay in use. A verified token is remembered until it expires, or until the keys change; at most 4,096 are.
#[derive(Debug)]
pub struct TokenVerifier {
    keys: Arc<Refreshed<KeySet>>,
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
    verified: Mutex<LruCache<Box<str>, Verified>>,
}

/// The keys that a token was verified with, its principal, and until when it is valid, in seconds since 1970.
type Verified = (Arc<KeySet>, Principal, i64);

/// The minimum time between two reads of the key set because of unknown key ids, which anyone can send.
const MIN_READ_INTERVAL: Duration = Duration::from_secs(30);
/// The tolerated difference between two clocks, in seconds.
const LEEWAY: i64 = 60;
/// The maximum number of remembered tokens: 8 MiB with tokens of 2 KiB.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// The client, of tokens without a user. Some issuers write `azp`.
    client_id: Option<String>,
    azp: Option<String>,
    exp: Option<f64>,
    /// Only one: a list is not an issuer.
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
    fn into_scopes(self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Self::List(scopes) => scopes,
        }
    }
}

impl TokenVerifier {
    /// Verifies tokens of `issuer` for `audience`.
    pub fn new(
        keys: Arc<Refreshed<KeySet>>,
        issuer: impl Into<String>,
        audience: impl Into<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // A program may have both backends of jsonwebtoken, which then needs a choice. Another choice stands.
        let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Self {
            keys,
            issuer: issuer.into(),
            audience: audience.into(),
            clock,
            verified: Mutex::new(LruCache::new(MAX_REMEMBERED)),
        }
    }

    /// Verifies a token. Returns its principal, and until when it is valid, in seconds since 1970.
    fn verify(
        &self,
        key: &VerificationKey,
        token: &str,
        now: i64,
    ) -> Result<(Principal, i64), Rejection> {
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // Compared below, with the clock of this service.
        validation.validate_exp = false;
        let Claims {
            sub,
            client_id,
            azp,
            exp,
            nbf,
            scope,
            scp,
            ..
        } = decode::<Claims>(token, &key.key, &validation)
            .map_err(|error| rejection(error.kind()))?
            .claims;
        let exp = exp.ok_or(Rejection::invalid(MISSING_CLAIM))?;
        let until = whole_seconds(exp).saturating_add(LEEWAY);
        if until < now {
            return Err(Rejection::invalid("has expired"));
        }
        if nbf.is_some_and(|nbf| whole_seconds(nbf).saturating_sub(LEEWAY) > now) {
            return Err(Rejection::invalid("is not valid yet"));
        }
        let scopes = [scope, scp]
            .into_iter()
            .flatten()
            .flat_map(ScopeClaim::into_scopes);
        let principal = match sub {
            Some(subject) => Principal::new(subject),
            // No API key has such a name: it has no spaces.
            None => Principal::service(format!(
                "token of {}",
                client_id.or(azp).as_deref().unwrap_or("no client")
            )),
        };
        Ok((principal.with_scopes(scopes), until))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "out of range is far in the past or in the future"
)]
const fn whole_seconds(time: f64) -> i64 {
    time as i64
}

const MISSING_CLAIM: &str = "lacks one of exp, iss and aud";

/// Whether a token with this `typ` can be an access token (RFC 8725, section 3.11).
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["jwt", "at+jwt"].contains(&kind.strip_prefix("application/").unwrap_or(&kind))
}

/// The reason why a token is refused. Says nothing about its contents.
const fn rejection(error: &errors::ErrorKind) -> Rejection {
    use std::borrow::Cow::Borrowed;
    Rejection::Invalid(Borrowed(match error {
        errors::ErrorKind::InvalidIssuer => "is of another issuer",
        errors::ErrorKind::InvalidAudience => "is for another audience",
        errors::ErrorKind::MissingRequiredClaim(_) => MISSING_CLAIM,
        errors::ErrorKind::Json(_) => "has a claim of a wrong type",
        errors::ErrorKind::InvalidAlgorithm => {
            "is signed by another algorithm than that of its key"
        }
        errors::ErrorKind::InvalidSignature => "has an invalid signature",
        _ => "is not a valid JSON Web Token",
    }))
}

#[async_trait]
impl Authenticate for TokenVerifier {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        // Before the keys, which may be unavailable: what is no token is never valid, such as an API key that was removed.
        let Header { kid, typ, crit, .. } = decode_header(token)
            .map_err(|_error| Rejection::invalid("is not a valid JSON Web Token"))?;
        let mut keys = self.keys.get().await.ok_or(Rejection::Unavailable)?;
        let now = self.clock.now().as_millis() / 1_000;
        // A key that was removed has no valid tokens.
        if let Some((verified_with, principal, until)) = self.verified.lock().get(token)
            && Arc::ptr_eq(verified_with, &keys)
            && *until >= now
        {
            return Ok(principal.clone());
        }
        if crit.is_some() {
            return Err(Rejection::invalid(
                "has extensions that are not supported (crit)",
            ));
        }
        if !typ.as_deref().is_none_or(is_access_token) {
            return Err(Rejection::invalid("is not an access token (typ)"));
        }
        if keys.find(kid.as_deref()).is_none() {
            keys = self
                .keys
                .no_older_than(MIN_READ_INTERVAL)
                .await
                .ok_or(Rejection::Unavailable)?;
        }
        let key = keys
            .find(kid.as_deref())
            .ok_or(Rejection::invalid("is signed with an unknown key"))?;
        let (principal, until) = self.verify(key, token, now)?;
        self.verified
            .lock()
            .put(token.into(), (keys, principal.clone(), until));
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
