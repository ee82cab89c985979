//! The open connections of a listener, and which of them are closed when there are too many.
//!
//! A connection is only chosen here. Its task closes it, unless the client does something first.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::{Connection, Timeouts};
use crate::options::HttpOptions;
use crate::permits::{ClientId, FairPool, Permit};

/// The time without a request after which a full listener may close a connection.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// How often a full listener looks for an idle connection.
const EVICT_EVERY: Duration = Duration::from_millis(100);
/// The bytes of half heads of all connections of a listener together, each beyond its first 8 KiB.
const HEAD_BYTES: usize = 32 << 20;

/// The open connections of a listener.
pub(super) struct Connections {
    /// The room for connections, which a new one waits for before it is accepted.
    room: Arc<Semaphore>,
    /// The fair shares of the clients.
    pool: Arc<FairPool>,
    /// The pool of the bytes of half heads.
    head_bytes: Arc<FairPool>,
    max_connections_per_client: Option<NonZeroU32>,
    timeouts: Timeouts,
    /// The open connections by their numbers, in the order in which they were opened.
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

/// An open connection, which leaves its listener when it is dropped.
pub(super) struct OpenConnection {
    listener: Arc<Connections>,
    number: u64,
    pub(super) connection: Arc<Connection>,
    _room: OwnedSemaphorePermit,
    _permit: Permit,
}

impl Connections {
    pub(super) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(options.max_connections)),
            pool: FairPool::new(options.max_connections),
            head_bytes: FairPool::new(HEAD_BYTES),
            max_connections_per_client: options.client_connections,
            timeouts: Timeouts::new(options),
            open: Mutex::default(),
        })
    }

    /// Waits for room for one more connection.
    ///
    /// While there is no room, the connections that are idle for longest are closed, once they are
    /// idle for [`MIN_IDLE`].
    pub(super) async fn wait_for_room(&self) -> OwnedSemaphorePermit {
        loop {
            let is_full = self.room.available_permits() == 0;
            if is_full {
                let any_client = |_client: ClientId| true;
                self.evict_idle(any_client, MIN_IDLE);
            }
            // The semaphore is never closed, so only the time-out makes this fail.
            let acquisition = Arc::clone(&self.room).acquire_owned();
            if let Ok(Ok(room)) = timeout(EVICT_EVERY, acquisition).await {
                return room;
            }
        }
    }

    /// Chooses connections of the eligible clients to be closed: those that are idle for longest, and
    /// at least for `min_idle`.
    ///
    /// Returns whether any connection was chosen. None is chosen if all idle ones were chosen before.
    fn evict_idle(&self, is_eligible: impl Fn(ClientId) -> bool, min_idle: Duration) -> bool {
        let open = self.open.lock();
        let mut idle_connections: Vec<_> = open
            .values()
            .filter(|connection| is_eligible(connection.client))
            .filter_map(|connection| Some((connection.idle_since()?, connection)))
            .filter(|(idle_since, _connection)| idle_since.elapsed() >= min_idle)
            .collect();
        idle_connections.sort_by_key(|(idle_since, _connection)| *idle_since);

        // One in 64 idle connections is chosen, and at least one. A chosen connection that begins a
        // request stays open, so that choosing a single one for each new connection is not enough:
        // a client with a burst of connections then got 270 connections more than its fair share.
        let chosen_count = idle_connections.len() / 64 + 1;
        for (_idle_since, connection) in idle_connections.iter().take(chosen_count) {
            connection.choose();
        }
        !idle_connections.is_empty()
    }

    /// Adds a connection of `client`, which holds `room` until it is closed.
    ///
    /// A client with too many connections exceeds its limit, or its fair share of the listener, by
    /// one for a moment: one of its idle connections is closed for this one. Returns `None` if all of
    /// its connections are in use.
    pub(super) fn register(
        self: &Arc<Self>,
        client: ClientId,
        room: OwnedSemaphorePermit,
    ) -> Option<OpenConnection> {
        let mut permit = self.pool.empty_permit(client);
        let is_within_limits = permit.force_extend(1) && self.is_below_client_limit(client);
        if !is_within_limits {
            let is_own = |other_client: ClientId| other_client == client;
            let any_idle_time = Duration::ZERO;
            let makes_room = self.evict_idle(is_own, any_idle_time);
            if !makes_room {
                return None;
            }
        }

        let head_permit = self.head_bytes.empty_permit(client);
        let connection = Arc::new(Connection::new(self.timeouts, client, head_permit));
        let mut open = self.open.lock();
        let number = open
            .last_key_value()
            .map_or(0, |(last_number, _connection)| last_number + 1);
        open.insert(number, Arc::clone(&connection));
        Some(OpenConnection {
            listener: Arc::clone(self),
            number,
            connection,
            _room: room,
            _permit: permit,
        })
    }

    /// Returns whether the options allow `client` one more connection.
    fn is_below_client_limit(&self, client: ClientId) -> bool {
        let Some(limit) = self.max_connections_per_client else {
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
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::pin::pin;

    use axum::body::Body;
    use axum::http::Version;
    use futures_util::FutureExt;
    use tokio::time::{Instant, advance};

    use super::*;

    const HERE: ClientId = ClientId::Fair(1);
    const ELSEWHERE: ClientId = ClientId::Fair(2);

    async fn opened(all: &Arc<Connections>, client: ClientId) -> Option<OpenConnection> {
        let room = all.wait_for_room().await;
        all.register(client, room)
    }

    fn is_evicted(registered: &OpenConnection) -> bool {
        registered.connection.closing().now_or_never().is_some()
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
        open[2].connection.record_blocked();
        advance(MIN_IDLE).await;
        for expected in [3, 1] {
            let mut room = pin!(all.wait_for_room());
            assert!(room.as_mut().now_or_never().is_none());
            let evicted: Vec<_> = open.iter().map(is_evicted).collect();
            let mut expected_all = vec![false; open.len()];
            expected_all[expected] = true;
            assert_eq!(evicted, expected_all);
            drop(open.remove(expected));
            drop(room.await);
            let more = opened(&all, HERE).await.unwrap();
            // In use, as all the others.
            std::mem::forget(more.connection.begin(Version::HTTP_11, None));
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

    /// Returns after which time the connection is closed, if that is within `limit`.
    async fn closed_after(registered: &OpenConnection, limit: Duration) -> Option<Duration> {
        let begun = Instant::now();
        let closed = timeout(limit, registered.connection.closing()).await;
        closed.ok().map(|()| begun.elapsed())
    }

    async fn assert_closed_after(time: Duration, registered: &OpenConnection) {
        let after = closed_after(registered, 2 * time).await.unwrap();
        assert_eq!(after.as_secs(), time.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_nothing_is_closed_in_time() {
        let time = 30 * MIN_IDLE;
        let options = HttpOptions::default()
            .header_read_timeout(time)
            .idle_timeout(3 * time);
        let all = Connections::new(&options.write_timeout(100 * time));
        let open = || opened(&all, HERE).now_or_never().unwrap().unwrap();
        assert_closed_after(time, &open()).await;

        let (partial, idle, busy) = (open(), open(), open());
        drop(idle.connection.begin(Version::HTTP_11, None));
        let request = busy.connection.begin(Version::HTTP_11, None);
        assert!(
            partial.connection.record_read(1).is_ok() && busy.connection.record_read(1).is_ok()
        );
        partial.connection.record_waiting();
        for (unused, time) in [(partial, time), (idle, 2 * time)] {
            assert_closed_after(time, &unused).await;
        }
        assert_eq!(
            closed_after(&busy, 10 * time).await,
            None,
            "a request is in progress"
        );
        busy.connection.record_blocked();
        drop(request);
        assert_eq!(
            closed_after(&busy, 10 * time).await,
            None,
            "the response is not read yet"
        );
        busy.connection.record_accepted(1).unwrap();
        assert_closed_after(3 * time, &busy).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_over_http2_that_is_not_read_closes_its_connection() {
        let all = Connections::new(&HttpOptions::default());
        let open = opened(&all, HERE).await.unwrap();
        let [unread, other] = [(); 2].map(|()| open.connection.begin(Version::HTTP_2, None));
        assert_eq!(
            closed_after(&open, 100 * MIN_IDLE).await,
            None,
            "neither has a response yet"
        );
        let _unread = unread.until_sent(Body::empty(), None);
        drop(other.until_sent(Body::empty(), None));
        // One that has only begun when the connection is chosen does not count.
        let begun = opened(&all, HERE).await.unwrap();
        begun.connection.choose();
        let _response = begun
            .connection
            .begin(Version::HTTP_2, None)
            .until_sent(Body::empty(), None);
        assert!(!is_evicted(&begun));
        assert!(closed_after(&open, 32 * MIN_IDLE).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_not_read_counts_beside_one_that_is_read_slowly() {
        let all = Connections::new(&HttpOptions::default());
        let open = opened(&all, HERE).await.unwrap();
        let _unread = open
            .connection
            .begin(Version::HTTP_2, None)
            .until_sent(Body::empty(), None);
        let mut seconds = 0;
        loop {
            open.connection.record_accepted(2_000).unwrap();
            open.connection.record_blocked();
            if closed_after(&open, MIN_IDLE).await.is_some() {
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
        let _other = opened(&all, ELSEWHERE).await.unwrap();
        let _busy: Vec<_> = greedy
            .iter()
            .map(|registered| registered.connection.begin(Version::HTTP_11, None))
            .collect();
        assert!(opened(&all, HERE).await.is_none(), "all are in use");
        let _third = opened(&all, ClientId::Fair(3)).await.unwrap();
    }
}
