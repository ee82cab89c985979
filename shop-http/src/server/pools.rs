//! Room for requests: a pool each for writes, reads, waits, streams of events and bytes. None starves another, and no
//! client takes all of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::HttpBody;
use axum::response::Response;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::options::HttpOptions;
use crate::response::{HttpError, HttpResult};
use crate::server::rates::Rates;
use crate::watched_body::{Polled, watched};

/// A response of known size below this does not count: it is written at once.
const SMALL: u64 = 16 << 10;
/// What a streamed response holds: a chunk, what is buffered for the socket, and the state of its compression.
const STREAMED: u64 = 256 << 10;
/// The maximum of concurrent requests for the state or the metrics of the service. More wait.
const MAX_OPERATIONS: usize = 8;
/// So many waits query the store as often as they like. Each further one slows down all of them, so that many together
/// make about 1,000 queries per second.
const UNHURRIED_WAITS: usize = 32;
/// One of so many parts of a pool is reserved for the clients that use less than their share of it.
const RESERVED: usize = 8;
/// The share of a client: one of so many parts of a pool.
const SHARE: usize = 16;
/// The totals that one client reads at once, and its streams of events that catch up. One thread of an embedded store reads
/// all totals; 16 streams of all clients catch up at once.
const TOTALS: usize = 2;
const CATCH_UPS: usize = 4;
/// The counters of clients. Clients with the same counter have one share together.
const COUNTERS: usize = 1 << 10;

/// Who has a share of the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Of an unknown address. Only the size of a pool limits its requests.
    Unlimited,
    /// The hash of a service that sends requests on behalf of others. It has turns, and no share of a pool.
    ForOthers(u64),
    /// The hash of a principal or an address.
    Limited(u64),
}

impl Client {
    /// What is its own among what all clients have.
    fn of<T>(self, all: &[T]) -> Option<&T> {
        if self == Self::Unlimited {
            return None;
        }
        all.get(usize::try_from(self.id() % COUNTERS as u64).ok()?)
    }

    /// Its hash. Those of an unknown address are one client for the rates.
    pub(crate) const fn id(self) -> u64 {
        match self {
            Self::Unlimited => 0,
            Self::ForOthers(hash) | Self::Limited(hash) => hash,
        }
    }
}

/// What each client may do at once of something that all wait for in one queue.
type Turns = Box<[Arc<Semaphore>]>;

fn turns(count: usize) -> Turns {
    (0..COUNTERS)
        .map(|_| Arc::new(Semaphore::new(count)))
        .collect()
}

/// Room for requests, or for bytes. A client may take all but what is reserved, and of that its share.
pub(crate) struct Pool {
    size: usize,
    taken: AtomicUsize,
    by_client: Box<[AtomicUsize]>,
}

/// What a client has taken of a pool, until it is dropped.
pub(crate) struct Permit {
    pool: Arc<Pool>,
    client: Client,
    count: usize,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        let by_client = (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self {
            size,
            taken: AtomicUsize::new(0),
            by_client,
        })
    }

    /// Takes `count` for `client`, if there is room.
    pub(crate) fn take(self: &Arc<Self>, client: Client, count: usize) -> Option<Permit> {
        let mut place = self.nothing(client);
        place.grow(count).then_some(place)
    }

    /// Nothing, which can grow.
    pub(crate) fn nothing(self: &Arc<Self>, client: Client) -> Permit {
        Permit {
            pool: Arc::clone(self),
            client,
            count: 0,
        }
    }

    /// Whether `client` has more than its share.
    pub(crate) fn exceeds_share(&self, client: Client) -> bool {
        self.counter(client)
            .is_some_and(|own| own.load(Ordering::Relaxed) > self.size / SHARE)
    }

    /// The counter of a client that has a share.
    fn counter(&self, client: Client) -> Option<&AtomicUsize> {
        client
            .of(&self.by_client)
            .filter(|_| matches!(client, Client::Limited(_)))
    }
}

impl Permit {
    /// Takes `count` more, if there is room. Returns whether there was.
    pub(crate) fn grow(&mut self, count: usize) -> bool {
        self.take(count, false)
    }

