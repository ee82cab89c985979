//! A server that loses answers, is late, or refuses: no user is lost or doubled, and no number left out.

use std::time::Duration;

use bson::doc;
use shop_core::conformance::EntityStores;
use shop_core::outbox::Outbox;
use shop_core::users::{NewUser, Registration, User, UserNumber, UserStore};
use shop_core::{ErrorKind, Outcome, Uuid};

use crate::mongo::faulty_server::{Fault, FaultyServer};
use crate::mongo::fixture::MongoAccounts;
use crate::mongo::{MongoEntityOptions, MongoUsers};

/// Users who reach their server through one that misbehaves, and a way to it that does not.
struct Faulty {
    server: FaultyServer,
    users: MongoUsers,
    direct: MongoAccounts,
}

impl Faulty {
    async fn start() -> Option<Self> {
        let direct = MongoAccounts::on_test_server().await?;
        let server = FaultyServer::before(direct.uri()).await;
        let database = direct.user_store().clone().rows.connection.database.name().to_owned();
        let mut options = MongoEntityOptions::new(server.uri.clone(), database);
        options.insert_timeout = Duration::from_secs(1);
        let users = MongoUsers::open(options).await.unwrap();
        Some(Self { server, users, direct })
    }

    async fn registered(&self, new: &NewUser) -> User {
        match self.users.register(new).await.unwrap() {
            Registration::Registered(user) => user,
            unexpected => panic!("{unexpected:?}"),
        }
    }
}

fn new_user(name: &str) -> NewUser {
    let email = format!("{name}@example.com").parse().unwrap();
    NewUser::new(Uuid::now_v7().into(), email, name.parse().unwrap())
}

/// It is made, and nobody hears that it will stay.
fn lost_replies() -> Vec<Fault> {
    let not_durable = doc! { "code": 64, "errmsg": "on purpose" };
    vec![
        Fault::AnswerLost,
        Fault::Late(Duration::from_secs(5)),
        Fault::AnsweredWith(doc! { "ok": 1.0, "n": 1, "writeConcernError": not_durable }),
    ]
}

#[tokio::test]
async fn a_retry_after_a_lost_reply_returns_the_registered_user() {
    let Some(faulty) = Faulty::start().await else { return };
    let mut last = faulty.registered(&new_user("first")).await.id;
    for (number, fault) in lost_replies().into_iter().enumerate() {
        let lost = new_user(&format!("lost-{number}"));
        faulty.server.next("insert", [fault.clone()]);
        let error = faulty.users.register(&lost).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{fault:?}");
        assert!(error.is_retryable(), "{fault:?}");
        // Who comes next does not get the number of whom nobody has heard.
        let next = faulty.registered(&new_user(&format!("next-{number}"))).await;
        assert_eq!(next.id, last.next().next(), "{fault:?}");
        let found = faulty.users.register(&lost).await.unwrap();
        assert_eq!(found, Registration::AlreadyRegistered(lost.with_id(last.next())), "{fault:?}");
        last = next.id;
    }
    assert!(faulty.server.is_spent(), "each of them was met");
    let entries = faulty.direct.user_store().clone().pending(100).await.unwrap();
    let told: Vec<i64> = entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(told, (1..=last.get()).collect::<Vec<_>>(), "each is told of once");
}

#[tokio::test]
async fn failed_registrations_leave_no_gap() {
    let Some(faulty) = Faulty::start().await else { return };
    faulty.registered(&new_user("first")).await;
    let refused = |code: i32| Fault::Refused(doc! { "ok": 0.0, "errmsg": "on purpose", "code": code });
    let of_the_document = doc! { "index": 0, "code": 121, "errmsg": "on purpose" };
    let faults = [
        (Fault::NotArrived, ErrorKind::Unavailable),
        (refused(10107), ErrorKind::Unavailable),
        (refused(13), ErrorKind::Denied),
        (Fault::Refused(doc! { "ok": 1.0, "n": 0, "writeErrors": [of_the_document] }), ErrorKind::Invalid),
    ];
    for (number, (fault, kind)) in (2..).zip(faults) {
        faulty.server.next("insert", [fault.clone()]);
        let new = new_user(&format!("user-{number}"));
        assert_eq!(faulty.users.register(&new).await.unwrap_err().kind(), kind, "{fault:?}");
        assert_eq!(faulty.registered(&new).await.id, UserNumber::new(number), "{fault:?}");
    }
    assert!(faulty.server.is_spent(), "each of them was met");
}

#[tokio::test]
async fn registration_fails_without_indexes() {
    let Some(faulty) = Faulty::start().await else { return };
    let refused = doc! { "ok": 0.0, "errmsg": "on purpose", "code": 13, "codeName": "Unauthorized" };
    faulty.server.next("createIndexes", [Fault::Refused(refused)]);
    let error = faulty.users.register(&new_user("ada")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Denied, Outcome::NotApplied));
    assert!(faulty.server.is_spent());
    assert_eq!(faulty.direct.user_store().clone().user(UserNumber::FIRST).await.unwrap(), None);
    // Once they are allowed, all goes on by itself.
    assert_eq!(faulty.registered(&new_user("ada")).await.id, UserNumber::FIRST);
    assert_eq!(faulty.users.register(&new_user("ada")).await.unwrap(), Registration::EmailTaken);
}

#[tokio::test]
async fn a_foreign_unique_index_rejects_permanently() {
    let Some(faulty) = Faulty::start().await else { return };
    faulty.registered(&new_user("first")).await;
    let message =
        "E11000 duplicate key error collection: shop.users index: name_1 dup key: { name: \"ada\" }";
    let foreign = doc! { "index": 0, "code": 11000, "errmsg": message };
    faulty.server.next("insert", [Fault::Refused(doc! { "ok": 1.0, "n": 0, "writeErrors": [foreign] })]);
    let error = faulty.users.register(&new_user("ada")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Invalid, false));
}
