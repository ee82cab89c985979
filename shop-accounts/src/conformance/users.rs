//! The tests of every store of users, beside those of every entity.

use super::prelude::*;

/// Orders are listed for known users only, each once. For an order number with two users, the first
/// one counts.
pub async fn applied_orders_are_listed_once(fixture: &dyn UsersFixture) {
    let ports = fixture.ports().await;
    for number in [1, 2] {
        inserted(&*ports.store, &User::sample(number)).await;
    }
    let order = |number: i64, user: i64| {
        Order::with_number(&new_order(user, "Pen", 1, "1.00"), OrderNumber::new(number))
    };
    let batch = [(2, 1), (1, 1), (3, 99), (2, 1), (5, 2)].map(|(number, user)| order(number, user));
    for batch in [&batch[..], &batch[..], &[order(1, 2)]] {
        succeed(ports.events.apply(batch.into())).await;
    }
    let user_orders = fixture.user_orders().await;
    for (user, numbers) in [(1, Some(vec![1, 2])), (2, Some(vec![5])), (99, None)] {
        let listed = succeed(user_orders.orders_of(UserNumber::new(user))).await;
        let expected = numbers.map(|numbers| numbers.into_iter().map(OrderNumber::new).collect());
        assert_eq!(listed, expected, "{user}");
    }
}
