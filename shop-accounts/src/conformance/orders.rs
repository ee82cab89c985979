//! The tests of every store of orders.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use shop_core::conformance::{declared, soon};
use shop_core::log::LogRecord;
use shop_core::ports::InsertOutcome;
use shop_core::{IdempotencyKey, RequestContext, Uuid};

use super::OrdersFixture;
use super::entities::{new_order, user};
use crate::entity::{Entity as _, EntityStore, Insertion};
use crate::orders::{NewOrder, Order, OrderNumber};
use crate::outbox::Outbox;
use crate::users::UserNumber;

async fn place(orders: &dyn EntityStore<Order>, new: &NewOrder) -> Insertion<Order> {
    soon("place", orders.insert(new)).await.expect("place")
}

async fn placed(orders: &dyn EntityStore<Order>, new: &NewOrder) -> Order {
    match place(orders, new).await {
        Insertion::Inserted(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn consume_users(
    fixture: &dyn OrdersFixture,
    users: std::ops::RangeInclusive<i64>,
) -> Vec<InsertOutcome> {
    let users = users.map(user).collect::<Vec<_>>().into();
    soon("apply", fixture.events().await.apply(users))
        .await
        .expect("apply")
}

async fn published_events(outbox: &dyn Outbox) -> Vec<LogRecord> {
    let pending = soon("pending", outbox.pending(10_000))
        .await
        .expect("pending");
    pending.into_iter().map(|entry| entry.record).collect()
}

/// An order of an unknown user is refused until the user's event is applied.
pub async fn user_events_are_applied_once(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    let new = new_order(1);
    assert_eq!(place(&*orders, &new).await, Insertion::Refused);
    assert!(matches!(
        consume_users(fixture, 1..=1).await[..],
        [InsertOutcome::Inserted]
    ));
    assert_eq!(placed(&*orders, &new).await.id, OrderNumber::new(1));
    for unknown in [2, 0, -1, i64::MAX] {
        assert_eq!(
            place(&*orders, &new_order(unknown)).await,
            Insertion::Refused
        );
    }
}

/// Applying an event again changes nothing, in the same batch or in another one.
pub async fn user_events_are_idempotent(fixture: &dyn OrdersFixture) {
    let events = fixture.events().await;
    let batch = Arc::new([user(1), user(2), user(1)]);
    let outcomes = soon("apply", events.apply(batch)).await.expect("apply");
    assert!(matches!(
        outcomes[..],
        [
            InsertOutcome::Inserted,
            InsertOutcome::Inserted,
            InsertOutcome::Duplicate
        ]
    ));
    let again = consume_users(fixture, 1..=3).await;
    assert!(matches!(
        again[..],
        [
            InsertOutcome::Duplicate,
            InsertOutcome::Duplicate,
            InsertOutcome::Inserted
        ]
    ));
    placed(&*fixture.orders().await, &new_order(3)).await;
}

/// Refused orders leave no gaps.
pub async fn numbers_have_no_gaps(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    consume_users(fixture, 1..=2).await;
    let first = new_order(1);
    assert_eq!(placed(&*orders, &first).await.id, OrderNumber::new(1));
    assert_eq!(place(&*orders, &new_order(9)).await, Insertion::Refused);
    assert_eq!(
        place(
            &*orders,
            &NewOrder {
                quantity: 9,
                ..first.clone()
            }
        )
        .await,
        Insertion::KeyTaken
    );
    assert!(matches!(
        place(&*orders, &first).await,
        Insertion::AlreadyInserted(_)
    ));
    for number in 2..5 {
        assert_eq!(
            placed(&*orders, &new_order(1 + number % 2)).await.id,
            OrderNumber::new(number)
        );
    }
}

/// Concurrent orders get distinct numbers without gaps.
pub async fn racing_orders_leave_no_gap(fixture: &dyn OrdersFixture) {
    const ORDERS: i64 = 40;
    let orders = fixture.orders().await;
    consume_users(fixture, 1..=5).await;
    let place = |number: i64| {
        let orders = Arc::clone(&orders);
        tokio::spawn(async move { placed(&*orders, &new_order(1 + number % 5)).await.id.get() })
    };
    let numbers = join_all((0..ORDERS).map(place)).await;
    let numbers: BTreeSet<i64> = numbers.into_iter().map(Result::unwrap).collect();
    assert_eq!(numbers, (1..=ORDERS).collect());
}

/// A placed order is found unchanged, an unknown number is not.
pub async fn a_placed_order_is_found(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    consume_users(fixture, 1..=1).await;
    let legacy = [("", -1, "-0.01"), ("Ünï\n<b>", 1, "1.00"), ("x", 0, "0.00")];
    let can = declared(
        fixture.capabilities().legacy_rows,
        "orders that only the replaced systems accept",
    );
    let plain = [
        ("Notebook", 2, "50.00"),
        ("Ünï \"—😀 <b>", i32::MAX, "99999999.99"),
        ("x", 1, "0.00"),
    ];
    for (product, quantity, price) in plain.into_iter().chain(legacy.into_iter().filter(|_| can)) {
        let user = UserNumber::new(1);
        let product = product.parse().unwrap();
        let new = NewOrder::new(
            Uuid::now_v7().into(),
            user,
            product,
            quantity,
            price.parse().unwrap(),
        );
        let order = placed(&*orders, &new).await;
        assert_eq!(order, Order::with_number(&new, order.id));
        assert_eq!(
            soon("order", orders.get(order.id)).await.unwrap(),
            Some(order)
        );
    }
    for none in [0, -1, 7, i64::MAX] {
        assert_eq!(
            soon("order", orders.get(OrderNumber::new(none)))
                .await
                .unwrap(),
            None
        );
    }
}

/// A repeated key with the same content returns the first order, without another event.
pub async fn a_key_makes_placement_idempotent(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    let outbox = fixture.outbox().await;
    consume_users(fixture, 1..=1).await;
    let new = new_order(1);
    let order = placed(&*orders, &new).await;
    for _ in 0..3 {
        assert_eq!(
            place(&*orders, &new).await,
            Insertion::AlreadyInserted(order.clone())
        );
    }
    assert_eq!(published_events(&*outbox).await.len(), 1);
}

/// A key with any other content is taken.
pub async fn a_key_belongs_to_one_order(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    consume_users(fixture, 1..=2).await;
    let first = new_order(1);
    placed(&*orders, &first).await;
    for other in [
        NewOrder {
            user_id: UserNumber::new(2),
            ..first.clone()
        },
        NewOrder {
            product: "Pencil".parse().unwrap(),
            ..first.clone()
        },
        NewOrder {
            quantity: 3,
            ..first.clone()
        },
        NewOrder {
            total_price: "50.01".parse().unwrap(),
            ..first.clone()
        },
    ] {
        assert_eq!(place(&*orders, &other).await, Insertion::KeyTaken);
    }
}

/// Two users with the same key place two orders. A UUID that was computed from another user's key
/// is another key.
pub async fn keys_count_per_user(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    consume_users(fixture, 1..=2).await;
    let key: IdempotencyKey = "o-1".parse().unwrap();
    for (key, numbers) in [(key.clone(), [1, 2]), (key.scoped_to_owner("1"), [3, 4])] {
        for (user, number) in [2, 1].into_iter().zip(numbers) {
            let new = NewOrder {
                key: key.clone(),
                ..new_order(user)
            };
            let order = placed(&*orders, &new).await;
            assert_eq!(
                (order.id, order.user_id),
                (OrderNumber::new(number), UserNumber::new(user))
            );
            assert_eq!(
                place(&*orders, &new).await,
                Insertion::AlreadyInserted(order)
            );
        }
    }
}

/// Events are in the order of the placements, with the context of their requests.
pub async fn each_order_has_one_event(fixture: &dyn OrdersFixture) {
    let orders = fixture.orders().await;
    let outbox = fixture.outbox().await;
    consume_users(fixture, 1..=3).await;
    let mut expected = Vec::new();
    for number in 0..10 {
        let context = RequestContext::new(Some(format!("request-{number}")), None);
        let new = new_order(1 + number % 3).with_context(Some(Box::new(context)));
        let order = placed(&*orders, &new).await;
        expected.push(order.event(&new).unwrap());
        assert_eq!(place(&*orders, &new_order(9)).await, Insertion::Refused);
    }
    assert_eq!(published_events(&*outbox).await, expected);
}