    /// Takes `count` more for a write.
    ///
    /// # Errors
    /// When there is no room.
    pub(crate) fn hold(&mut self, count: usize) -> HttpResult<()> {
        if self.grow(count) {
            Ok(())
        } else {
            Err(HttpError::overloaded(true))
        }
    }

    /// Takes `count` more. Returns whether there is room for it.
    pub(crate) fn add(&mut self, count: usize) -> bool {
        self.take(count, true)
    }

    fn take(&mut self, count: usize, must: bool) -> bool {
        let pool = &self.pool;
        let own = pool.counter(self.client);
        let of_client = own.map_or(0, |own| own.fetch_add(count, Ordering::Relaxed) + count);
        let most = if of_client <= pool.size / SHARE {
            pool.size
        } else {
            pool.size - pool.size / RESERVED
        };
        // What is not taken is never part of the sum: it would refuse others meanwhile.
        let before = pool
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
                all.checked_add(count).filter(|all| must || *all <= most)
            });
        if before.is_ok() {
            self.count += count;
        } else if let Some(own) = own {
            own.fetch_sub(count, Ordering::Relaxed);
        }
        before.is_ok_and(|before| before + count <= most)
    }

    /// `bytes`, which have this place until they are written.
    pub(crate) fn held(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _place: Arc::clone(self),
        })
    }

    /// Gives all back.
    pub(crate) fn release(&mut self) {
        let count = std::mem::take(&mut self.count);
        self.pool.taken.fetch_sub(count, Ordering::Relaxed);
        if let Some(counter) = self.pool.counter(self.client) {
            counter.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

/// The pools of a router, and the rates of its clients.
pub(crate) struct Pools {
    pub(crate) rates: Option<Rates>,
    writes: Arc<Pool>,
    reads: Arc<Pool>,
    waits: Arc<Pool>,
    /// Streams of events.
    streams: Arc<Pool>,
    /// The bytes of bodies and of the results of batches.
    bodies: Arc<Pool>,
    /// The bytes of responses to reads.
    responses: Arc<Pool>,
    pub(crate) operations: Semaphore,
    pub(crate) totals: Turns,
    pub(crate) catch_ups: Turns,
    response_timeout: Duration,
}

impl Pools {
    pub(crate) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            rates: Rates::new(options),
            writes: Pool::new(options.max_requests),
            reads: Pool::new(options.max_requests),
            waits: Pool::new(options.max_waits),
            streams: Pool::new(options.max_event_streams),
            bodies: Pool::new(options.max_batches_bytes),
            responses: Pool::new(options.max_response_bytes),
            operations: Semaphore::const_new(MAX_OPERATIONS),
            totals: turns(TOTALS),
            catch_ups: turns(CATCH_UPS),
            response_timeout: options.response_timeout,
        })
    }

    /// The response of a read with `slot`. A large one is counted until its last byte is written to the
    /// socket. A streamed one keeps the slot until its end.
    ///
    /// # Errors
    /// When all responses together would be too large.
    pub(crate) fn hold(&self, response: Response, slot: &Slot) -> HttpResult {
        // A stream of events has a place of its pool.
        let Some(place) = slot.release() else {
            return Ok(response);
        };
        let size = HttpBody::size_hint(response.body()).exact();
        if size.is_some_and(|size| size < SMALL) {
            return Ok(response);
        }
        let bytes = usize::try_from(size.unwrap_or(STREAMED)).unwrap_or(usize::MAX);
        let bytes = self
            .responses
            .take(place.client, bytes)
            .ok_or_else(|| HttpError::overloaded(false))?;
        let deadline = size
            .is_none()
            .then(|| Instant::now() + self.response_timeout);
        let slot = size.is_none().then_some(place);
        // Its frames are counted until they are written.
        let held = Arc::new(bytes);
        let watch = move |polled: Polled| {
            let _until_sent = &slot;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let error = axum::Error::new("the client took too long to read the response");
                return Poll::Ready(Some(Err(error)));
            }
            polled.map_ok(|frame| frame.map_data(|bytes| held.held(bytes)))
        };
        Ok(watched(response, watch))
    }
}

