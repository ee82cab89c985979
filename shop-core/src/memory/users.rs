//! Users in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{InMemoryOutbox, lock};
use crate::orders::{Order, OrderNumber};
use crate::ports::{InsertOutcome, RecordStore};
use crate::users::{Email, MOST_ORDERS, NewUser, Registration, User, UserNumber, UserStore};
use crate::{IdempotencyKey, Result};

/// Users in memory, with what is known of their orders.
///
/// Clones share the users.
#[derive(Debug, Clone, Default)]
pub struct InMemoryUsers {
    tables: Arc<Mutex<Tables>>,
    pub(super) outbox: InMemoryOutbox,
}

#[derive(Debug, Default)]
struct Tables {
    users: BTreeMap<UserNumber, User>,
    by_key: HashMap<IdempotencyKey, UserNumber>,
    by_email: HashMap<Email, UserNumber>,
    orders: BTreeMap<OrderNumber, UserNumber>,
    orders_of: BTreeMap<UserNumber, BTreeSet<OrderNumber>>,
}

impl InMemoryUsers {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl UserStore for InMemoryUsers {
    async fn register(&self, new: &NewUser) -> Result<Registration> {
        let mut tables = lock(&self.tables);
        if let Some(first) = tables.by_key.get(&new.key).and_then(|id| tables.users.get(id)) {
            let same = *first == new.numbered(first.id);
            return Ok(if same { Registration::Repeated(first.clone()) } else { Registration::KeyTaken });
        }
        if tables.by_email.contains_key(&new.email) {
            return Ok(Registration::EmailTaken);
        }
        let id = tables.users.last_key_value().map_or(UserNumber::FIRST, |(last, _)| last.next());
        let user = new.numbered(id);
        let event = new.event(&user)?;
        tables.by_key.insert(new.key.clone(), id);
        tables.by_email.insert(new.email.clone(), id);
        tables.users.insert(id, user.clone());
        // Under the lock of the tables: nobody sees the one without the other.
        self.outbox.write(event);
        Ok(Registration::Registered(user))
    }

    async fn user(&self, id: UserNumber) -> Result<Option<User>> {
        Ok(lock(&self.tables).users.get(&id).cloned())
    }

    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        let tables = lock(&self.tables);
        let orders = tables.orders_of.get(&id).into_iter().flatten().take(MOST_ORDERS).copied();
        Ok(tables.users.contains_key(&id).then(|| orders.collect()))
    }

    async fn check_users(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl RecordStore<Order> for InMemoryUsers {
    async fn apply(&self, batch: Arc<[Order]>) -> Result<Vec<InsertOutcome>> {
        let mut tables = lock(&self.tables);
        let mut apply = |order: &Order| match tables.orders.insert(order.id, order.user_id) {
            None => {
                tables.orders_of.entry(order.user_id).or_default().insert(order.id);
                InsertOutcome::Inserted
            }
            Some(first) if first == order.user_id => InsertOutcome::Duplicate,
            Some(first) => {
                tables.orders.insert(order.id, first);
                InsertOutcome::Conflict
            }
        };
        Ok(batch.iter().map(&mut apply).collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
