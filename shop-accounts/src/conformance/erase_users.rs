//! The tests of every [`UserErase`].

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::conformance::soon;

use super::UsersFixture;
use super::entities::{EntityStores, new_user};
use crate::entity::Insertion;
use crate::users::{NewUser, User, UserErase, UserNumber};

/// A fresh store from which users can be erased.
#[async_trait]
pub trait EraseUsersFixture: UsersFixture {
    /// The erasing port.
    async fn erase(&self) -> Arc<dyn UserErase>;
}

#[async_trait]
impl<A: EntityStores> EraseUsersFixture for A
where
    A::Users: UserErase,
{
    async fn erase(&self) -> Arc<dyn UserErase> {
        Arc::new(self.user_store().clone())
    }
}

async fn register(fixture: &dyn EraseUsersFixture, new: &NewUser) -> User {
    match soon("register", fixture.users().await.insert(new))
        .await
        .expect("register")
    {
        Insertion::Inserted(user) => user,
        other => panic!("{other:?}"),
    }
}

async fn find(fixture: &dyn EraseUsersFixture, id: UserNumber) -> Option<User> {
    soon("user", fixture.users().await.get(id))
        .await
        .expect("user")
}

async fn erase(fixture: &dyn EraseUsersFixture, id: UserNumber) -> bool {
    soon("erase", fixture.erase().await.erase_user(id))
        .await
        .expect("erase")
}

/// Neither the user nor its orders nor its event are found.
pub async fn an_erased_user_is_unknown(fixture: &dyn EraseUsersFixture) {
    let ada = register(fixture, &new_user("ada")).await;
    assert!(erase(fixture, ada.id).await);
    assert_eq!(find(fixture, ada.id).await, None);
    let users = fixture.users().await;
    assert_eq!(
        soon("orders_of", users.orders_of(ada.id))
            .await
            .expect("orders_of"),
        None
    );
    let pending = soon("pending", fixture.outbox().await.pending(10))
        .await
        .expect("pending");
    assert_eq!(pending, []);
    assert!(!erase(fixture, ada.id).await, "erased already");
    assert!(
        !erase(fixture, UserNumber::new(99)).await,
        "never registered"
    );
}

/// The next user gets the next number.
pub async fn the_number_of_an_erased_user_is_not_reused(fixture: &dyn EraseUsersFixture) {
    let ada = register(fixture, &new_user("ada")).await;
    erase(fixture, ada.id).await;
    let eva = register(fixture, &new_user("eva")).await;
    assert_eq!((ada.id, eva.id), (UserNumber::new(1), UserNumber::new(2)));
    erase(fixture, eva.id).await;
    assert_eq!(
        register(fixture, &new_user("bob")).await.id,
        UserNumber::new(3)
    );
}

/// After the erasure, the same request registers a new user.
pub async fn the_address_of_an_erased_user_is_free(fixture: &dyn EraseUsersFixture) {
    let new = new_user("ada");
    let ada = register(fixture, &new).await;
    erase(fixture, ada.id).await;
    let again = register(fixture, &new).await;
    assert_eq!(again.id, UserNumber::new(2));
    assert_eq!(find(fixture, again.id).await, Some(again));
}

/// Others keep their rows and their events.
pub async fn other_users_stay(fixture: &dyn EraseUsersFixture) {
    let mut users = Vec::new();
    for name in ["ada", "eva", "bob"] {
        users.push(register(fixture, &new_user(name)).await);
    }
    erase(fixture, users[1].id).await;
    assert_eq!(find(fixture, users[0].id).await.as_ref(), Some(&users[0]));
    assert_eq!(find(fixture, users[2].id).await.as_ref(), Some(&users[2]));
    let pending = soon("pending", fixture.outbox().await.pending(10))
        .await
        .expect("pending");
    let keys: Vec<_> = pending
        .iter()
        .map(|entry| entry.record.key.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(keys, [b"1", b"3"]);
}
