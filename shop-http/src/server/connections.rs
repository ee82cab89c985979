//! The open connections of a listener, and which of them is closed: when there are too many, or its client does nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::options::HttpOptions;
use crate::permits::{ClientId, FairPool, Permit};
use crate::server::connection::Connection;

/// A connection is idle after this time without a request.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// How often a full listener looks for an idle connection.
const EVICT_EVERY: Duration = Duration::from_millis(100);
/// The bytes of heads that have arrived in part, of all connections together, beside 8 KiB of each.
const HEADS_BYTES: usize = 32 << 20;
/// The time-outs of connections are exact to this part of the shortest.
const PRECISION: u32 = 32;

/// All connections of a listener.
pub(crate) struct Connections {
    /// The pool of connections.
    shares: Arc<FairPool>,
    /// The pool of the bytes of heads.
    heads: Arc<FairPool>,
    options: HttpOptions,
    /// The open connections by their numbers.
    open: Mutex<BTreeMap<u64, (ClientId, Arc<Connection>)>>,
    /// One of them was closed.
    closed: Notify,
}

/// An open connection, until it is dropped.
pub(crate) struct OpenConnection {
    all: Arc<Connections>,
    id: u64,
    pub(crate) connection: Arc<Connection>,
    _share: Permit,
}

impl Connections {
    pub(crate) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            shares: FairPool::new(options.max_connections),
            heads: FairPool::new(HEADS_BYTES),
            options: options.clone(),
            open: Mutex::default(),
            closed: Notify::new(),
        })
    }

    /// Waits for room for one more connection. When there is none, the oldest idle connection is closed, of a client with
    /// more than its share if there is one.
    pub(crate) async fn room(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open.lock().len() < self.options.max_connections {
                return;
            }
            self.evict(|_| true, MIN_IDLE);
            drop(timeout(EVICT_EVERY, closed).await);
        }
    }

    /// Closes the longest idle of the connections that `is_eligible`, one of 64: a search for each newcomer takes too long.
    /// Returns whether there is one.
    fn evict(&self, is_eligible: impl Fn(ClientId) -> bool, min_idle: Duration) -> bool {
        let open = self.open.lock();
        let now = Instant::now();
        let is_idle = |(client, connection): &&(ClientId, Arc<Connection>)| {
            let state = connection.state.lock();
            let is_long = now.saturating_duration_since(state.idle_since) >= min_idle;
            is_eligible(*client) && state.is_idle() && state.chosen_at.is_none() && is_long
        };
        let mut idle: Vec<_> = open.values().filter(is_idle).collect();
        idle.sort_by_cached_key(|(client, connection)| {
            (
                !self.shares.is_above_share(*client),
                connection.state.lock().rank(),
            )
        });
        for (_, connection) in idle.iter().take(idle.len() / 64 + 1) {
            connection.choose();
        }
        !idle.is_empty()
    }

    /// Closes the connections whose clients do nothing for too long: send no byte, no request or a part of its head, or
    /// do not read a response over HTTP/2. One task for all of them: a timer for every request is not free.
    pub(crate) async fn close_overdue(&self) -> Infallible {
        let HttpOptions {
            first_byte_timeout,
            header_read_timeout,
            idle_timeout,
            write_timeout,
            ..
        } = self.options;
        let shortest = first_byte_timeout
            .min(header_read_timeout)
            .min(idle_timeout)
            .min(write_timeout);
        loop {
            let next = self.close_overdue_now().unwrap_or(shortest).min(shortest);
            sleep(next.max(shortest / PRECISION).max(Duration::from_millis(1))).await;
        }
    }

    /// Closes those that are overdue now. Returns the time until the next one may be.
    fn close_overdue_now(&self) -> Option<Duration> {
        let now = Instant::now();
        let left = |connection: &Connection| {
            let deadline = connection.state.lock().deadline(&self.options)?;
            let left = deadline
                .checked_duration_since(now)
                .filter(|left| !left.is_zero());
            if left.is_none() {
                connection.choose();
            }
            left
        };
        self.open
            .lock()
            .values()
            .filter_map(|(_, connection)| left(connection))
            .min()
    }

    /// Adds a connection of `client`. `None` if there are too many of this client, all of them in use.
    pub(crate) fn register(self: &Arc<Self>, client: ClientId) -> Option<OpenConnection> {
        let mut share = self.shares.empty_permit(client);
        let own = || {
            self.open
                .lock()
                .values()
                .filter(|(other, _)| *other == client)
                .count() as u64
        };
        let limit = self
            .options
            .client_connections
            .filter(|_| client != ClientId::Unknown);
        let has_room =
            share.force_extend(1) && limit.is_none_or(|limit| own() < limit.get().into());
        if !has_room && !self.evict(|other| other == client, Duration::ZERO) {
            return None;
        }
        let head_permit = self.heads.empty_permit(client);
        let connection = Arc::new(Connection::new(&self.options, head_permit));
        let mut open = self.open.lock();
        let id = open.last_key_value().map_or(0, |(last, _)| last + 1);
        open.insert(id, (client, Arc::clone(&connection)));
        drop(open);
        Some(OpenConnection {
            all: Arc::clone(self),
            id,
            connection,
            _share: share,
        })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.open.lock().remove(&self.id);
        self.all.closed.notify_waiters();
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
        all.room().await;
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
        let busy = open[0].connection.begin(Version::HTTP_11, None);
        drop(open[1].connection.begin(Version::HTTP_11, None));
        open[2].connection.write(&Poll::Pending);
        advance(MIN_IDLE).await;
        for expected in [3, 1] {
            let mut room = std::pin::pin!(all.room());
            assert!(room.as_mut().now_or_never().is_none());
            let evicted: Vec<_> = open.iter().map(is_evicted).collect();
            let mut expected_all = vec![false; open.len()];
            expected_all[expected] = true;
            assert_eq!(evicted, expected_all);
            drop(open.remove(expected));
            room.await;
            let more = opened(&all, HERE).await.unwrap();
            // In use, as all the others.
            std::mem::forget(more.connection.begin(Version::HTTP_11, None));
            open.push(more);
        }
        assert!(
            timeout(10 * MIN_IDLE, all.room()).await.is_err(),
            "none is idle"
        );
        drop(busy);
        advance(MIN_IDLE).await;
        assert!(
            timeout(MIN_IDLE, all.room()).await.is_err(),
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_nothing_is_closed_in_time() {
        let (first_byte, time) = (10 * MIN_IDLE, 30 * MIN_IDLE);
        let options = HttpOptions::default()
            .header_read_timeout(time)
            .idle_timeout(3 * time);
        let all = Connections::new(&options.write_timeout(100 * time));
        let open = || opened(&all, HERE).now_or_never().unwrap().unwrap();
        let mut closing = std::pin::pin!(all.close_overdue());
        let silent = open();
        let after = closed_after(&mut closing, &silent, 2 * time).await.unwrap();
        assert!(
            (first_byte..first_byte + 2 * first_byte / PRECISION).contains(&after),
            "{after:?}"
        );

        let (partial, idle, busy) = (open(), open(), open());
        drop(idle.connection.begin(Version::HTTP_11, None));
        let request = busy.connection.begin(Version::HTTP_11, None);
        assert!(partial.connection.receive(1).is_ok() && busy.connection.receive(1).is_ok());
        for (unused, time) in [(partial, time), (idle, 2 * time)] {
            let after = closed_after(&mut closing, &unused, 2 * time).await.unwrap();
            assert!(
                (time..time + 2 * time / PRECISION).contains(&after),
                "{after:?}"
            );
        }
        assert_eq!(
            closed_after(&mut closing, &busy, 10 * time).await,
            None,
            "a request is in progress"
        );
        busy.connection.write(&Poll::Pending);
        drop(request);
        assert_eq!(
            closed_after(&mut closing, &busy, 10 * time).await,
            None,
            "the response is not read yet"
        );
        busy.connection.write(&Poll::Ready(Ok(1)));
        let time = 3 * time;
        let after = closed_after(&mut closing, &busy, 2 * time).await.unwrap();
        assert!(
            (time..time + 2 * time / PRECISION).contains(&after),
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_over_http2_that_is_not_read_closes_its_connection() {
        let all = Connections::new(&HttpOptions::default());
        let mut closing = std::pin::pin!(all.close_overdue());
        let open = opened(&all, HERE).await.unwrap();
        let [unread, other] = [(); 2].map(|()| open.connection.begin(Version::HTTP_2, None));
        assert_eq!(
            closed_after(&mut closing, &open, 100 * MIN_IDLE).await,
            None,
            "neither has a response yet"
        );
        let _unread = unread.until_sent(Body::empty());
        drop(other.until_sent(Body::empty()));
        // One that has only begun when the connection is chosen does not count.
        let begun = opened(&all, HERE).await.unwrap();
        begun.connection.choose();
        let _response = begun
            .connection
            .begin(Version::HTTP_2, None)
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
            .begin(Version::HTTP_2, None)
            .until_sent(Body::empty());
        let mut seconds = 0;
        loop {
            open.connection.write(&Poll::Ready(Ok(2_000)));
            open.connection.write(&Poll::Pending);
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
            first.connection.begin(Version::HTTP_11, None),
            first.connection.begin(Version::HTTP_11, None),
        ];
        let second = opened(&all, HERE).await.unwrap();
        let _also_busy = second.connection.begin(Version::HTTP_11, None);
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
            .map(|registered| registered.connection.begin(Version::HTTP_11, None))
            .collect();
        assert!(opened(&all, HERE).await.is_none(), "all are in use");
        let _third = opened(&all, ClientId::Fair(3)).await.unwrap();
        // When all are taken, those of the client with more than its share are closed, though others are idle for longer.
        drop(busy);
        advance(MIN_IDLE).await;
        assert!(timeout(EVICT_EVERY, all.room()).await.is_err());
        assert!(!is_evicted(&other) && greedy.iter().any(is_evicted));
    }
}