/// Bytes that are counted until they are written.
struct Held {
    bytes: Bytes,
    _place: Arc<Permit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The place of a request: a read has a place from the beginning, but not while it
/// waits for a purchase; a write once its body is read.
#[derive(Clone)]
pub(crate) struct Slot(Arc<Occupied>);

struct Occupied {
    pools: Arc<Pools>,
    client: Client,
    place: Mutex<Option<Permit>>,
}

impl Slot {
    /// A slot without a place.
    pub(crate) fn new(pools: &Arc<Pools>, client: Client) -> Self {
        Self(Arc::new(Occupied {
            pools: Arc::clone(pools),
            client,
            place: Mutex::default(),
        }))
    }

    /// Takes `count` of `pool` for the client. `writes` says what the error is about.
    fn take(&self, pool: &Arc<Pool>, count: usize, writes: bool) -> HttpResult<Permit> {
        pool.take(self.0.client, count)
            .ok_or_else(|| HttpError::overloaded(writes))
    }

    fn occupy(&self, place: Permit) {
        *self.0.place.lock() = Some(place);
    }

    /// Gives the place back.
    fn release(&self) -> Option<Permit> {
        self.0.place.lock().take()
    }

    /// Takes a place among the reads.
    ///
    /// # Errors
    /// When there is none, as with the others.
    pub(crate) fn read(&self) -> HttpResult<()> {
        self.occupy(self.take(&self.0.pools.reads, 1, false)?);
        Ok(())
    }

    /// Takes the places of `count` writes, or of all.
    pub(crate) fn write(&self, count: usize) -> HttpResult<()> {
        let pool = &self.0.pools.writes;
        self.occupy(self.take(pool, count.min(pool.size), true)?);
        Ok(())
    }

    /// Takes a place among the streams of events, in place of that of a read.
    pub(crate) fn stream(&self) -> HttpResult<Permit> {
        let place = self.take(&self.0.pools.streams, 1, false);
        self.release();
        place
    }

    /// Waits for a turn of the client, which it has until the result is dropped.
    pub(crate) async fn turn(&self, of: fn(&Pools) -> &Turns) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(self.0.client.of(of(&self.0.pools))?)
            .acquire_owned()
            .await
            .ok()
    }

    /// Takes a place among the waits, in place of that of a read.
    pub(crate) fn wait(&self) -> HttpResult<WaitingRead> {
        let place = self.take(&self.0.pools.waits, 1, false)?;
        self.release();
        Ok(WaitingRead {
            slot: self.clone(),
            place,
        })
    }

    /// The rates, if there are some, and the client that they count.
    pub(crate) fn rates(&self) -> Option<(&Rates, u64)> {
        Some((self.0.pools.rates.as_ref()?, self.0.client.id()))
    }

    /// No bytes of bodies yet.
    pub(crate) fn body(&self) -> Permit {
        self.0.pools.bodies.nothing(self.0.client)
    }
}

/// A read that waits.
pub(crate) struct WaitingRead {
    slot: Slot,
    place: Permit,
}

impl WaitingRead {
    /// The pause after a query, which is longer the more requests wait.
    pub(crate) fn pause(&self) -> Duration {
        let waits = self.place.pool.taken.load(Ordering::Relaxed);
        Duration::from_millis(
            u64::try_from(waits.saturating_sub(UNHURRIED_WAITS)).unwrap_or(u64::MAX),
        )
    }

