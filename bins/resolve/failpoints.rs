//! The ports with failpoints around them, for tests.

use std::sync::Arc;

use shop_core::fault::with_failpoints;
use shop_core::record::Record;

use super::OpenSource;
use super::accounts::{Account, Accounts, LocalEntity};
use super::purchases::Purchases;

pub(super) fn around_purchases(purchases: Purchases) -> Purchases {
    Purchases {
        sink: with_failpoints(purchases.sink),
        store: purchases.store.map(|(store, durability)| (with_failpoints(store) as _, durability)),
        dead_letters: with_failpoints(purchases.dead_letters),
        open_source: around_source(purchases.open_source),
        ..purchases
    }
}

pub(super) fn around_accounts(accounts: Accounts) -> Accounts {
    Accounts {
        users: accounts.users.map(|users| Account {
            store: with_failpoints(users.store) as _,
            local: users.local.map(around_local),
            is_local: users.is_local,
        }),
        orders: accounts.orders.map(|orders| Account {
            store: with_failpoints(orders.store) as _,
            local: orders.local.map(around_local),
            is_local: orders.is_local,
        }),
    }
}

/// Positions and dead letters are the pipeline's, which has its failpoints with the purchases.
fn around_local<R: Record>(local: LocalEntity<R>) -> LocalEntity<R> {
    LocalEntity {
        outbox: with_failpoints(local.outbox),
        event_writer: with_failpoints(local.event_writer),
        projection: with_failpoints(local.projection),
        ..local
    }
}

fn around_source(open_source: OpenSource) -> OpenSource {
    Arc::new(move |group| Ok(with_failpoints(open_source(group)?)))
}
