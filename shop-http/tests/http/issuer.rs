//! JSON Web Tokens: which ones are accepted, and how the keys of their issuer are read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use shop_core::Result;
use shop_http::{KeySet, Refreshed, TextSource, TokenVerifier};

use crate::prelude::*;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "shop";
/// What the clock shows at first, in seconds since 1970.
const START: i64 = 1_800_000_000;

/// A clock that a test sets.
#[derive(Debug, Clone)]
struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed) * 1_000).unwrap()
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A private key of the issuer.
struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl SigningKey {
    fn new(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::RS256 => {
                let pkcs8 = RsaKeyPair::generate(KeySize::Rsa2048)
                    .unwrap()
                    .as_der()
                    .unwrap();
                // The key alone (PKCS #1) follows 26 bytes that say what it is.
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..])
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            _ => {
                let pair = Ed25519KeyPair::generate().unwrap();
                EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
        };
        Self { key, algorithm }
    }

    /// The public key as the issuer publishes it.
    fn jwk(&self, id: &str) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        jwk
    }
}

/// An issuer with the keys that it publishes.
struct Issuer {
    clock: TestClock,
    published: Published,
    keys: BTreeMap<String, SigningKey>,
}

/// The published document of the issuer.
#[derive(Debug, Clone, Default)]
struct Published {
    document: Arc<Mutex<String>>,
    is_unavailable: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
}

#[async_trait]
impl TextSource for Published {
    async fn read(&self) -> Result<String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.is_unavailable.load(Ordering::Relaxed) {
            let message = "the issuer is unavailable";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(self.document.lock().unwrap().clone())
    }
}

impl Issuer {
    /// An issuer with one key, `first`, for ES256.
    fn new() -> Self {
        let mut issuer = Self {
            clock: TestClock(Arc::new(AtomicI64::new(START))),
            published: Published::default(),
            keys: BTreeMap::new(),
        };
        issuer.rotate("first", Algorithm::ES256);
        issuer
    }

    /// Publishes one more key.
    fn rotate(&mut self, id: &str, algorithm: Algorithm) {
        self.keys.insert(id.to_owned(), SigningKey::new(algorithm));
        self.publish();
    }

    /// Publishes one key less.
    fn withdraw(&mut self, id: &str) {
        self.keys.remove(id);
        self.publish();
    }

    fn publish(&self) {
        let keys: Vec<_> = self.keys.iter().map(|(id, key)| key.jwk(id)).collect();
        *self.published.document.lock().unwrap() = json!({"keys": keys}).to_string();
    }

    fn verifier(&self) -> TokenVerifier {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let keys = Refreshed::new(
            self.published.clone(),
            |text| Ok(KeySet::parse(text)?),
            Duration::from_secs(600),
            Arc::clone(&clock),
        );
        TokenVerifier::new(Arc::new(keys), ISSUER, AUDIENCE, clock)
    }

    fn valid_claims(&self) -> Value {
        let now = self.clock.0.load(Ordering::Relaxed);
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "1", "exp": now + 300, "nbf": now})
    }

    /// A valid token, signed with the key `first`.
    fn token(&self, subject: &str, scope: &str) -> String {
        let mut claims = self.valid_claims();
        claims["sub"] = subject.into();
        claims["scope"] = scope.into();
        self.sign("first", &valid_header("first"), &claims)
    }

    /// A token with any header and any claims, signed with the key `id`.
    fn sign(&self, id: &str, header: &Value, claims: &Value) -> String {
        let SigningKey { key, algorithm } = &self.keys[id];
        signed(header, claims, key, *algorithm)
    }

    /// Whether `verifier` accepts a new token that is signed with the key `id`.
    async fn is_accepted(&self, verifier: &TokenVerifier, id: &str) -> Result<(), Rejection> {
        let token = self.sign(id, &valid_header(id), &self.valid_claims());
        verifier.principal(&token).await.map(drop)
    }
}

fn valid_header(key: &str) -> Value {
    json!({"typ": "JWT", "kid": key})
}

/// A token. Its header names the algorithm, unless it names another one.
fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let mut named = json!({"alg": algorithm});
    change_members(&mut named, header);
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&named), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// Replaces members of an object. A `null` removes a member.
fn change_members(object: &mut Value, changes: &Value) {
    let object = object.as_object_mut().unwrap();
    object.extend(changes.as_object().unwrap().clone());
    object.retain(|_, value| !value.is_null());
}

