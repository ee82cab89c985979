//! A token issuer in the test, with a clock that the test sets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use shop_core::{Clock, Error, ErrorKind, Result, Timestamp};
use shop_http::{
    Authenticate as _, KeySet, Principal, Refreshed, Rejection, TextSource, TokenVerifier,
};
use uuid::Uuid;

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "shop";
const START: i64 = 1_800_000_000;

/// A clock that a test sets.
#[derive(Debug, Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_secs()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.seconds() * 1_000).unwrap()
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A private key of the issuer.
pub(crate) enum SigningKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encoded(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

impl SigningKey {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let key = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": encoded(&key.n), "e": encoded(&key.e)})
            }
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y)})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().as_ref())})
            }
        };
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .unwrap();
                signature
            }
            Self::Ec(key) => key
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// An issuer with the keys that it publishes.
pub(crate) struct Issuer {
    pub(crate) clock: TestClock,
    pub(crate) published: Published,
    keys: BTreeMap<String, SigningKey>,
}

/// The published document of the issuer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    document: Arc<Mutex<String>>,
    pub(crate) is_unavailable: Arc<AtomicBool>,
    pub(crate) hangs: Arc<AtomicBool>,
    pub(crate) reads: Arc<AtomicUsize>,
}

#[async_trait]
impl TextSource for Published {
    async fn read(&self) -> Result<String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.is_unavailable.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the issuer is unavailable",
            ));
        }
        Ok(self.document.lock().unwrap().clone())
    }
}

impl Issuer {
    /// An issuer with one key, `first`.
    pub(crate) fn new(first: SigningKey) -> Self {
        let clock = TestClock(Arc::new(AtomicI64::new(START)));
        let mut issuer = Self {
            clock,
            published: Published::default(),
            keys: BTreeMap::new(),
        };
        issuer.rotate("first", first);
        issuer
    }

    /// Publishes one more key.
    pub(crate) fn rotate(&mut self, id: &str, key: SigningKey) {
        self.keys.insert(id.to_owned(), key);
        self.publish();
    }

    /// Publishes one key less.
    pub(crate) fn withdraw(&mut self, id: &str) {
        self.keys.remove(id);
        self.publish();
    }

    fn publish(&self) {
        *self.published.document.lock().unwrap() = self.key_set();
    }

    /// The document with the keys.
    pub(crate) fn key_set(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|(id, key)| key.jwk(id)).collect();
        json!({"keys": keys}).to_string()
    }

    pub(crate) fn verifier(&self) -> TokenVerifier {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let parse = |text: &str| Ok(KeySet::parse(text)?);
        let keys = Refreshed::new(
            self.published.clone(),
            parse,
            Duration::from_secs(600),
            Arc::clone(&clock),
        );
        TokenVerifier::new(Arc::new(keys), ISSUER, AUDIENCE, clock)
    }

    /// The claims of a valid token.
    pub(crate) fn claims(&self, subject: &str, scope: &str) -> Value {
        let now = self.clock.seconds();
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": scope, "exp": now + 300, "nbf": now})
    }

    /// A valid token, signed with the key `first`.
    pub(crate) fn token(&self, subject: &str, scope: &str) -> String {
        self.sign("first", &self.claims(subject, scope))
    }

    pub(crate) fn sign(&self, id: &str, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": self.keys[id].algorithm(), "kid": id});
        self.sign_with(id, &header, claims)
    }

    /// A token with any header, signed with the key `id`.
    pub(crate) fn sign_with(&self, id: &str, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        format!(
            "{message}.{}",
            encoded(&self.keys[id].sign(message.as_bytes()))
        )
    }

    /// A token of HS256 whose secret is the public key, as it is published.
    pub(crate) fn sign_with_public_key(&self, claims: &Value) -> String {
        let message = message(
            &json!({"typ": "JWT", "alg": "HS256", "kid": "first"}),
            claims,
        );
        let secret = hmac::Key::new(
            hmac::HMAC_SHA256,
            self.keys["first"].jwk("first").to_string().as_bytes(),
        );
        format!(
            "{message}.{}",
            encoded(hmac::sign(&secret, message.as_bytes()).as_ref())
        )
    }

    /// A token without a signature.
    pub(crate) fn unsigned(claims: &Value) -> String {
        format!(
            "{}.",
            message(
                &json!({"typ": "JWT", "alg": "none", "kid": "first"}),
                claims
            )
        )
    }
}

fn message(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encoded(header.to_string().as_bytes()),
        encoded(claims.to_string().as_bytes())
    )
}

#[tokio::test]
async fn only_tokens_may_be_valid_while_the_issuer_was_never_readable() {
    let issuer = Issuer::new(SigningKey::ed());
    issuer
        .published
        .is_unavailable
        .store(true, Ordering::Relaxed);
    let verifier = issuer.verifier();
    assert_eq!(
        verifier.principal(&issuer.token("1", "")).await,
        Err(Rejection::Unavailable)
    );
    let removed = verifier.principal("an API key").await;
    assert!(
        matches!(removed, Err(Rejection::Invalid(_))),
        "its streams of events end: {removed:?}"
    );
}

#[tokio::test]
async fn clients_without_a_subject_are_different_services() {
    let issuer = Issuer::new(SigningKey::ed());
    let verifier = issuer.verifier();
    for (claim, client) in [("client_id", "a"), ("azp", "b")] {
        let mut claims = issuer.claims("1", "");
        (claims["sub"], claims[claim]) = (Value::Null, json!(client));
        let found = verifier.principal(&issuer.sign("first", &claims)).await;
        assert_eq!(found, Ok(Principal::service(format!("token of {client}"))));
    }
}
