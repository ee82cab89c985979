//! The open connections of a listener, and which one is closed: when there are too many, or when
//! its client does nothing for too long.
//!
//! A connection is only marked for closing here. Its task closes it, unless the client does
//! something first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;
use super::half_heads::HEAD_BYTES;
use crate::options::HttpOptions;
use crate::permits::{ClientId, FairPool, Permit};

/// The time without a request after which a full listener may close a connection.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// How often a full listener looks for an idle connection.
const EVICT_EVERY: Duration = Duration::from_millis(100);
/// The time-outs of connections are exact to the shortest one divided by this number.
const PRECISION: u32 = 32;

/// The open connections of a listener.
pub(super) struct Connections {
    pool: Arc<FairPool>,
    /// The pool of the bytes of half heads.
    head_bytes: Arc<FairPool>,
    options: HttpOptions,
    /// The open connections by their numbers, in the order in which they were opened.
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    /// Notified when a connection is closed.
    closed: Notify,
}

/// An open connection, which leaves its listener when it is dropped.
pub(super) struct OpenConnection {
    listener: Arc<Connections>,
    number: u64,
    pub(super) connection: Arc<Connection>,
    _permit: Permit,
}

impl Connections {
    pub(super) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            pool: FairPool::new(options.max_connections),
            head_bytes: FairPool::new(HEAD_BYTES),
            options: options.clone(),
            open: Mutex::default(),
            closed: Notify::new(),
        })
    }

    /// Waits for room for one more connection.
    ///
    /// While there is no room, connections that are idle for [`MIN_IDLE`] are closed: first those
    /// of clients with more than their share, of these first the ones that never received a
    /// request, and then the longest idle ones.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open.lock().len() < self.options.max_connections {
                return;
            }
            self.evict_idle(|_| true, MIN_IDLE);
            drop(timeout(EVICT_EVERY, closed).await);
        }
    }

    /// Marks idle connections of the eligible clients for closing, in the order of
    /// [`wait_for_room`](Self::wait_for_room).
    ///
    /// Returns whether it marked one: whether a connection of these clients has been idle for
    /// `min_idle`, and was not marked before.
    fn evict_idle(&self, is_eligible: impl Fn(ClientId) -> bool, min_idle: Duration) -> bool {
        let open = self.open.lock();
        let now = Instant::now();

        let mut idle: Vec<_> = open
            .values()
            .filter(|connection| {
                is_eligible(connection.client) && connection.is_evictable(min_idle, now)
            })
            .collect();
        idle.sort_by_cached_key(|connection| {
            (
                !self.pool.is_above_share(connection.client),
                connection.eviction_rank(),
            )
        });

        // One of 64 is closed, not only one: a search for each newcomer takes too long.
        for connection in idle.iter().take(idle.len() / 64 + 1) {
            connection.mark_for_closing();
        }
        !idle.is_empty()
    }

    /// Closes the connections whose clients do nothing for too long: send no byte, no request or a
    /// part of its head, or do not read a response.
    ///
    /// One task does this for all connections: a timer for every request is not free.
    pub(super) async fn close_overdue(&self) -> Infallible {
        let options = &self.options;
        let shortest_timeout = options
            .first_byte_timeout
            .min(options.header_read_timeout)
            .min(options.idle_timeout)
            .min(options.write_timeout);
        let min_pause = (shortest_timeout / PRECISION).max(Duration::from_millis(1));

        loop {
            let pause = self.close_overdue_now(shortest_timeout);
            sleep(pause.max(min_pause)).await;
        }
    }

    /// Closes the connections that are overdue now. Returns the time until the next one may be, at
    /// most `max_pause`.
    fn close_overdue_now(&self, max_pause: Duration) -> Duration {
        let now = Instant::now();
        let mut pause = max_pause;
        for connection in self.open.lock().values() {
            let Some(deadline) = connection.deadline(&self.options) else {
                continue;
            };

            if deadline <= now {
                connection.mark_for_closing();
            } else {
                pause = pause.min(deadline - now);
            }
        }
        pause
    }

    /// Adds a connection of `client`. It may exceed the pool or the limit of the client by one
    /// while an idle connection of the same client is closed for it.
    ///
    /// Returns `None` if there is no room, and all connections of the client are in use.
    pub(super) fn register(self: &Arc<Self>, client: ClientId) -> Option<OpenConnection> {
        let mut permit = self.pool.empty_permit(client);
        let has_room = permit.force_extend(1) && self.is_below_client_limit(client);
        if !has_room && !self.evict_idle(|other| other == client, Duration::ZERO) {
            return None;
        }

        let head_permit = self.head_bytes.empty_permit(client);
        let connection = Arc::new(Connection::new(&self.options, client, head_permit));
        let mut open = self.open.lock();
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        open.insert(number, Arc::clone(&connection));
        Some(OpenConnection {
            listener: Arc::clone(self),
            number,
            connection,
            _permit: permit,
        })
    }

    /// Returns whether the options allow `client` one more connection.
    fn is_below_client_limit(&self, client: ClientId) -> bool {
        let Some(limit) = self.options.client_connections else {
            return true;
        };
        if client == ClientId::Unknown {
            return true;
        }

        let open = self.open.lock();
        let own_count = open.values().filter(|other| other.client == client).count() as u64;
        own_count < limit.get().into()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.listener.open.lock().remove(&self.number);
        self.listener.closed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::task::Poll;

    use axum::body::Body;
    use axum::http::Version;
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const HERE: ClientId = ClientId::Fair(1);
    const ELSEWHERE: ClientId = ClientId::Fair(2);

    async fn opened(all: &Arc<Connections>, client: ClientId) -> Option<OpenConnection> {
        all.wait_for_room().await;
        all.register(client)
    }

    fn is_evicted(registered: &OpenConnection) -> bool {
        registered.connection.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_listener_closes_the_longest_idle_connection() {
        let all = Connections::new(&HttpOptions::default().max_connections(4));
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(opened(&all, HERE).await.unwrap());
            advance(MIN_IDLE).await;
        }
        // Of the four, one is in use, one was used before, and one does not read its response.
        let busy = open[0].connection.begin(Version::HTTP_11);
        drop(open[1].connection.begin(Version::HTTP_11));
        open[2].connection.record_write(&Poll::Pending);
        advance(MIN_IDLE).await;
        for expected in [3, 1] {
            let mut room = std::pin::pin!(all.wait_for_room());
            assert!(room.as_mut().now_or_never().is_none());
            let evicted: Vec<_> = open.iter().map(is_evicted).collect();
            let mut expected_all = vec![false; open.len()];
            expected_all[expected] = true;
            assert_eq!(evicted, expected_all);
            drop(open.remove(expected));
            room.await;
            let more = opened(&all, HERE).await.unwrap();
            // In use, as all the others.
            std::mem::forget(more.connection.begin(Version::HTTP_11));
            open.push(more);
        }
        assert!(
            timeout(10 * MIN_IDLE, all.wait_for_room()).await.is_err(),
            "none is idle"
        );
        drop(busy);
        advance(MIN_IDLE).await;
        assert!(
            timeout(MIN_IDLE, all.wait_for_room()).await.is_err(),
            "it is not closed yet"
        );
        assert!(is_evicted(&open[0]));
    }

    /// After which time the connection is closed, if that is within `limit`.
    async fn closed_after(
        closing: &mut (impl Future<Output = Infallible> + Unpin),
        registered: &OpenConnection,
        limit: Duration,
    ) -> Option<Duration> {
        let begun = Instant::now();
        let closed = timeout(limit, registered.connection.evicted());
        tokio::select! {
            closed = closed => closed.ok().map(|()| begun.elapsed()),
            never = closing => match never {},
        }
    }

    async fn assert_closed_after(
        time: Duration,
        closing: &mut (impl Future<Output = Infallible> + Unpin),
        registered: &OpenConnection,
    ) {
        let after = closed_after(closing, registered, 2 * time).await.unwrap();
        let latest = time + 2 * time / PRECISION;
        assert!((time..latest).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_nothing_is_closed_in_time() {
        let (first_byte, time) = (10 * MIN_IDLE, 30 * MIN_IDLE);
        let options = HttpOptions::default()
            .header_read_timeout(time)
            .idle_timeout(3 * time);
        let all = Connections::new(&options.write_timeout(100 * time));
        let open = || opened(&all, HERE).now_or_never().unwrap().unwrap();
        let mut closing = std::pin::pin!(all.close_overdue());
        assert_closed_after(first_byte, &mut closing, &open()).await;

        let (partial, idle, busy) = (open(), open(), open());
        drop(idle.connection.begin(Version::HTTP_11));
        let request = busy.connection.begin(Version::HTTP_11);
        assert!(
            partial.connection.record_read(1).is_ok() && busy.connection.record_read(1).is_ok()
        );
        for (unused, time) in [(partial, time), (idle, 2 * time)] {
            assert_closed_after(time, &mut closing, &unused).await;
        }
        assert_eq!(
            closed_after(&mut closing, &busy, 10 * time).await,
            None,
            "a request is in progress"
        );
        busy.connection.record_write(&Poll::Pending);
        drop(request);
        assert_eq!(
            closed_after(&mut closing, &busy, 10 * time).await,
            None,
            "the response is not read yet"
        );
        busy.connection.record_write(&Poll::Ready(Ok(1)));
        assert_closed_after(3 * time, &mut closing, &busy).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_over_http2_that_is_not_read_closes_its_connection() {
        let all = Connections::new(&HttpOptions::default());
        let mut closing = std::pin::pin!(all.close_overdue());
        let open = opened(&all, HERE).await.unwrap();
        let [unread, other] = [(); 2].map(|()| open.connection.begin(Version::HTTP_2));
        assert_eq!(
            closed_after(&mut closing, &open, 100 * MIN_IDLE).await,
            None,
            "neither has a response yet"
        );
        let _unread = unread.until_sent(Body::empty());
        drop(other.until_sent(Body::empty()));
        // One that has only begun when the connection is chosen does not count.
        let begun = opened(&all, HERE).await.unwrap();
        begun.connection.mark_for_closing();
        let _response = begun
            .connection
            .begin(Version::HTTP_2)
            .until_sent(Body::empty());
        assert!(!is_evicted(&begun));
        assert!(
            closed_after(&mut closing, &open, 32 * MIN_IDLE)
                .await
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_not_read_counts_beside_one_that_is_read_slowly() {
        let all = Connections::new(&HttpOptions::default());
        let mut closing = std::pin::pin!(all.close_overdue());
        let open = opened(&all, HERE).await.unwrap();
        let _unread = open
            .connection
            .begin(Version::HTTP_2)
            .until_sent(Body::empty());
        let mut seconds = 0;
        loop {
            open.connection.record_write(&Poll::Ready(Ok(2_000)));
            open.connection.record_write(&Poll::Pending);
            if closed_after(&mut closing, &open, MIN_IDLE).await.is_some() {
                break;
            }
            seconds += 1;
        }
        assert!((29..33).contains(&seconds), "{seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_per_client_are_limited() {
        let all = Connections::new(&HttpOptions::default().client_connections(NonZeroU32::new(2)));
        let first = opened(&all, HERE).await.unwrap();
        let busy = [
            first.connection.begin(Version::HTTP_11),
            first.connection.begin(Version::HTTP_11),
        ];
        let second = opened(&all, HERE).await.unwrap();
        let _also_busy = second.connection.begin(Version::HTTP_11);
        assert!(opened(&all, HERE).await.is_none());
        assert!(opened(&all, ClientId::Unknown).await.is_some(), "a proxy");
        assert!(opened(&all, ELSEWHERE).await.is_some());
        drop(busy);
        assert!(opened(&all, HERE).await.is_some());
        assert!(is_evicted(&first), "it was idle");
        drop((first, second));
        assert!(all.open.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_leaves_connections_to_others() {
        let all = Connections::new(&HttpOptions::default().max_connections(16));
        let mut greedy = Vec::new();
        for _ in 0..14 {
            greedy.push(opened(&all, HERE).await.unwrap());
        }
        // One more takes the place of an own one, also a new one.
        let more = opened(&all, HERE).await.unwrap();
        assert_eq!(
            greedy
                .iter()
                .filter(|registered| is_evicted(registered))
                .count(),
            1
        );
        drop(more);
        let other = opened(&all, ELSEWHERE).await.unwrap();
        let busy: Vec<_> = greedy
            .iter()
            .map(|registered| registered.connection.begin(Version::HTTP_11))
            .collect();
        assert!(opened(&all, HERE).await.is_none(), "all are in use");
        let _third = opened(&all, ClientId::Fair(3)).await.unwrap();
        // When all are taken, those of the client with more than its share are closed, though
        // others are idle for longer.
        drop(busy);
        advance(MIN_IDLE).await;
        assert!(timeout(EVICT_EVERY, all.wait_for_room()).await.is_err());
        assert!(!is_evicted(&other) && greedy.iter().any(is_evicted));
    }
}