/// Each line of `tokens.txt` is a token, and what the verifier says about it.
#[tokio::test]
async fn tokens_are_verified_with_their_header_and_claims() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    for line in include_str!("tokens.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let [expected, header_changes, claim_changes] =
            line.splitn(3, " | ").collect::<Vec<_>>()[..]
        else {
            panic!("{line} has three columns");
        };
        let mut header = valid_header("first");
        change_members(&mut header, &serde_json::from_str(header_changes).unwrap());
        let mut claims = issuer.valid_claims();
        change_members(&mut claims, &serde_json::from_str(claim_changes).unwrap());

        let token = issuer.sign("first", &header, &claims);
        let outcome = match verifier.principal(&token).await {
            Ok(principal) => format!(
                "name {}, subject {}",
                principal.name().unwrap_or("-"),
                principal.subject().unwrap_or("-")
            ),
            Err(Rejection::Invalid(reason)) => reason.into_owned(),
            Err(rejection) => panic!("{line}: {rejection:?}"),
        };
        assert_eq!(outcome, expected.trim_end(), "{line}");
    }
}

#[tokio::test]
async fn a_token_that_the_issuer_did_not_sign_is_rejected() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let header = valid_header("first");
    let claims = issuer.valid_claims();
    let own = issuer.sign("first", &header, &claims);
    let [head, _claims, signature] = own.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    let of_another_user = issuer.token("2", "operate");
    let other_claims = of_another_user.split('.').nth(1).unwrap();
    let public_key = json!(issuer.keys["first"].jwk("first")).to_string();
    let secret = EncodingKey::from_secret(public_key.as_bytes());
    let with_public_key = signed(&header, &claims, &secret, Algorithm::HS256);
    let unsigned = issuer.sign("first", &json!({"alg": "none"}), &claims);

    for (case, token) in [
        ("other claims", format!("{head}.{other_claims}.{signature}")),
        ("HS256 with the public key", with_public_key),
        ("unsigned", unsigned.replace(signature, "")),
        ("not a token", "abc".to_owned()),
    ] {
        let rejection = verifier.principal(&token).await.unwrap_err();
        assert!(
            matches!(rejection, Rejection::Invalid(_)),
            "{case}: {rejection:?}"
        );
    }
}

#[tokio::test]
async fn keys_are_rotated_while_serving() {
    let mut issuer = Issuer::new();
    let verifier = issuer.verifier();
    let unknown_key = Err(Rejection::invalid("is signed with an unknown key"));
    assert_eq!(issuer.is_accepted(&verifier, "first").await, Ok(()));
    let remembered = issuer.token("1", "");
    assert!(verifier.principal(&remembered).await.is_ok());

    issuer.rotate("second", Algorithm::RS256);
    let outcome = issuer.is_accepted(&verifier, "second").await;
    assert_eq!(outcome, unknown_key, "the set was read a moment ago");
    issuer.clock.advance(30);
    assert_eq!(issuer.is_accepted(&verifier, "second").await, Ok(()));
    for id in ["first", "second"] {
        assert_eq!(issuer.is_accepted(&verifier, id).await, Ok(()));
    }
    let reads = issuer.published.reads.load(Ordering::Relaxed);
    assert_eq!(reads, 2, "known keys are not read again");

    issuer.withdraw("first");
    issuer.rotate("third", Algorithm::EdDSA);
    issuer.clock.advance(200);
    assert_eq!(issuer.is_accepted(&verifier, "third").await, Ok(()));
    let withdrawn = verifier.principal(&remembered).await.map(drop);
    assert_eq!(withdrawn, unknown_key, "though it was verified before");
}

#[tokio::test]
async fn tokens_may_be_valid_while_the_issuer_was_never_readable() {
    let issuer = Issuer::new();
    let is_unavailable = &issuer.published.is_unavailable;
    is_unavailable.store(true, Ordering::Relaxed);
    let verifier = issuer.verifier();
    let outcome = issuer.is_accepted(&verifier, "first").await;
    assert_eq!(outcome, Err(Rejection::Unavailable));
    let removed_api_key = verifier.principal("an API key").await;
    assert!(
        matches!(removed_api_key, Err(Rejection::Invalid(_))),
        "its streams of events end: {removed_api_key:?}"
    );

    is_unavailable.store(false, Ordering::Relaxed);
    issuer.clock.advance(1);
    assert_eq!(issuer.is_accepted(&verifier, "first").await, Ok(()));
}

#[tokio::test]
async fn a_remembered_token_expires() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let token = issuer.token("1", "");
    // It is valid for 300 seconds, and a minute for clocks that differ.
    for (seconds, is_valid) in [(0, true), (360, true), (1, false)] {
        issuer.clock.advance(seconds);
        let is_accepted = verifier.principal(&token).await.is_ok();
        assert_eq!(is_accepted, is_valid, "after {seconds} s more");
    }
}