    /// Ends the wait: it is a read again, also if there are too many. It was admitted before.
    pub(crate) fn end(self) {
        let Occupied { pools, client, .. } = &*self.slot.0;
        let mut place = pools.reads.nothing(*client);
        place.add(1);
        self.slot.occupy(place);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicBool;

    use axum::http::StatusCode;
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;
    use axum::body::Body;

    fn pools() -> Arc<Pools> {
        Pools::new(
            &HttpOptions::default()
                .max_requests(2)
                .max_response_bytes(300 << 10),
        )
    }

    fn slot(pools: &Arc<Pools>) -> Slot {
        let slot = Slot::new(pools, Client::Unlimited);
        slot.read().unwrap();
        slot
    }

    fn taken(pool: &Pool) -> usize {
        pool.taken.load(Ordering::Relaxed)
    }

    #[test]
    fn one_client_leaves_room_to_others() {
        let pool = Pool::new(160);
        let (greedy, other) = (Client::Limited(1), Client::Limited(2));
        let places: Vec<_> = std::iter::from_fn(|| pool.take(greedy, 1)).collect();
        assert_eq!(places.len(), 140, "all but what is reserved");
        let others: Vec<_> = std::iter::from_fn(|| pool.take(other, 1)).collect();
        assert_eq!(others.len(), 10, "a share");
        assert!(pool.take(greedy, 1).is_none() && pool.take(Client::Limited(3), 10).is_some());
        let unlimited: Vec<_> = std::iter::from_fn(|| pool.take(Client::Unlimited, 1)).collect();
        assert_eq!(unlimited.len(), 10, "the rest");
        drop((places, others, unlimited));
        assert_eq!(taken(&pool), 0);
        assert!(
            pool.by_client
                .iter()
                .all(|taken| taken.load(Ordering::Relaxed) == 0)
        );
        // A pool that is too small for shares has none.
        let pool = Pool::new(2);
        let places: Vec<_> = std::iter::from_fn(|| pool.take(greedy, 1)).collect();
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn what_does_not_fit_refuses_nothing_that_does() {
        let (pool, ended) = (Pool::new(10), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    assert!(pool.take(Client::Unlimited, 11).is_none());
                }
            });
            let refused = (0..1_000_000)
                .filter(|_| pool.take(Client::Unlimited, 1).is_none())
                .count();
            ended.store(true, Ordering::Relaxed);
            assert_eq!((refused, taken(&pool)), (0, 0));
        });
    }

    #[tokio::test]
    async fn large_responses_count_until_they_are_written() {
        let pools = pools();
        let small = pools
            .hold(Response::new(Body::from(vec![0; 100])), &slot(&pools))
            .unwrap();
        let large = || Response::new(Body::from(vec![0; 200 << 10]));
        let held = pools.hold(large(), &slot(&pools)).unwrap();
        assert_eq!(taken(&pools.reads), 0, "neither is streamed");
        assert_eq!(
            pools.hold(large(), &slot(&pools)).unwrap_err().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        let mut body = held.into_body();
        let frame = body.frame().await.unwrap().unwrap();
        drop((body, small));
        assert!(
            pools.hold(large(), &slot(&pools)).is_err(),
            "it is not written yet"
        );
        drop(frame);
        assert!(pools.hold(large(), &slot(&pools)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamed_response_keeps_its_slot_and_has_a_deadline() {
        let pools = pools();
        let frames = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"x")));
        let streamed = pools
            .hold(Response::new(Body::from_stream(frames)), &slot(&pools))
            .unwrap();
        assert_eq!(taken(&pools.reads), 1);
        let mut body = streamed.into_body();
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert_eq!((taken(&pools.reads), taken(&pools.responses)), (0, 0));
    }

    #[test]
    fn a_wait_holds_no_read_slot() {
        let pools = pools();
        let first = slot(&pools);
        let waiting = first.wait().unwrap();
        assert_eq!((taken(&pools.reads), waiting.pause()), (0, Duration::ZERO));
        let others = [slot(&pools), slot(&pools)];
        waiting.end();
        assert_eq!(taken(&pools.reads), 3, "it was admitted before");
        drop((first, others));
        assert_eq!(taken(&pools.reads), 0);
        let waits = HttpOptions::default().max_waits;
        let many: Vec<_> = (0..waits).map(|_| slot(&pools).wait().unwrap()).collect();
        assert!(many[0].pause() > Duration::from_millis(900));
        assert!(slot(&pools).wait().is_err());
    }
}
