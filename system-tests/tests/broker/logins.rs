//! Brokers with authentication and authorization.

use shop_core::Error;
use shop_core::log::LogSource as _;

use crate::prelude::*;
use crate::raw::{self, Right};

pub(crate) const WRONG: &str = "not-the-password";

/// A log of a user who logs in with `PLAIN`.
async fn as_user(address: &str, (name, password): (&str, &str)) -> KafkaFixture {
    KafkaFixture::on_brokers_with(address, |options| {
        options.username = Some(name.to_owned());
        options.password = Some(password.to_owned().into());
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
    let log = fixture.log();
    for call in [sink.check(), log.check(), log.put_dead_letters(&[])] {
        soon("check", call).await.unwrap();
    }
}

/// The errors of all ports of `log` without access.
async fn refusals(log: &KafkaLog) -> Vec<Error> {
    let sink = log.sink();
    let source = log.source("group").unwrap();
    let published = soon("publish", sink.publish(&purchase(1))).await;
    let mut errors = vec![
        published.unwrap_err(),
        soon("next", source.next()).await.unwrap_err(),
    ];
    for call in [log.put_dead_letters(&[]), sink.check(), log.check()] {
        errors.push(soon("refuse", call).await.unwrap_err());
    }
    errors
}

fn assert_denied(error: &Error, advice: &str) {
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.message().contains(advice), "{error}");
    assert!(!format!("{error:?}").contains(WRONG), "{error:?}");
}

pub(crate) async fn is_denied(fixture: &KafkaFixture, advice: &str) {
    for error in refusals(fixture.log()).await {
        assert_denied(&error, advice);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_works_and_a_wrong_one_is_denied() {
    let Some((address, container)) = servers::logins().await else {
        return;
    };
    // Brokers with SCRAM alone reject any login with PLAIN.
    let wrong = as_user(&address, (KafkaContainer::USER.0, WRONG)).await;
    is_denied(&wrong, "KAFKA_PASSWORD").await;
    if container.is_some() {
        works(&as_user(&address, KafkaContainer::USER).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_operations_name_the_missing_right() {
    let Some(container) = servers::plain_logins().await else {
        return;
    };
    let grants = &container.address;
    let guest = as_user(&container.login_address, KafkaContainer::GUEST).await;
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
