//! Permits: the room that requests, bodies and responses occupy, and the clients' fair shares of
//! that room.
//!
//! Each kind of work uses its own pool, so that none starves another, and no client with a fair
//! share takes all of a pool.
//!
//! | pool | unit | held |
//! |---|---|---|
//! | `writes` | a write | from the end of the request body until the handler ends, or the import, also without its client; a refund exchanges it for `waits` |
//! | `reads` | a read | from admission until it waits, until the response is made, or until a streamed response is sent |
//! | `waits` | a request that waits for the store | from the begin of its wait, otherwise as a read or a write |
//! | `event_streams` | a stream of events | until the stream ends |
//! | `request_bytes` | a byte of a request body or of the results of a batch | a single write, beyond its first 16 KiB: until the body is read; a batch: until its response is sent; an import: until it ends |
//! | `response_bytes` | a byte of a large response to a read, or 256 KiB for a streamed one | until the whole response is written to the socket |
//!
//! A [`RequestPermit`] holds the [`Permit`] that its request needs now. [`Rates`] limit requests
//! per second.

mod pool;
pub(crate) mod rates;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::HttpBody;
use axum::response::Response;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::options::HttpOptions;
use crate::response::{HttpError, HttpResult, RequestKind};
use crate::watched_body::watch_body;
pub(crate) use pool::{FairPool, Permit};
use rates::Rates;

/// The size in bytes below which a response needs no permit, because it is written at once.
const LARGE_RESPONSE_BYTES: u64 = 16 << 10;
/// The bytes that a streamed response occupies: a chunk, what is buffered for the socket, and the
/// compression state.
const STREAMED_RESPONSE_BYTES: u64 = 256 << 10;
/// The time in which a client must read a streamed response. After this time, the response is cut
/// off.
const STREAMED_RESPONSE_TIMEOUT: Duration = Duration::from_secs(600);
/// The maximum number of concurrent requests for the state or the metrics of the service. Further
/// ones wait.
const MAX_OPERATIONS: usize = 8;
/// The number of waiting requests that may query the store as often as they like.
///
/// Each further request slows down all waiting requests, so that many together make about 1,000
/// queries per second.
const UNHURRIED_WAITS: usize = 32;
/// The number of totals that one client reads at once. It is small, because one thread of an embedded
/// store reads the totals of all clients.
const TOTALS_PER_CLIENT: usize = 2;
/// The number of event streams of one client that catch up at once. By default, 16 streams of all
/// clients together catch up at once.
const CATCH_UPS_PER_CLIENT: usize = 4;
/// The number of counters for clients. Clients with the same counter get one fair share together.
const CLIENT_COUNTERS: usize = 1 << 10;

/// The client that a permit or a rate is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientId {
    /// A client with an unknown address, or a trusted proxy. Only the capacity of a pool limits its
    /// requests.
    Unknown,
    /// The hash of a service that sends requests on behalf of many users. It waits for the turns of
    /// a [`ClientQueue`], but no fair share limits its permits.
    Service(u64),
    /// The hash of a principal or of an address, which gets a fair share of each pool.
    Fair(u64),
}

impl ClientId {
    /// Returns the hash of this client. The clients with unknown addresses are one client for the
    /// rates.
    pub(crate) const fn hash(self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Service(hash) | Self::Fair(hash) => hash,
        }
    }
}

/// Returns the one of the [`CLIENT_COUNTERS`] that belongs to the client with this hash.
fn select_counter<T>(counters: &[T], hash: u64) -> Option<&T> {
    let index = usize::try_from(hash % CLIENT_COUNTERS as u64).ok()?;
    counters.get(index)
}

/// A limit of the concurrent calls of each client, for work that all clients wait for in one queue.
///
/// A turn is the right to one such call. A client whose turns are all in use waits here, so that its
/// calls do not fill the common queue.
struct ClientQueue {
    turns: Box<[Arc<Semaphore>]>,
}

impl ClientQueue {
    fn new(turns_per_client: usize) -> Self {
        let turns = (0..CLIENT_COUNTERS)
            .map(|_| Arc::new(Semaphore::new(turns_per_client)))
            .collect();
        Self { turns }
    }

    /// Waits for a turn of `client`. The turn lasts until the result is dropped.
    ///
    /// A client with an unknown address needs no turn: the result is `None` at once.
    async fn wait_for_turn(&self, client: ClientId) -> Option<OwnedSemaphorePermit> {
        if client == ClientId::Unknown {
            return None;
        }
        let turns = select_counter(&self.turns, client.hash())?;
        // The semaphore is never closed.
        Arc::clone(turns).acquire_owned().await.ok()
    }
}

/// The pools and the queues of a router, and the rates of its clients.
pub(crate) struct Pools {
    pub(crate) rates: Rates,
    writes: Arc<FairPool>,
    reads: Arc<FairPool>,
    waits: Arc<FairPool>,
    event_streams: Arc<FairPool>,
    request_bytes: Arc<FairPool>,
    response_bytes: Arc<FairPool>,
    pub(crate) operations: Semaphore,
    totals: ClientQueue,
    catch_ups: ClientQueue,
}

