//! The tests of every store of users, beside those of every entity.

use super::prelude::*;

/// The case of a domain matters neither for comparison nor in the event.
pub async fn an_email_domain_is_case_insensitive(fixture: &dyn UsersFixture) {
    let users = fixture.store().await;
    let with_email = |email: &str| NewUser {
        email: email.parse().unwrap(),
        ..User::sample(1)
    };
    let user = inserted(&*users, &with_email("Ada@Example.COM")).await;
    assert_eq!(user.email.as_str(), "Ada@example.com");
    let same = insert(&*users, &with_email("Ada@EXAMPLE.com")).await;
    assert_eq!(same, Insertion::Refused);
    let other = inserted(&*users, &with_email("ada@example.com")).await;
    assert_eq!(other.id.get(), 2);
}

/// Orders are listed for known users only, each once. For an order number with two users, the first
/// one counts.
pub async fn applied_orders_are_listed_once(fixture: &dyn UsersFixture) {
    let users = fixture.store().await;
    for number in [1, 2] {
        inserted(&*users, &User::sample(number)).await;
    }
    let events = fixture.events().await;
    let order = |number: i64, user: i64| {
        Order::with_number(&new_order(user, "Pen", 1, "1.00"), OrderNumber::new(number))
    };
    let batch = [(2, 1), (1, 1), (3, 99), (2, 1), (5, 2)].map(|(number, user)| order(number, user));
    for batch in [&batch[..], &batch[..], &[order(1, 2)]] {
        soon("apply", events.apply(batch.into()))
            .await
            .expect("apply");
    }
    let user_orders = fixture.user_orders().await;
    for (user, numbers) in [(1, Some(vec![1, 2])), (2, Some(vec![5])), (99, None)] {
        let listed = soon("orders_of", user_orders.orders_of(UserNumber::new(user)));
        let expected = numbers.map(|numbers| numbers.into_iter().map(OrderNumber::new).collect());
        assert_eq!(listed.await.expect("orders_of"), expected, "{user}");
    }
}
