//! Brokers with authentication and authorization.

use shop_core::Error;
use shop_core::log::LogSource as _;

use crate::prelude::*;
use crate::raw::{self, Right};
use crate::servers::Logins;

const WRONG: &str = "not-the-password";

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
    let dead_letters = fixture.log().dead_letters();
    for check in [sink.check(), source.check(), dead_letters.check()] {
        soon("check", check).await.unwrap();
    }
}

/// The errors of all ports of `log` without access.
async fn refusals(log: &KafkaLog) -> Vec<Error> {
    let sink = log.sink();
    let source = log.source("group").unwrap();
    let dead_letters = log.dead_letters();
    let published = soon("publish", sink.publish(&purchase(1))).await;
    let mut errors = vec![
        published.unwrap_err(),
        soon("next", source.next()).await.unwrap_err(),
    ];
    for call in [
        dead_letters.put(&[]),
        sink.check(),
        source.check(),
        dead_letters.check(),
    ] {
        errors.push(soon("refuse", call).await.unwrap_err());
    }
    errors
}

fn assert_denied(error: &Error, advice: &str) {
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.message().contains(advice), "{error}");
    assert!(!format!("{error:?}").contains(WRONG), "{error:?}");
}

async fn is_denied(fixture: &KafkaFixture, advice: &str) {
    for error in refusals(fixture.log()).await {
        assert_denied(&error, advice);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_works_and_a_wrong_one_is_denied() {
    let Some(logins) = servers::logins().await else {
        return;
    };
    // Brokers with SCRAM alone reject any login with PLAIN.
    let wrong = (KafkaContainer::USER.0, WRONG);
    let fixture = as_user(&logins, wrong, SaslMechanism::Plain).await;
    is_denied(&fixture, "KAFKA_PASSWORD").await;
    if logins.anybody().is_some() {
        works(&as_user(&logins, KafkaContainer::USER, SaslMechanism::Plain).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_scram_works_and_a_wrong_one_is_denied() {
    let Some((logins, (name, password))) = servers::scram_logins() else {
        return;
    };
    let scram = SaslMechanism::ScramSha256;
    works(&as_user(&logins, (&name, &password), scram).await).await;
    let fixture = as_user(&logins, (&name, WRONG), scram).await;
    is_denied(&fixture, "KAFKA_PASSWORD").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_operations_name_the_missing_right() {
    let Some(logins) = servers::plain_logins().await else {
        return;
    };
    let grants = logins.anybody().unwrap();
    let guest = as_user(&logins, KafkaContainer::GUEST, SaslMechanism::Plain).await;
    is_denied(&guest, "grant READ, WRITE and DESCRIBE").await;
    let sink = guest.log().sink();
    let topic = guest.topic();
    let (user, _) = KafkaContainer::GUEST;

    // Granted rights take effect with a delay.
    raw::grant(grants, user, topic, &[Right::Describe]).await;
    let create = async {
        loop {
            let error = sink.check().await.unwrap_err();
            if error.message().contains("grant CREATE") {
                return error;
            }
        }
    };
    assert_denied(&soon("create", create).await, "grant CREATE");

    // Another client creates it.
    let open =
        KafkaFixture::on_brokers_with(grants, |options| options.topic = topic.to_owned()).await;
    soon("check", open.log().sink().check()).await.unwrap();
    soon("check", async { while sink.check().await.is_err() {} }).await;
    let published = soon("publish", sink.publish(&purchase(1))).await;
    assert_denied(&published.unwrap_err(), "grant WRITE on the topic");

    raw::grant(grants, user, topic, &[Right::Read, Right::Write]).await;
    publish_with_retries(&sink, &purchase(1)).await;
    let source = guest.log().source("group").unwrap();
    let read = soon("next", source.next()).await;
    assert_denied(&read.unwrap_err(), "consumer group: grant READ");
}