impl Pools {
    pub(crate) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            rates: Rates::new(options),
            writes: FairPool::new(options.max_requests),
            reads: FairPool::new(options.max_requests),
            waits: FairPool::new(options.max_requests),
            event_streams: FairPool::new(options.max_event_streams),
            request_bytes: FairPool::new(options.max_batches_bytes),
            response_bytes: FairPool::new(options.max_response_bytes),
            operations: Semaphore::const_new(MAX_OPERATIONS),
            totals: ClientQueue::new(TOTALS_PER_CLIENT),
            catch_ups: ClientQueue::new(CATCH_UPS_PER_CLIENT),
        })
    }
}

/// The permit that a request holds now, and the client that its other permits are counted for.
///
/// A read holds a permit from its admission on, a write once its body is read: a body that is sent
/// slowly occupies no room among the writes. The permit is exchanged when the request begins to
/// wait, or a stream of events begins. Each exchange acquires the new permit before it releases the
/// old one, so a request that is refused keeps its old permit.
///
/// Clones share one permit, which is released with the last clone.
#[derive(Clone)]
pub(crate) struct RequestPermit(Arc<RequestPermitInner>);

struct RequestPermitInner {
    pools: Arc<Pools>,
    client: ClientId,
    held_permit: Mutex<Option<Permit>>,
}

impl RequestPermit {
    /// Returns the permit of a request that holds no room yet.
    pub(crate) fn new(pools: &Arc<Pools>, client: ClientId) -> Self {
        Self(Arc::new(RequestPermitInner {
            pools: Arc::clone(pools),
            client,
            held_permit: Mutex::default(),
        }))
    }

    /// Acquires room for a read.
    ///
    /// # Errors
    /// 503 if there is none for this client.
    pub(crate) fn acquire_read(&self) -> HttpResult<()> {
        self.exchange(&self.0.pools.reads, 1, RequestKind::Read)
    }

    /// Acquires room for `count` writes, or the whole pool if its capacity is smaller.
    ///
    /// # Errors
    /// 503 if there is none for this client.
    pub(crate) fn acquire_write(&self, count: usize) -> HttpResult<()> {
        let pool = &self.0.pools.writes;
        self.exchange(pool, count.min(pool.capacity), RequestKind::Write)
    }

    /// Exchanges the permit for a permit to wait for the store, so that other requests find room
    /// during the wait. The request keeps the permit to wait after its wait.
    ///
    /// # Errors
    /// 503 if too many requests wait. The request keeps the permit that it holds.
    pub(crate) fn exchange_for_wait(&self) -> HttpResult<()> {
        self.exchange(&self.0.pools.waits, 1, RequestKind::Read)
    }

    /// Returns the pause of a waiting request after each query. The more requests wait, the longer
    /// the pause is.
    pub(crate) fn wait_pause(&self) -> Duration {
        let slowed_waits = self.0.pools.waits.used().saturating_sub(UNHURRIED_WAITS);
        Duration::from_millis(slowed_waits as u64)
    }

    /// Releases the permit of the request, and returns a permit of a stream of events, which the body
    /// of the response must keep.
    ///
    /// # Errors
    /// 503 if there are too many streams. The request keeps the permit that it holds.
    pub(crate) fn exchange_for_stream(&self) -> HttpResult<Permit> {
        let pool = &self.0.pools.event_streams;
        let stream_permit = self.acquire(pool, 1, RequestKind::Read)?;
        self.take();
        Ok(stream_permit)
    }

