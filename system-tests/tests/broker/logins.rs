//! Brokers with authentication and authorization.

use std::collections::BTreeSet;

use crate::fixture::KafkaFixture;
use crate::kafka_container::KafkaContainer;
use shop_core::conformance::LogFixture as _;
use shop_core::log::{DeadLetters as _, LogSource as _};
use shop_core::ports::PurchaseSink as _;
use shop_core::{Error, ErrorKind};
use shop_kafka::{KafkaLog, SaslMechanism};

use crate::raw::{self, Right};
use crate::servers::{self, Logins};
use crate::support::{publish_with_retries, purchase, read_all, soon};

async fn as_user(
    logins: &Logins,
    (name, password): (&str, &str),
    mechanism: SaslMechanism,
) -> KafkaFixture {
    KafkaFixture::on_brokers_with(&logins.address, |options| {
        options.username = Some(name.to_owned());
        options.password = Some(password.to_owned().into());
        options.mechanism = mechanism;
    })
    .await
}

/// An authorized user can write, read and check.
pub(crate) async fn works(fixture: &KafkaFixture) {
    let sink = fixture.log().sink();
    let source = fixture.source("group").await;
    let purchase = purchase(1);
    soon("publish", sink.publish(&purchase)).await.unwrap();
    read_all(source.as_ref(), &BTreeSet::from([purchase.id])).await;
    for check in [
        sink.check(),
        source.check(),
        fixture.log().dead_letters().check(),
    ] {
        soon("check", check).await.unwrap();
    }
}

/// The errors of all ports of `log` without access.
async fn refusals(log: &KafkaLog) -> Vec<(&'static str, Error)> {
    let (sink, source, dead_letters) =
        (log.sink(), log.source("group").unwrap(), log.dead_letters());
    let purchase = purchase(1);
    vec![
        (
            "publish",
            soon("publish", sink.publish(&purchase)).await.unwrap_err(),
        ),
        ("next", soon("next", source.next()).await.unwrap_err()),
        ("put", soon("put", dead_letters.put(&[])).await.unwrap_err()),
        (
            "check of the sink",
            soon("check", sink.check()).await.unwrap_err(),
        ),
        (
            "check of the source",
            soon("check", source.check()).await.unwrap_err(),
        ),
        (
            "check of the dead letters",
            soon("check", dead_letters.check()).await.unwrap_err(),
        ),
    ]
}

async fn is_denied(fixture: &KafkaFixture, advice: &str) {
    for (call, error) in refusals(fixture.log()).await {
        assert_eq!(error.kind(), ErrorKind::Denied, "{call}: {error}");
        assert!(error.message().contains(advice), "{call}: {error}");
        assert!(!format!("{error:?}").contains(WRONG), "{call}: {error:?}");
    }
}

const WRONG: &str = "not-the-password";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_plain_works() {
    let Some(logins) = servers::plain_logins().await else {
        return;
    };
    works(&as_user(&logins, KafkaContainer::USER, SaslMechanism::Plain).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_denied() {
    let Some(logins) = servers::logins().await else {
        return;
    };
    // Brokers with SCRAM alone reject any login with PLAIN.
    let fixture = as_user(
        &logins,
        (KafkaContainer::USER.0, WRONG),
        SaslMechanism::Plain,
    )
    .await;
    is_denied(&fixture, "KAFKA_PASSWORD").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topic_rights_are_denied() {
    let Some(logins) = servers::plain_logins().await else {
        return;
    };
    let fixture = as_user(&logins, KafkaContainer::GUEST, SaslMechanism::Plain).await;
    is_denied(&fixture, "grant READ, WRITE and DESCRIBE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_operations_name_the_missing_right() {
    let Some(logins) = servers::plain_logins().await else {
        return;
    };
    let Some(grants) = logins.anybody() else {
        panic!("a broker in a container")
    };
    let guest = as_user(&logins, KafkaContainer::GUEST, SaslMechanism::Plain).await;
    let sink = guest.log().sink();
    let topic = guest.topic();
    let (user, _) = KafkaContainer::GUEST;

    raw::grant(grants, user, topic, &[Right::Describe]).await;
    soon(
        "create",
        retry_until_denied("grant CREATE", || sink.check()),
    )
    .await;

    // Another client creates it.
    let open =
        KafkaFixture::on_brokers_with(grants, |options| options.topic = topic.to_owned()).await;
    soon("check", open.log().sink().check()).await.unwrap();
    soon("check", async { while sink.check().await.is_err() {} }).await;
    let error = soon("publish", sink.publish(&purchase(1)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.message().contains("grant WRITE on the topic"),
        "{error}"
    );

    raw::grant(grants, user, topic, &[Right::Read, Right::Write]).await;
    publish_with_retries(&sink, &purchase(1)).await;
    let error = soon("next", guest.log().source("group").unwrap().next())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.message().contains("consumer group: grant READ"),
        "{error}"
    );
}

/// Calls until it is denied for this reason: granted rights take effect with a delay.
async fn retry_until_denied<F: Future<Output = shop_core::Result<()>>>(
    advice: &str,
    call: impl Fn() -> F,
) {
    loop {
        let error = call().await.unwrap_err();
        if error.message().contains(advice) {
            return assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_scram_works_and_a_wrong_one_is_denied() {
    let Some((logins, (name, password))) = servers::scram_logins() else {
        return;
    };
    works(&as_user(&logins, (&name, &password), SaslMechanism::ScramSha256).await).await;
    let fixture = as_user(&logins, (&name, WRONG), SaslMechanism::ScramSha256).await;
    is_denied(&fixture, "KAFKA_PASSWORD").await;
}
