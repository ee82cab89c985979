//! Room for requests: a pool each for writes, reads and waits, and a budget of bytes for responses. None starves
//! another.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::options::HttpOptions;
use crate::response::{HttpError, HttpResult};
use crate::watched_body::{Polled, WatchedBody};

/// A response of known size below this does not count: it is written at once.
const SMALL: u64 = 16 << 10;
/// What a streamed response holds: a chunk, what is buffered for the socket, and the state of its compression.
const STREAMED: u64 = 256 << 10;
/// The maximum of concurrent requests for the state or the metrics of the service. More wait.
const MAX_OPERATIONS: usize = 8;
/// So many waits query the store as often as they like. Each further one slows down all of them, so that many together
/// make about 1,000 queries per second.
const UNHURRIED_WAITS: usize = 32;

/// The pools of a router.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) writes: Arc<Semaphore>,
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) operations: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    max_waits: usize,
    bytes: Arc<Semaphore>,
    response_timeout: Duration,
}

impl Pools {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let pool = |size| Arc::new(Semaphore::new(size));
        Self {
            writes: pool(options.max_requests),
            reads: pool(options.max_requests),
            operations: pool(MAX_OPERATIONS),
            waits: pool(options.max_waits),
            max_waits: options.max_waits,
            bytes: pool(options.max_response_bytes.min(Semaphore::MAX_PERMITS)),
            response_timeout: options.response_timeout,
        }
    }

    /// The response of a read that occupied `slot`. A large one is counted until its last byte is written to the
    /// socket. A streamed one keeps the slot until its end.
    ///
    /// # Errors
    /// When all responses together would be too large.
    pub(crate) fn hold(&self, response: Response, slot: OwnedSemaphorePermit) -> HttpResult {
        let size = HttpBody::size_hint(response.body()).exact();
        if size.is_some_and(|size| size < SMALL) {
            return Ok(response);
        }
        let bytes = usize::try_from(size.unwrap_or(STREAMED)).unwrap_or(usize::MAX);
        let bytes = admit(&self.bytes, bytes, false)?;
        let deadline = size.is_none().then(|| Instant::now() + self.response_timeout);
        let (held, slot) = (Arc::new(bytes), size.is_none().then_some(slot));
        // Its frames are counted until they are written.
        let watch = move |polled: Polled| {
            let _until_sent = &slot;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let error = axum::Error::new("the client took too long to read the response");
                return Poll::Ready(Some(Err(error)));
            }
            let hold = |bytes| Bytes::from_owner(HeldBytes::new(bytes, Arc::clone(&held)));
            polled.map_ok(|frame| frame.map_data(hold))
        };
        Ok(response.map(|body| Body::new(WatchedBody::new(body, watch))))
    }
}

/// Takes `count` permits of `pool` for a write, or for a read.
///
/// # Errors
/// When there are not as many.
pub(crate) fn admit(pool: &Arc<Semaphore>, count: usize, writes: bool) -> HttpResult<OwnedSemaphorePermit> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Arc::clone(pool).try_acquire_many_owned(count).map_err(|_taken| HttpError::overloaded(writes))
}

/// Bytes that are counted until they are written.
pub(crate) struct HeldBytes {
    bytes: Bytes,
    _held: Arc<OwnedSemaphorePermit>,
}

