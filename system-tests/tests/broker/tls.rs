//! Brokers with TLS: certificates of clients, logins, and tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shop_core::{Clock as _, Result, SystemClock, Timestamp};
use shop_kafka::{OauthToken, OauthTokenProvider};
use tokio::runtime::Handle;

use crate::logins::{WRONG, is_denied, works};
use crate::prelude::*;
use crate::servers::Tls;

fn with_tls(tls: &Tls) -> impl FnOnce(&mut KafkaLogOptions) {
    |options| {
        options.tls = true;
        options.ca_file = tls.file("ca.crt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_presented_and_required() {
    let Some(tls) = servers::tls() else { return };
    let with_certificate = KafkaFixture::on_brokers_with(&tls.certificates, |options| {
        with_tls(&tls)(options);
        options.cert_file = tls.file("client.crt");
        options.key_file = tls.file("client.key");
    });
    works(&with_certificate.await).await;
    let without = KafkaFixture::on_brokers_with(&tls.certificates, with_tls(&tls)).await;
    let error = soon("publish", without.log().sink().publish(&purchase(1)))
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_scram_works_over_tls_and_a_wrong_one_is_denied() {
    let Some(tls) = servers::tls() else { return };
    let log_in = |password: &str, options: &mut KafkaLogOptions| {
        with_tls(&tls)(options);
        options.username = Some(tls.user.clone());
        options.password = Some(password.to_owned().into());
        options.mechanism = SaslMechanism::ScramSha256;
    };
    let known =
        KafkaFixture::on_brokers_with(&tls.logins, |options| log_in(&tls.password, options));
    works(&known.await).await;
    let wrong = KafkaFixture::on_brokers_with(&tls.logins, |options| log_in(WRONG, options));
    is_denied(&wrong.await, "KAFKA_PASSWORD").await;
    // A client certificate is not an authority.
    let unknown = KafkaFixture::on_brokers_with(&tls.logins, |options| {
        log_in(&tls.password, options);
        options.ca_file = tls.file("client.crt");
    });
    let sink = unknown.await.log().sink();
    let published = soon("publish", sink.publish(&purchase(1))).await;
    let error = published.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

/// Tokens without a signature, which the broker of the tests accepts. Each expires soon.
#[derive(Debug)]
struct Issuer {
    issued: AtomicUsize,
    is_unavailable: bool,
    runtime: Handle,
}

impl Issuer {
    fn new(is_unavailable: bool) -> Arc<Self> {
        Arc::new(Self {
            issued: AtomicUsize::new(0),
            is_unavailable,
            runtime: Handle::current(),
        })
    }
}

const LIFETIME_MILLIS: i64 = 3_000;

impl OauthTokenProvider for Issuer {
    fn token(&self) -> Result<OauthToken> {
        if self.is_unavailable {
            let why = "the issuer is unavailable";
            return Err(shop_core::Error::new(ErrorKind::Unavailable, why));
        }
        // Panics in an async task, where it is never called.
        self.runtime.block_on(tokio::task::yield_now());
        self.issued.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.now().as_millis();
        let issued = now / 1_000;
        let expires = (now + LIFETIME_MILLIS) / 1_000 + 60;
        let claims = format!(r#"{{"sub":"shop","iat":{issued},"exp":{expires}}}"#);
        let encoded = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
        let token = format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(&claims));
        let expires_at = Timestamp::from_millis(now + LIFETIME_MILLIS).unwrap();
        Ok(OauthToken::new(token, "shop", expires_at))
    }
}

fn with_tokens(tls: &Tls, issuer: &Arc<Issuer>) -> impl FnOnce(&mut KafkaLogOptions) {
    let issuer = Arc::clone(issuer);
    move |options| {
        with_tls(tls)(options);
        options.oauth = Some(issuer);
        options.mechanism = SaslMechanism::OauthBearer;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_presented_and_renewed() {
    let Some(tls) = servers::tls() else { return };
    let open = KafkaFixture::on_brokers_with(&tls.open, |_| {}).await;
    for call in [open.log().sink().check(), open.log().put_dead_letters(&[])] {
        soon("create the topics", call).await.unwrap();
    }
    let issuer = Issuer::new(false);
    let fixture = KafkaFixture::on_brokers_with(&tls.logins, |options| {
        with_tokens(&tls, &issuer)(options);
        options.topic = open.topic().to_owned();
    });
    let fixture = fixture.await;
    works(&fixture).await;
    // The producer, the consumer and the monitor of the topics have one each, and renew it.
    let issued = issuer.issued.load(Ordering::Relaxed);
    assert!(issued >= 3, "{issued}");
    let sink = fixture.log().sink();
    let mut published = 1;
    while issuer.issued.load(Ordering::Relaxed) < issued + 3 {
        soon("publish", sink.publish(&purchase(1))).await.unwrap();
        published += 1;
    }
    // A scan has its own client.
    assert_eq!(scanned(fixture.log()).await.len(), published);
    let pending = fixture.log().pending_dead_letters();
    assert!(soon("list", pending).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_token_and_a_missing_topic_are_explained() {
    let Some(tls) = servers::tls() else { return };
    for (is_unavailable, why) in [
        (true, "issuer is unavailable"),
        (false, "is missing, and is not created here (OAUTHBEARER)"),
    ] {
        let issuer = Issuer::new(is_unavailable);
        let fixture = KafkaFixture::on_brokers_with(&tls.logins, with_tokens(&tls, &issuer)).await;
        let sink = fixture.log().sink();
        let error = soon("publish", sink.publish(&purchase(1))).await;
        let error = error.unwrap_err();
        assert!(error.message().contains(why), "{error}");
    }
}
