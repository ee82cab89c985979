//! Orders in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{InMemoryOutbox, lock};
use crate::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement};
use crate::ports::{InsertOutcome, RecordStore};
use crate::users::{User, UserNumber};
use crate::{IdempotencyKey, Result};

/// Orders in memory, with what is known of users.
///
/// Clones share the orders.
#[derive(Debug, Clone, Default)]
pub struct InMemoryOrders {
    tables: Arc<Mutex<Tables>>,
    pub(super) outbox: InMemoryOutbox,
}

#[derive(Debug, Default)]
struct Tables {
    orders: BTreeMap<OrderNumber, Order>,
    by_key: HashMap<IdempotencyKey, OrderNumber>,
    users: BTreeSet<UserNumber>,
}

impl InMemoryOrders {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl OrderStore for InMemoryOrders {
    async fn place(&self, new: &NewOrder) -> Result<Placement> {
        let mut tables = lock(&self.tables);
        if let Some(first) = tables.by_key.get(&new.key).and_then(|id| tables.orders.get(id)) {
            let same = *first == new.numbered(first.id);
            return Ok(if same { Placement::Repeated(first.clone()) } else { Placement::KeyTaken });
        }
        if !tables.users.contains(&new.user_id) {
            return Ok(Placement::UnknownUser);
        }
        let id = tables.orders.last_key_value().map_or(OrderNumber::FIRST, |(last, _)| last.next());
        let order = new.numbered(id);
        let event = new.event(&order)?;
        tables.by_key.insert(new.key.clone(), id);
        tables.orders.insert(id, order.clone());
        // Under the lock of the tables: nobody sees the one without the other.
        self.outbox.write(event);
        Ok(Placement::Placed(order))
    }

    async fn order(&self, id: OrderNumber) -> Result<Option<Order>> {
        Ok(lock(&self.tables).orders.get(&id).cloned())
    }

    async fn check_orders(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl RecordStore<User> for InMemoryOrders {
    async fn apply(&self, batch: Arc<[User]>) -> Result<Vec<InsertOutcome>> {
        let mut tables = lock(&self.tables);
        let mut apply = |user: &User| {
            if tables.users.insert(user.id) { InsertOutcome::Inserted } else { InsertOutcome::Duplicate }
        };
        Ok(batch.iter().map(&mut apply).collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
