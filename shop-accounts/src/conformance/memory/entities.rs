//! In-memory stores of users and orders.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shop_core::ports::{DescribeStore, InsertOutcome, RecordStore, StoreInfo};
use shop_core::{IdempotencyKey, Result, lock};

use super::InMemoryOutbox;
use crate::entity::{Entity, EntityStore, Insertion};
use crate::orders::{Order, OrderNumber};
use crate::outbox::{Backlog, Outbox, OutboxEntry};
use crate::users::{MAX_LISTED_ORDERS, User, UserErase, UserNumber, UserOrders};

/// An in-memory store of users, with the numbers of their orders.
pub type InMemoryUsers = InMemoryEntities<User>;

/// An in-memory store of orders, with the numbers of users.
pub type InMemoryOrders = InMemoryEntities<Order>;

/// An in-memory store of users or orders, with references to the rows of the other service.
///
/// Clones share the rows.
#[derive(Debug, Clone)]
pub struct InMemoryEntities<E> {
    tables: Arc<Mutex<Tables<E>>>,
    outbox: InMemoryOutbox,
}

/// The rows of a store with their indexes, and the references to the rows of the other service.
#[derive(Debug)]
struct Tables<E> {
    /// The rows by their numbers.
    rows: BTreeMap<i64, E>,
    /// The numbers of the rows by their keys.
    number_by_key: HashMap<IdempotencyKey, i64>,
    /// The greatest number that was assigned, even if its row was erased.
    last_number: i64,
    /// The values of the unique member of all rows.
    unique_values: HashSet<String>,
    /// The owners of the other service's rows by the ids of these rows.
    references: BTreeMap<i64, Option<i64>>,
    /// The pairs of an owner and the id of a row that it owns.
    owned_ids: BTreeSet<(i64, i64)>,
}

impl<E> Default for Tables<E> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            number_by_key: HashMap::new(),
            last_number: 0,
            unique_values: HashSet::new(),
            references: BTreeMap::new(),
            owned_ids: BTreeSet::new(),
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
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<E> Tables<E> {
    /// Inserts the reference to the other service's row `id`, which `owner` owns, if it has an
    /// owner. Returns whether the reference is new, stored already, or stored with another owner.
    fn insert_reference(&mut self, id: i64, owner: Option<i64>) -> InsertOutcome {
        if let Some(stored_owner) = self.references.get(&id) {
            return if *stored_owner == owner {
                InsertOutcome::Duplicate
            } else {
                InsertOutcome::Conflict
            };
        }

        self.references.insert(id, owner);
        if let Some(owner) = owner {
            self.owned_ids.insert((owner, id));
        }
        InsertOutcome::Inserted
    }
}

#[async_trait]
impl<E: Entity> RecordStore<E::ForeignEvent> for InMemoryEntities<E> {
    async fn apply(&self, batch: Arc<[E::ForeignEvent]>) -> Result<Vec<InsertOutcome>> {
        let mut tables = lock(&self.tables);
        let mut outcomes = Vec::with_capacity(batch.len());
        for event in batch.iter() {
            let (id, owner) = E::reference(event);
            outcomes.push(tables.insert_reference(id, owner));
        }
        Ok(outcomes)
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl<E: Entity> DescribeStore for InMemoryEntities<E> {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
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
        if let Some(number) = tables.number_by_key.get(&E::stored_key(new))
            && let Some(first_row) = tables.rows.get(number)
        {
            return Ok(Insertion::with_key_of(new, first_row.clone()));
        }

        let unique_value = E::unique(new).map(|(_member, value)| value.to_owned());
        let is_taken = unique_value
            .as_ref()
            .is_some_and(|value| tables.unique_values.contains(value));
        // An order requires its user.
        let lacks_reference =
            E::requires(new).is_some_and(|id| !tables.references.contains_key(&id));
        if is_taken || lacks_reference {
            return Ok(Insertion::Refused);
        }

        let number = tables.last_number + 1;
        let row = E::with_number(new, number.into());
        let event = row.event(new)?;
        tables.last_number = number;
        tables.number_by_key.insert(E::stored_key(new), number);
        tables.unique_values.extend(unique_value);
        tables.rows.insert(number, row.clone());
        // The event is written under the lock of the tables, so that readers never see a row
        // without its event.
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
        let user_id = id.get();
        if !tables.rows.contains_key(&user_id) {
            return Ok(None);
        }

        let orders = tables
            .owned_ids
            .range((user_id, i64::MIN)..=(user_id, i64::MAX))
            .map(|(_user, order)| OrderNumber::new(*order))
            .take(MAX_LISTED_ORDERS);
        Ok(Some(orders.collect()))
    }
}

#[async_trait]
impl UserErase for InMemoryUsers {
    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        let mut tables = lock(&self.tables);
        let Some(user) = tables.rows.remove(&id.get()) else {
            return Ok(false);
        };
        tables
            .number_by_key
            .retain(|_key, number| *number != id.get());
        tables.unique_values.remove(user.email.as_str());
        self.outbox.delete_key(id.to_string().as_bytes());
        Ok(true)
    }
}
