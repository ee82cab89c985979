//! A pool of units of which no client takes all.
//!
//! In a build with `--cfg shuttle`, the counters are those of shuttle, which runs the threads of a
//! test in many orders.

use std::sync::Arc;
#[cfg(not(shuttle))]
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
#[cfg(shuttle)]
use shuttle::sync::atomic::{AtomicUsize, Ordering};

use super::{CLIENT_COUNTERS, ClientId, select_counter};
use crate::response::{HttpError, HttpResult, RequestKind};
use crate::watched_body::Polled;

/// The fraction of a pool, one eighth, that is reserved for clients below their fair share.
const RESERVED_DIVISOR: usize = 8;
/// The fraction of a pool, one sixteenth, that is the fair share of a client.
const SHARE_DIVISOR: usize = 16;

/// A pool of units, such as requests or bytes.
///
/// A client within its fair share gets units as long as any are free. A client above its share
/// leaves the reserved units to the others. Services and unknown clients get no share: only the
/// capacity limits them.
pub(crate) struct FairPool {
    pub(super) capacity: usize,
    used: AtomicUsize,
    used_by_client: Box<[AtomicUsize]>,
}

impl FairPool {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let used_by_client = (0..CLIENT_COUNTERS).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self {
            capacity,
            used: AtomicUsize::new(0),
            used_by_client,
        })
    }

    /// Acquires a permit of `client` for `units`. Returns `None` if fewer are free for this client.
    pub(crate) fn try_acquire(self: &Arc<Self>, client: ClientId, units: usize) -> Option<Permit> {
        let mut permit = self.empty_permit(client);
        permit.try_extend(units).then_some(permit)
    }

    /// Returns a permit for zero units, which [`Permit::try_extend`] can extend later.
    pub(crate) fn empty_permit(self: &Arc<Self>, client: ClientId) -> Permit {
        Permit {
            pool: Arc::clone(self),
            client,
            units: 0,
        }
    }

    /// Returns the number of units that one client can have if no other client has any.
    pub(super) fn max_for_one_client(&self) -> usize {
        self.limit_for(self.capacity)
    }

    /// Returns the number of units that all clients use together.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns how many units all clients together may use after an extension that leaves its client
    /// with `used_by_client` units. Above its fair share, a client must leave the reserved units free.
    fn limit_for(&self, used_by_client: usize) -> usize {
        let fair_share = self.capacity / SHARE_DIVISOR;
        if used_by_client <= fair_share {
            return self.capacity;
        }
        let reserved_units = self.capacity / RESERVED_DIVISOR;
        self.capacity - reserved_units
    }

    /// Returns the counter of a client with a fair share, or `None` for a client without one.
    fn client_counter(&self, client: ClientId) -> Option<&AtomicUsize> {
        match client {
            ClientId::Fair(hash) => select_counter(&self.used_by_client, hash),
            ClientId::Unknown | ClientId::Service(_) => None,
        }
    }
}

/// A permit of a client for `units` of a pool, until it is dropped.
pub(crate) struct Permit {
    pool: Arc<FairPool>,
    client: ClientId,
    units: usize,
}

/// Whether a permit is extended beyond the limit of its client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    WithinLimit,
    Forced,
}

impl Permit {
    /// Adds `units` to this permit. Returns false and adds nothing if fewer are free for its client.
    #[must_use]
    pub(crate) fn try_extend(&mut self, units: usize) -> bool {
        self.extend(units, Extension::WithinLimit)
    }

    /// Adds `units` of a write to this permit.
    ///
    /// # Errors
    /// 503 if fewer are free for the client.
    pub(crate) fn extend_for_write(&mut self, units: usize) -> HttpResult<()> {
        if self.try_extend(units) {
            return Ok(());
        }
        Err(HttpError::overloaded(RequestKind::Write))
    }

    /// Adds `units` to this permit, even if fewer are free for its client. Returns whether enough
    /// were free.
    pub(crate) fn force_extend(&mut self, units: usize) -> bool {
        self.extend(units, Extension::Forced)
    }