impl HeldBytes {
    pub(crate) const fn new(bytes: Bytes, held: Arc<OwnedSemaphorePermit>) -> Self {
        Self { bytes, _held: held }
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The slot of a read, which it gives back while it waits for a purchase.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadSlot(Option<Arc<Occupied>>);

#[derive(Debug)]
struct Occupied {
    pools: Arc<Pools>,
    slot: Mutex<Option<OwnedSemaphorePermit>>,
}

/// A read that waits, without a slot.
#[derive(Debug)]
pub(crate) struct Waiting {
    of: Option<(Arc<Occupied>, OwnedSemaphorePermit)>,
}

impl ReadSlot {
    pub(crate) fn new(pools: Arc<Pools>, slot: OwnedSemaphorePermit) -> Self {
        Self(Some(Arc::new(Occupied { pools, slot: Mutex::new(Some(slot)) })))
    }

    /// Begins to wait.
    ///
    /// # Errors
    /// When too many requests wait.
    pub(crate) fn wait(&self) -> HttpResult<Waiting> {
        let Some(occupied) = &self.0 else { return Ok(Waiting { of: None }) };
        let room = admit(&occupied.pools.waits, 1, false)?;
        drop(self.take());
        Ok(Waiting { of: Some((Arc::clone(occupied), room)) })
    }

    /// The slot, if the request occupies one.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.0.as_ref()?.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Waiting {
    /// The pause after a query, which is longer the more requests wait.
    pub(crate) fn pause(&self) -> Duration {
        let waits = self.of.as_ref().map_or(0, |(occupied, _)| {
            occupied.pools.max_waits.saturating_sub(occupied.pools.waits.available_permits())
        });
        Duration::from_millis(u64::try_from(waits.saturating_sub(UNHURRIED_WAITS)).unwrap_or(u64::MAX))
    }

    /// Ends the wait: the request occupies a slot again, as soon as there is one.
    pub(crate) async fn end(self) {
        let Some((occupied, _room)) = self.of else { return };
        // The pool is never closed.
        let slot = Arc::clone(&occupied.pools.reads).acquire_owned().await.ok();
        *occupied.slot.lock().unwrap_or_else(PoisonError::into_inner) = slot;
    }
}

/// Inserted by the limits layer.
impl<S: Send + Sync> FromRequestParts<S> for ReadSlot {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use futures_util::{FutureExt, stream};
    use http_body_util::BodyExt;

    use super::*;

    fn pools() -> Pools {
        Pools::new(&HttpOptions::default().max_requests(2).max_response_bytes(300 << 10))
    }

    fn slot(pools: &Pools) -> OwnedSemaphorePermit {
        Arc::clone(&pools.reads).try_acquire_owned().unwrap()
    }

    #[tokio::test]
    async fn large_responses_count_until_they_are_written() {
        let pools = pools();
        let small = pools.hold(Response::new(Body::from(vec![0; 100])), slot(&pools)).unwrap();
        let large = || Response::new(Body::from(vec![0; 200 << 10]));
        let held = pools.hold(large(), slot(&pools)).unwrap();
        assert_eq!(pools.reads.available_permits(), 2, "neither is streamed");
        assert_eq!(pools.hold(large(), slot(&pools)).unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        let mut body = held.into_body();
        let frame = body.frame().await.unwrap().unwrap();
        drop((body, small));
        assert!(pools.hold(large(), slot(&pools)).is_err(), "it is not written yet");
        drop(frame);
        assert!(pools.hold(large(), slot(&pools)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamed_response_keeps_its_slot_and_has_a_deadline() {
        let pools = pools();
        let frames = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"x")));
        let streamed = pools.hold(Response::new(Body::from_stream(frames)), slot(&pools)).unwrap();
        assert_eq!(pools.reads.available_permits(), 1);
        let mut body = streamed.into_body();
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert_eq!((pools.reads.available_permits(), pools.bytes.available_permits()), (2, 300 << 10));
    }

    #[tokio::test]
    async fn a_wait_holds_no_read_slot() {
        let pools = Arc::new(pools());
        let first = ReadSlot::new(Arc::clone(&pools), slot(&pools));
        let waiting = first.wait().unwrap();
        assert_eq!((pools.reads.available_permits(), waiting.pause()), (2, Duration::ZERO));
        let others = [slot(&pools), slot(&pools)];
        let mut end = std::pin::pin!(waiting.end());
        assert!(end.as_mut().now_or_never().is_none(), "no read has room");
        drop(others);
        end.await;
        assert_eq!(pools.reads.available_permits(), 1);
        drop(first);
        assert_eq!(pools.reads.available_permits(), 2);
        let many: Vec<_> = (0..pools.max_waits)
            .map(|_| ReadSlot::new(Arc::clone(&pools), slot(&pools)).wait().unwrap())
            .collect();
        assert!(many[0].pause() > Duration::from_millis(900));
        assert!(ReadSlot::new(Arc::clone(&pools), slot(&pools)).wait().is_err());
    }
}
