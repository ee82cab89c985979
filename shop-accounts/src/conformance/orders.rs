//! The tests of every store of orders, beside those of every entity.

use super::prelude::*;
use shop_core::IdempotencyKey;

/// An order of an unknown user is refused until the user's event is applied.
pub async fn an_order_waits_for_the_event_of_its_user(ports: &EntityPorts<Order>) {
    let orders = &*ports.store;
    let new = Order::sample(1);
    assert_eq!(insert(orders, &new).await, Insertion::Refused);
    let user = Order::foreign_event(1);
    succeed(ports.events.apply([user].into())).await;
    assert_eq!(inserted(orders, &new).await.id, OrderNumber::new(1));
    for unknown in [2, 0, -1, i64::MAX] {
        let refused = insert(orders, &new_order(unknown, "Pen", 1, "1.00")).await;
        assert_eq!(refused, Insertion::Refused);
    }
}

/// Two users with the same key place two orders. A UUID that was computed from another user's key
/// is another key.
pub async fn keys_count_per_user(ports: &EntityPorts<Order>) {
    let orders = ready_store(ports).await;
    let key: IdempotencyKey = "o-1".parse().unwrap();
    let computed = key.scoped_to_owner("1");
    for (key, user, number) in [
        (&key, 2, 1),
        (&key, 1, 2),
        (&computed, 2, 3),
        (&computed, 1, 4),
    ] {
        let new = NewOrder {
            key: key.clone(),
            ..new_order(user, "Pen", 1, "1.00")
        };
        let order = inserted(&*orders, &new).await;
        assert_eq!(
            (order.id, order.user_id),
            (OrderNumber::new(number), UserNumber::new(user))
        );
        let again = insert(&*orders, &new).await;
        assert_eq!(again, Insertion::AlreadyInserted(order));
    }
}