    /// Adds `units` to this permit if they are within the limit or the extension is forced. Returns
    /// whether they are within the limit.
    fn extend(&mut self, units: usize, extension: Extension) -> bool {
        let client_counter = self.pool.client_counter(self.client);
        let used_by_client = match client_counter {
            Some(counter) => counter.fetch_add(units, Ordering::Relaxed) + units,
            // Without a fair share, only the capacity limits the client.
            None => 0,
        };
        let limit = self.pool.limit_for(used_by_client);

        // Refused units must not be added to `used` even for a moment, because they would cause the
        // units of other clients to be refused.
        let update_result =
            self.pool
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    used.checked_add(units)
                        .filter(|sum| extension == Extension::Forced || *sum <= limit)
                });

        let Ok(used_before) = update_result else {
            if let Some(counter) = client_counter {
                counter.fetch_sub(units, Ordering::Relaxed);
            }
            return false;
        };
        self.units += units;
        used_before + units <= limit
    }

    /// Returns `bytes` that keep this permit until they are written.
    pub(crate) fn attach_to(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(PermittedBytes {
            bytes,
            _permit: Arc::clone(self),
        })
    }

    /// Returns the `polled` frame of a body, whose bytes keep this permit until they are written.
    pub(crate) fn attach_to_frame(self: &Arc<Self>, polled: Polled) -> Polled {
        polled.map_ok(|frame| frame.map_data(|bytes| self.attach_to(bytes)))
    }

    /// Returns all units to the pool.
    pub(crate) fn release(&mut self) {
        let units = std::mem::take(&mut self.units);
        self.pool.used.fetch_sub(units, Ordering::Relaxed);
        if let Some(counter) = self.pool.client_counter(self.client) {
            counter.fetch_sub(units, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes that keep a permit until they are written.
struct PermittedBytes {
    bytes: Bytes,
    _permit: Arc<Permit>,
}

impl AsRef<[u8]> for PermittedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn one_client_leaves_room_to_others() {
        let pool = FairPool::new(160);
        let (greedy, other) = (ClientId::Fair(1), ClientId::Fair(2));
        let places: Vec<_> = std::iter::from_fn(|| pool.try_acquire(greedy, 1)).collect();
        assert_eq!(places.len(), 140, "all but what is reserved");
        let others: Vec<_> = std::iter::from_fn(|| pool.try_acquire(other, 1)).collect();
        assert_eq!(others.len(), 10, "a share");
        assert!(
            pool.try_acquire(greedy, 1).is_none()
                && pool.try_acquire(ClientId::Fair(3), 10).is_some()
        );
        let unlimited: Vec<_> =
            std::iter::from_fn(|| pool.try_acquire(ClientId::Unknown, 1)).collect();
        assert_eq!(unlimited.len(), 10, "the rest");
        drop((places, others, unlimited));
        assert_eq!(pool.used(), 0);
        assert!(
            pool.used_by_client
                .iter()
                .all(|used| used.load(Ordering::Relaxed) == 0)
        );
        // A pool that is too small for shares has none.
        let pool = FairPool::new(2);
        let places: Vec<_> = std::iter::from_fn(|| pool.try_acquire(greedy, 1)).collect();
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn what_does_not_fit_refuses_nothing_that_does() {
        let (pool, ended) = (FairPool::new(10), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    assert!(pool.try_acquire(ClientId::Unknown, 11).is_none());
                }
            });
            let refused = (0..1_000_000)
                .filter(|_| pool.try_acquire(ClientId::Unknown, 1).is_none())
                .count();
            ended.store(true, Ordering::Relaxed);
            assert_eq!((refused, pool.used()), (0, 0));
        });
    }
}

#[cfg(all(test, shuttle))]
mod orders {
    use shuttle::thread;

    use super::*;

    /// The capacity: a share is 1 unit, and 2 units are reserved.
    const CAPACITY: usize = 16;

    /// Acquires permits for `client`, of as many units as the list says, and holds them together.
    fn spawn_client(
        pool: &Arc<FairPool>,
        client: ClientId,
        units: [usize; 2],
    ) -> thread::JoinHandle<()> {
        let pool = Arc::clone(pool);
        thread::spawn(move || {
            let held = units.map(|units| pool.try_acquire(client, units));
            assert!(pool.used() <= CAPACITY, "{} units are used", pool.used());
            drop(held);
        })
    }

    #[test]
    fn clients_never_have_more_than_the_pool_and_return_all_in_any_order() {
        let orders = 2_000;
        shuttle::check_random(
            || {
                let pool = FairPool::new(CAPACITY);
                let clients = [
                    spawn_client(&pool, ClientId::Fair(1), [9, 6]),
                    spawn_client(&pool, ClientId::Fair(1), [5, 1]),
                    spawn_client(&pool, ClientId::Unknown, [8, 3]),
                ];
                for client in clients {
                    client.join().unwrap();
                }
                assert_eq!(pool.used(), 0);
                let is_unused = |counter: &AtomicUsize| counter.load(Ordering::Relaxed) == 0;
                assert!(pool.used_by_client.iter().all(is_unused));
            },
            orders,
        );
    }
}
