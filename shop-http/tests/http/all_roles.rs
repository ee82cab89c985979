//! Fixture: both services with all their roles.

use std::sync::Arc;

use shop_accounts::entity::EntityStore as _;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_accounts::orders::NewOrder;
use shop_accounts::users::{NewUser, User, UserNumber};
use shop_core::Purchase;
use shop_core::log::DeadLetters as _;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::{PurchaseStore as _, RecordStore};
use shop_core::record::Record as _;
use shop_http::{DeadLetterLog, Parts};

use crate::dead_letters::dead_letter;
use crate::shop::{facing_parts_of, management_parts_of, purchase};

/// One purchase, one account and one order of each of the users `1` and `2`, and the dead letters
/// `purchases-0-0` and `purchases-0-1`.
pub(crate) struct AllRoles {
    pub(crate) store: InMemoryStore,
    accounts: Arc<Accounts>,
    log: InMemoryLog,
}

impl AllRoles {
    pub(crate) async fn new() -> Self {
        let store = InMemoryStore::new();
        let purchases = vec![purchase("1", 1), purchase("2", 2)];
        store.insert(purchases.into()).await.unwrap();

        let log = InMemoryLog::default();
        let dead_letters = [0, 1].map(|offset| dead_letter("purchases", offset, b"poison"));
        log.dead_letters().put(&dead_letters).await.unwrap();

        Self {
            store,
            accounts: accounts_of_two_users().await,
            log,
        }
    }

    /// Facing with purchases, users and orders.
    pub(crate) fn facing(&self) -> Parts {
        let mut parts = facing_parts_of(self.store.clone());
        parts.roles.push(Arc::<Accounts>::clone(&self.accounts));
        parts
    }

    /// Management with purchases, users, orders and dead letters.
    pub(crate) fn management(&self) -> Parts {
        let mut parts = management_parts_of(self.store.clone());
        parts.roles.push(Arc::<Accounts>::clone(&self.accounts));
        let dead_letters =
            DeadLetterLog::new("purchases", Purchase::TYPE, Arc::new(self.log.clone()));
        parts.dead_letters = vec![dead_letters];
        parts
    }
}

async fn accounts_of_two_users() -> Arc<Accounts> {
    let users = InMemoryUsers::new();
    let orders = InMemoryOrders::new();
    for number in [1, 2] {
        let id = UserNumber::new(number);
        let key = format!("key-{number}").parse().unwrap();
        let email = format!("{number}@example.com").parse().unwrap();
        let user = User::new(id, email, "Ada".parse().unwrap());
        let new_user = NewUser::new(key, user.email.clone(), user.name.clone());
        users.insert(&new_user).await.unwrap();
        // The orders know the user, as if its event had arrived.
        RecordStore::<User>::apply(&orders, vec![user].into())
            .await
            .unwrap();

        let tea = "tea".parse().unwrap();
        let order = NewOrder::new(new_user.key, id, tea, 1, "2".parse().unwrap());
        orders.insert(&order).await.unwrap();
    }
    Arc::new(Accounts {
        users: Some(UsersRole::new(Arc::new(users))),
        orders: Some(OrdersRole::new(Arc::new(orders))),
        ..Accounts::default()
    })
}