    /// Waits for the turn of this client to read totals. The turn lasts until the result is dropped.
    pub(crate) async fn wait_for_totals_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.0.pools.totals.wait_for_turn(self.0.client).await
    }

    /// Waits for the turn of a stream of this client to catch up. The turn lasts until the result is
    /// dropped.
    pub(crate) async fn wait_for_catch_up_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.0.pools.catch_ups.wait_for_turn(self.0.client).await
    }

    /// Returns a permit for the bytes of a request body, none of which is received yet.
    pub(crate) fn empty_body_permit(&self) -> Permit {
        self.0.pools.request_bytes.empty_permit(self.0.client)
    }

    /// Returns the maximum number of purchases in a batch that the rate of writes allows.
    pub(crate) fn max_batch_purchases(&self) -> usize {
        self.0.pools.rates.max_batch_purchases()
    }

    /// Counts each purchase of a batch as a write of the client.
    ///
    /// The first purchase was counted when the batch was admitted.
    ///
    /// # Errors
    /// 429 if the purchases are more than the client may send now.
    pub(crate) fn count_batch(&self, purchase_count: usize) -> HttpResult<()> {
        // A batch has far fewer purchases than a `u32` can count.
        let uncounted_purchases =
            u32::try_from(purchase_count.saturating_sub(1)).unwrap_or_default();
        let rates = &self.0.pools.rates;
        let client_hash = self.0.client.hash();
        rates.count_requests(client_hash, RequestKind::Write, uncounted_purchases)?;
        Ok(())
    }

    /// Returns the `response` to a read, which now holds the permits that it needs until its last
    /// byte is written to the socket.
    ///
    /// | response | holds | time limit |
    /// |---|---|---|
    /// | smaller than [`LARGE_RESPONSE_BYTES`] | nothing | none |
    /// | large | a permit for its bytes | none |
    /// | streamed | this permit, and the permit of the read: it may query the store until its end | [`STREAMED_RESPONSE_TIMEOUT`] |
    ///
    /// # Errors
    /// 503 if there is no room for the response beside the others.
    pub(crate) fn track_response(&self, response: Response) -> HttpResult {
        // Only the request of an event stream has no permit any more: the body of its response
        // already holds the permit of the stream.
        let Some(read_permit) = self.take() else {
            return Ok(response);
        };
        let exact_size = response.body().size_hint().exact();
        if exact_size.is_some_and(|size| size < LARGE_RESPONSE_BYTES) {
            return Ok(response);
        }

        let size = exact_size.unwrap_or(STREAMED_RESPONSE_BYTES);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let pool = &self.0.pools.response_bytes;
        // A response that is larger than the pool takes all of it, or it could never be sent.
        let units = size.min(pool.max_for_one_client());
        let size_permit = Arc::new(self.acquire(pool, units, RequestKind::Read)?);
        let permit_and_deadline = exact_size
            .is_none()
            .then(|| (read_permit, Instant::now() + STREAMED_RESPONSE_TIMEOUT));
        Ok(watch_body(response, move |polled| {
            if let Some((_read_permit, deadline)) = &permit_and_deadline
                && Instant::now() >= *deadline
            {
                let error = axum::Error::new("the client took too long to read the response");
                return Poll::Ready(Some(Err(error)));
            }
            size_permit.attach_to_frame(polled)
        }))
    }

    /// Acquires `units` of `pool` for the request, and then releases the permit that it held.
    ///
    /// # Errors
    /// 503 if fewer units are free for the client. The request keeps its permit.
    fn exchange(&self, pool: &Arc<FairPool>, units: usize, kind: RequestKind) -> HttpResult<()> {
        let permit = self.acquire(pool, units, kind)?;
        self.hold(permit);
        Ok(())
    }

    /// Acquires `units` of `pool` for the client of a request of this kind.
    ///
    /// # Errors
    /// 503 if fewer units are free for the client.
    fn acquire(&self, pool: &Arc<FairPool>, units: usize, kind: RequestKind) -> HttpResult<Permit> {
        pool.try_acquire(self.0.client, units)
            .ok_or_else(|| HttpError::overloaded(kind))
    }

    /// Holds `permit`, and releases the permit that the request held.
    fn hold(&self, permit: Permit) {
        *self.0.held_permit.lock() = Some(permit);
    }

    /// Takes the permit out of the request, which holds none afterwards.
    fn take(&self) -> Option<Permit> {
        self.0.held_permit.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::StatusCode;
    use bytes::Bytes;
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

    fn read_permit(pools: &Arc<Pools>) -> RequestPermit {
        let permit = RequestPermit::new(pools, ClientId::Unknown);
        permit.acquire_read().unwrap();
        permit
    }

    #[tokio::test]
    async fn large_responses_count_until_they_are_written() {
        let pools = pools();
        let track = |response| read_permit(&pools).track_response(response);
        let small = track(Response::new(Body::from(vec![0; 100]))).unwrap();
        let large = || Response::new(Body::from(vec![0; 200 << 10]));
        let held = track(large()).unwrap();
        assert_eq!(pools.reads.used(), 0, "neither is streamed");
        assert_eq!(
            track(large()).unwrap_err().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        let mut body = held.into_body();
        let frame = body.frame().await.unwrap().unwrap();
        drop((body, small));
        assert!(track(large()).is_err(), "it is not written yet");
        drop(frame);
        assert!(track(large()).is_ok());
        let larger_than_the_pool = Response::new(Body::from(vec![0; 400 << 10]));
        assert!(track(larger_than_the_pool).is_ok(), "alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamed_response_keeps_its_slot_and_has_a_deadline() {
        let pools = pools();
        let frames = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"x")));
        let streamed = read_permit(&pools)
            .track_response(Response::new(Body::from_stream(frames)))
            .unwrap();
        assert_eq!(pools.reads.used(), 1);
        let mut body = streamed.into_body();
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert_eq!((pools.reads.used(), pools.response_bytes.used()), (0, 0));
    }

    #[test]
    fn a_wait_holds_no_read_slot() {
        let pools = Pools::new(&HttpOptions::default());
        let wait = || {
            let permit = read_permit(&pools);
            permit.exchange_for_wait().map(|()| permit)
        };
        let first = wait().unwrap();
        assert_eq!(
            (pools.reads.used(), first.wait_pause()),
            (0, Duration::ZERO)
        );
        drop(first);
        assert_eq!(pools.waits.used(), 0);
        let waits = HttpOptions::default().max_requests;
        let many: Vec<_> = (0..waits).map(|_| wait().unwrap()).collect();
        assert_eq!(pools.reads.used(), 0, "reads have room");
        assert!(many[0].wait_pause() > Duration::from_millis(900));
        assert!(wait().is_err());
    }
}
