//! The tests of every store of users.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use shop_core::conformance::{declared, soon};
use shop_core::log::LogRecord;
use shop_core::ports::InsertOutcome;
use shop_core::{RequestContext, Uuid};

use super::UsersFixture;
use super::entities::{new_order, new_user};
use crate::entity::{Entity as _, Insertion};
use crate::orders::{Order, OrderNumber};
use crate::outbox::Outbox;
use crate::users::{NewUser, User, UserNumber, UserStore};

async fn register(users: &dyn UserStore, new: &NewUser) -> Insertion<User> {
    soon("register", users.insert(new)).await.expect("register")
}

async fn registered(users: &dyn UserStore, new: &NewUser) -> User {
    match register(users, new).await {
        Insertion::Inserted(user) => user,
        other => panic!("{other:?}"),
    }
}

async fn published_events(outbox: &dyn Outbox) -> Vec<LogRecord> {
    let pending = soon("pending", outbox.pending(10_000))
        .await
        .expect("pending");
    pending.into_iter().map(|entry| entry.record).collect()
}

/// Refused users leave no gaps.
pub async fn numbers_have_no_gaps(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let first = new_user("ada");
    assert_eq!(registered(&*users, &first).await.id, UserNumber::new(1));
    assert_eq!(
        register(&*users, &new_user("ada")).await,
        Insertion::Refused
    );
    let other = NewUser::new(first.key.clone(), new_user("bob").email, first.name.clone());
    assert_eq!(register(&*users, &other).await, Insertion::KeyTaken);
    assert!(matches!(
        register(&*users, &first).await,
        Insertion::AlreadyInserted(_)
    ));
    for number in 2..5 {
        let user = registered(&*users, &new_user(&format!("user-{number}"))).await;
        assert_eq!(user.id, UserNumber::new(number));
    }
}

/// Concurrent registrations get distinct numbers without gaps.
pub async fn racing_users_leave_no_gap(fixture: &dyn UsersFixture) {
    const USERS: i64 = 40;
    let users = fixture.users().await;
    let register = |number: i64| {
        let users = Arc::clone(&users);
        // Each third address is shared by several.
        let name = if number % 3 == 0 {
            "taken".to_owned()
        } else {
            format!("user-{number}")
        };
        tokio::spawn(async move { register(&*users, &new_user(&name)).await })
    };
    let mut numbers = BTreeSet::new();
    for registration in join_all((1..=USERS).map(register)).await {
        if let Insertion::Inserted(user) = registration.unwrap() {
            assert!(numbers.insert(user.id.get()), "{user:?}");
        }
    }
    let count = i64::try_from(numbers.len()).unwrap();
    assert_eq!(count, USERS - USERS / 3 + 1);
    assert_eq!(numbers, (1..=count).collect());
}

/// A registered user is found unchanged, an unknown number is not.
pub async fn a_registered_user_is_found(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let legacy = [("uni@exämple.com", "Ünï\n<b>"), ("a@b.de", "")];
    let can = declared(
        fixture.capabilities().legacy_rows,
        "users that only the replaced systems accept",
    );
    let plain = [
        ("Ada.Lovelace+x@example.com", "Ada Lovelace"),
        ("ünï@exämple.com", "Ünï \"—😀 <b>"),
    ];
    for (email, name) in plain.into_iter().chain(legacy.into_iter().filter(|_| can)) {
        let new = NewUser::new(
            Uuid::now_v7().into(),
            email.parse().unwrap(),
            name.parse().unwrap(),
        );
        let user = registered(&*users, &new).await;
        assert_eq!((user.email.as_str(), user.name.as_str()), (email, name));
        assert_eq!(soon("user", users.get(user.id)).await.unwrap(), Some(user));
    }
    for unknown in [0, -1, 5, i64::MAX, i64::MIN] {
        assert_eq!(
            soon("user", users.get(UserNumber::new(unknown)))
                .await
                .unwrap(),
            None
        );
    }
}

/// Of 50 concurrent registrations with one address, one succeeds.
pub async fn an_email_is_unique(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let register = |_| {
        let users = Arc::clone(&users);
        tokio::spawn(async move { register(&*users, &new_user("ada")).await })
    };
    let outcomes = join_all((0..50).map(register)).await;
    let outcomes: Vec<Insertion<User>> = outcomes.into_iter().map(Result::unwrap).collect();
    let taken = outcomes
        .iter()
        .filter(|outcome| **outcome == Insertion::Refused)
        .count();
    assert_eq!(taken, 49, "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .any(|outcome| matches!(outcome, Insertion::Inserted(_)))
    );
}

