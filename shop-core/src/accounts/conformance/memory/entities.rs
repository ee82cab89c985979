//! In-memory stores of users and orders.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::InMemoryOutbox;
use crate::accounts::entity::{Entity, EntityStore, Insertion};
use crate::accounts::orders::{Order, OrderNumber};
use crate::accounts::outbox::{Backlog, Outbox, OutboxEntry};
use crate::accounts::users::{MAX_LISTED_ORDERS, User, UserErase, UserNumber, UserOrders};
use crate::lock::lock;
use crate::ports::{InsertOutcome, RecordStore};
use crate::{IdempotencyKey, Result};

/// An in-memory store of users, with the ids of their orders.
pub type InMemoryUsers = InMemoryEntities<User>;

/// An in-memory store of orders, with the ids of users.
pub type InMemoryOrders = InMemoryEntities<Order>;

/// Entities of one type in memory, with references to the other type.
///
/// Clones share them.
#[derive(Debug, Clone)]
pub struct InMemoryEntities<E> {
    tables: Arc<Mutex<Tables<E>>>,
    outbox: InMemoryOutbox,
}

#[derive(Debug)]
struct Tables<E> {
    rows: BTreeMap<i64, E>,
    by_key: HashMap<IdempotencyKey, i64>,
    /// The greatest number, also of an erased row.
    last: i64,
    unique: HashSet<String>,
    /// References to the other entity: the owner of each, and all by owner.
    others: BTreeMap<i64, Option<i64>>,
    by_owner: BTreeSet<(i64, i64)>,
}

impl<E> Default for Tables<E> {
    fn default() -> Self {
        let (by_key, unique, others, by_owner) = Default::default();
        Self {
            rows: BTreeMap::new(),
            by_key,
            last: 0,
            unique,
            others,
            by_owner,
        }
    }
}

impl<E> Default for InMemoryEntities<E> {
    fn default() -> Self {
        Self {
            tables: Arc::default(),
            outbox: InMemoryOutbox::default(),
        }
    }
}

impl<E: Entity> InMemoryEntities<E> {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<E> Tables<E> {
    fn apply(&mut self, (id, owner): (i64, Option<i64>)) -> InsertOutcome {
        if let Some(first) = self.others.get(&id) {
            return if *first == owner {
                InsertOutcome::Duplicate
            } else {
                InsertOutcome::Conflict
            };
        }
        self.others.insert(id, owner);
        self.by_owner.extend(owner.map(|owner| (owner, id)));
        InsertOutcome::Inserted
    }
}

#[async_trait]
impl<E: Entity> RecordStore<E::ForeignEvent> for InMemoryEntities<E> {
    async fn apply(&self, batch: Arc<[E::ForeignEvent]>) -> Result<Vec<InsertOutcome>> {
        let mut tables = lock(&self.tables);
        Ok(batch
            .iter()
            .map(|other| tables.apply(E::reference(other)))
            .collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl<E: Entity> Outbox for InMemoryEntities<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.outbox.pending(limit).await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.outbox.delete(ids).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.outbox.backlog().await
    }

    async fn wait_for_entries(&self) {
        self.outbox.wait_for_entries().await;
    }
}

#[async_trait]
impl<E: Entity> EntityStore<E> for InMemoryEntities<E> {
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        let mut tables = lock(&self.tables);
        if let Some(first) = tables
            .by_key
            .get(&E::stored_key(new))
            .and_then(|number| tables.rows.get(number))
        {
            return Ok(Insertion::with_key_of(new, first.clone()));
        }
        let unique = E::unique(new).map(|(_, text)| text.to_owned());
        let is_taken = unique
            .as_ref()
            .is_some_and(|text| tables.unique.contains(text));
        let is_known = E::requires(new).is_none_or(|id| tables.others.contains_key(&id));
        if is_taken || !is_known {
            return Ok(Insertion::Refused);
        }
        let number = tables.last + 1;
        let row = E::with_number(new, number.into());
        let event = row.event(new)?;
        tables.last = number;
        tables.by_key.insert(E::stored_key(new), number);
        tables.unique.extend(unique);
        tables.rows.insert(number, row.clone());
        // Locked together, so readers never see a row without its event.
        self.outbox.write(event);
        Ok(Insertion::Inserted(row))
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        Ok(lock(&self.tables).rows.get(&number.into()).cloned())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl UserOrders for InMemoryUsers {
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        let tables = lock(&self.tables);
        let id = id.get();
        let orders = tables
            .by_owner
            .range((id, i64::MIN)..=(id, i64::MAX))
            .take(MAX_LISTED_ORDERS);
        let orders = orders.map(|(_, order)| OrderNumber::new(*order));
        Ok(tables.rows.contains_key(&id).then(|| orders.collect()))
    }
}

#[async_trait]
impl UserErase for InMemoryUsers {
    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        let mut tables = lock(&self.tables);
        let Some(user) = tables.rows.remove(&id.get()) else {
            return Ok(false);
        };
        tables.by_key.retain(|_, number| *number != id.get());
        tables.unique.remove(user.email.as_str());
        self.outbox.delete_key(id.to_string().as_bytes());
        Ok(true)
    }
}
