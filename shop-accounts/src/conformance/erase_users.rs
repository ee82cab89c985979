//! The tests of every [`UserErase`](crate::users::UserErase).

use super::prelude::*;

/// Neither an erased user nor its orders nor its event are found. Others keep their rows and their
/// events.
pub async fn an_erased_user_is_unknown(fixture: &dyn EraseUsersFixture) {
    let ports = fixture.ports().await;
    let user_orders = fixture.user_orders().await;
    let erase = fixture.erase().await;
    let mut users = Vec::new();
    for number in 1..=3 {
        users.push(inserted(&*ports.store, &User::sample(number)).await);
    }

    let erased = users.remove(1).id;
    assert!(succeed(erase.erase_user(erased)).await);
    assert_eq!(succeed(ports.store.get(erased)).await, None);
    assert_eq!(succeed(user_orders.orders_of(erased)).await, None);
    for unknown in [erased, UserNumber::new(99)] {
        assert!(!succeed(erase.erase_user(unknown)).await);
    }

    for user in users {
        assert_eq!(succeed(ports.store.get(user.id)).await, Some(user));
    }
    let pending = pending(&*ports.outbox).await.into_iter();
    let keys = pending.map(|entry| entry.record.key);
    assert!(keys.eq([Some("1".into()), Some("3".into())]));
}

/// After the erasure, the same request registers a new user, with the next number.
pub async fn only_the_number_of_an_erased_user_stays_taken(fixture: &dyn EraseUsersFixture) {
    let users = fixture.ports().await.store;
    let erase = fixture.erase().await;
    let new = User::sample(1);
    for number in 1..=3 {
        let user = inserted(&*users, &new).await;
        assert_eq!(user.id, UserNumber::new(number));
        assert_eq!(succeed(users.get(user.id)).await, Some(user.clone()));
        assert!(succeed(erase.erase_user(user.id)).await);
    }
}