/// The case of a domain matters neither for comparison nor in the event.
pub async fn an_email_domain_is_case_insensitive(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let with_email = |email: &str| NewUser {
        email: email.parse().unwrap(),
        ..new_user("ada")
    };
    let user = registered(&*users, &with_email("Ada@Example.COM")).await;
    assert_eq!(user.email.as_str(), "Ada@example.com");
    assert_eq!(
        register(&*users, &with_email("Ada@EXAMPLE.com")).await,
        Insertion::Refused
    );
    assert_eq!(
        registered(&*users, &with_email("ada@example.com"))
            .await
            .id
            .get(),
        2
    );
}

/// A repeated key with the same content returns the first user, without another event.
pub async fn a_key_makes_registration_idempotent(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let outbox = fixture.outbox().await;
    let new = new_user("ada");
    let user = registered(&*users, &new).await;
    for _ in 0..3 {
        assert_eq!(
            register(&*users, &new).await,
            Insertion::AlreadyInserted(user.clone())
        );
    }
    assert_eq!(published_events(&*outbox).await.len(), 1);
}

/// A key with any other content is taken.
pub async fn a_key_belongs_to_one_user(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let first = new_user("ada");
    registered(&*users, &first).await;
    let other_name = NewUser {
        name: "Eva".parse().unwrap(),
        ..first.clone()
    };
    let other_email = NewUser {
        email: new_user("eva").email,
        ..first.clone()
    };
    for other in [other_name, other_email] {
        assert_eq!(register(&*users, &other).await, Insertion::KeyTaken);
    }
}

/// Events contain the context of their requests.
pub async fn each_user_has_one_event(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let outbox = fixture.outbox().await;
    let mut expected = Vec::new();
    for number in 0..10 {
        let context = RequestContext::new(Some(format!("request-{number}")), None);
        let new = new_user(&format!("user-{number}")).with_context(Some(Box::new(context)));
        let user = registered(&*users, &new).await;
        expected.push(user.event(&new).unwrap());
        assert_eq!(
            register(&*users, &new_user(&format!("user-{number}"))).await,
            Insertion::Refused
        );
    }
    assert_eq!(published_events(&*outbox).await, expected);
}

/// Orders are listed for known users only, each once.
pub async fn order_events_are_applied_once(fixture: &dyn UsersFixture) {
    let users = fixture.users().await;
    let events = fixture.events().await;
    let ada = registered(&*users, &new_user("ada")).await;
    let eva = registered(&*users, &new_user("eva")).await;
    let order =
        |number: i64, user: i64| Order::with_number(&new_order(user), OrderNumber::new(number));
    let batch: Arc<[Order]> = Arc::new([
        order(1, 1),
        order(2, 1),
        order(3, 99),
        order(2, 1),
        order(5, 2),
    ]);
    let outcomes = soon("apply", events.apply(Arc::clone(&batch)))
        .await
        .expect("apply");
    assert!(matches!(
        outcomes[..],
        [
            InsertOutcome::Inserted,
            InsertOutcome::Inserted,
            InsertOutcome::Inserted,
            InsertOutcome::Duplicate,
            InsertOutcome::Inserted
        ]
    ));
    let again = soon("apply", events.apply(batch)).await.expect("apply");
    assert!(
        again
            .iter()
            .all(|outcome| matches!(outcome, InsertOutcome::Duplicate)),
        "{again:?}"
    );
    // For an order number with two users, the first one counts.
    let other = soon("apply", events.apply(Arc::new([order(1, 2)])))
        .await
        .expect("apply");
    assert!(matches!(other[..], [InsertOutcome::Conflict]), "{other:?}");
    let of = |id: UserNumber| {
        let users = Arc::clone(&users);
        async move {
            soon("orders_of", users.orders_of(id))
                .await
                .expect("orders_of")
        }
    };
    let numbers = |numbers: &[i64]| {
        Some(
            numbers
                .iter()
                .map(|number| OrderNumber::new(*number))
                .collect(),
        )
    };
    assert_eq!(of(ada.id).await, numbers(&[1, 2]));
    assert_eq!(of(eva.id).await, numbers(&[5]));
    assert_eq!(of(UserNumber::new(99)).await, None);
}
