//! The tests of every [`UserErase`](crate::users::UserErase).

use super::prelude::*;

async fn register(fixture: &dyn EraseUsersFixture, new: &NewUser) -> User {
    inserted(&*fixture.store().await, new).await
}

async fn find(fixture: &dyn EraseUsersFixture, id: UserNumber) -> Option<User> {
    let users = fixture.store().await;
    soon("user", users.get(id)).await.expect("user")
}

async fn erase(fixture: &dyn EraseUsersFixture, id: UserNumber) -> bool {
    let erase = fixture.erase().await;
    soon("erase", erase.erase_user(id)).await.expect("erase")
}

async fn pending(fixture: &dyn EraseUsersFixture) -> Vec<OutboxEntry> {
    let outbox = fixture.outbox().await;
    soon("pending", outbox.pending(10)).await.expect("pending")
}

/// Neither the user nor its orders nor its event are found.
pub async fn an_erased_user_is_unknown(fixture: &dyn EraseUsersFixture) {
    let ada = register(fixture, &User::sample(1)).await;
    assert!(erase(fixture, ada.id).await);
    assert_eq!(find(fixture, ada.id).await, None);
    let user_orders = fixture.user_orders().await;
    let orders = soon("orders_of", user_orders.orders_of(ada.id)).await;
    assert_eq!(orders.expect("orders_of"), None);
    assert_eq!(pending(fixture).await, []);
    assert!(!erase(fixture, ada.id).await, "erased already");
    assert!(
        !erase(fixture, UserNumber::new(99)).await,
        "never registered"
    );
}

/// After the erasure, the same request registers a new user, with the next number.
pub async fn only_the_number_of_an_erased_user_stays_taken(fixture: &dyn EraseUsersFixture) {
    let new = User::sample(1);
    for number in 1..=3 {
        let user = register(fixture, &new).await;
        assert_eq!(user.id, UserNumber::new(number));
        assert_eq!(find(fixture, user.id).await, Some(user.clone()));
        erase(fixture, user.id).await;
    }
}

/// Others keep their rows and their events.
pub async fn other_users_stay(fixture: &dyn EraseUsersFixture) {
    let mut users = Vec::new();
    for number in 1..=3 {
        users.push(register(fixture, &User::sample(number)).await);
    }
    erase(fixture, users[1].id).await;
    for user in [&users[0], &users[2]] {
        assert_eq!(find(fixture, user.id).await.as_ref(), Some(user));
    }
    let keys = pending(fixture)
        .await
        .into_iter()
        .map(|entry| entry.record.key);
    assert!(keys.eq([Some("1".into()), Some("3".into())]));
}
