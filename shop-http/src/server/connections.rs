//! The open connections of a listener, and which of them is closed when there are too many.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::server::client::network;

/// A connection is idle after this time without a request.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// How often a full listener looks for an idle connection.
const EVICT_EVERY: Duration = Duration::from_millis(100);
/// The time-out of idle connections is exact to this part of it.
const IDLE_PRECISION: u32 = 32;

/// One connection. Requests only change its atomics.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    requests: AtomicU32,
    /// Whether the client does not accept what is sent to it.
    is_blocked: AtomicBool,
    /// Whether it has had a request.
    is_used: AtomicBool,
    /// When it was opened, its last request has ended, or its client has accepted a part of a response that it had kept
    /// waiting. In milliseconds of the listener.
    idle_since: AtomicU64,
    clock: ListenerClock,
    /// Whether [`Connections::close_idle`] closes it.
    closes_idle: AtomicBool,
    /// Whether it is to be closed, unless a request begins first.
    is_chosen: AtomicBool,
    evicted: Notify,
}

/// The age of the listener.
#[derive(Debug, Clone, Copy)]
struct ListenerClock(Instant);

impl Default for ListenerClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl ListenerClock {
    fn millis(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Connection {
    pub(crate) fn set_blocked(&self, is_blocked: bool) {
        if !is_blocked {
            self.set_idle_since_now();
        }
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    fn set_idle_since_now(&self) {
        self.idle_since.store(self.clock.millis(), Ordering::Relaxed);
    }

    /// Closes it when it is idle for too long.
    pub(crate) fn set_closes_idle(&self) {
        self.closes_idle.store(true, Ordering::Relaxed);
    }

    /// Counts a request until the result is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.is_used.store(true, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Completes when the connection is to be closed, and is idle.
    pub(crate) async fn evicted(&self) {
        loop {
            self.evicted.notified().await;
            // A request may have begun since it was chosen.
            if self.is_idle() {
                return;
            }
            self.is_chosen.store(false, Ordering::Relaxed);
        }
    }

    fn choose(&self) {
        self.is_chosen.store(true, Ordering::Relaxed);
        self.evicted.notify_one();
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && !self.is_blocked.load(Ordering::Relaxed)
    }

    /// The order in which idle connections are closed: those without any request first, then by the time of the last
    /// one.
    fn rank(&self) -> (bool, u64) {
        (self.is_used.load(Ordering::Relaxed), self.idle_since.load(Ordering::Relaxed))
    }
}

/// A request of a connection.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set_idle_since_now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections of a listener.
#[derive(Debug)]
pub(crate) struct Connections {
    clock: ListenerClock,
    slots: Arc<Semaphore>,
    /// The maximum of one address.
    per_client: Option<u32>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    connections: HashMap<u64, (IpAddr, Arc<Connection>)>,
    /// By network, if their number is limited.
    of_client: HashMap<IpAddr, u32>,
}

/// An open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    all: Arc<Connections>,
    id: u64,
    counted: Option<IpAddr>,
    pub(crate) connection: Arc<Connection>,
    _slot: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(max: usize, per_client: Option<u32>) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(max));
        Arc::new(Self { clock: ListenerClock::default(), slots, per_client, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more connection. When there is none, the oldest idle connection is closed.
    pub(crate) async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                return slot;
            }
            self.evict(|_| true, MIN_IDLE);
            let slot = timeout(EVICT_EVERY, Arc::clone(&self.slots).acquire_owned()).await;
            if let Ok(Ok(slot)) = slot {
                return slot;
            }
        }
    }

    /// Closes one of the connections that `is_eligible`: the one that has been idle for longest. Returns whether there
    /// is one.
    fn evict(&self, is_eligible: impl Fn(IpAddr) -> bool, min_idle: Duration) -> bool {
        let open = self.open();
        let (now, min_idle) = (self.clock.millis(), u64::try_from(min_idle.as_millis()).unwrap_or(u64::MAX));
        let idle = open.connections.iter().filter(|(_, (network, connection))| {
            is_eligible(*network)
                && connection.is_idle()
                && !connection.is_chosen.load(Ordering::Relaxed)
                && connection.rank().1.saturating_add(min_idle) <= now
        });
        let longest = idle.map(|(_, (_, connection))| connection).min_by_key(|connection| connection.rank());
        longest.inspect(|connection| connection.choose()).is_some()
    }

    /// Closes the HTTP/1.1 connections that have had no request for `time`, whether they send nothing or a part of a head.
    /// One task for all of them: a timer for every request is not free.
    pub(crate) async fn close_idle(&self, time: Duration) -> Infallible {
        loop {
            let pause = self.close_idle_now(time).max(time / IDLE_PRECISION).max(Duration::from_millis(1));
            sleep(pause).await;
        }
    }

    /// Closes those that are idle for so long now. Returns the time until the next one may be.
    fn close_idle_now(&self, time: Duration) -> Duration {
        let now = Duration::from_millis(self.clock.millis());
        let mut next = time;
        for (_, connection) in self.open().connections.values() {
            let is_waiting = connection.closes_idle.load(Ordering::Relaxed) && connection.is_idle();
            if !is_waiting || connection.is_chosen.load(Ordering::Relaxed) {
                continue;
            }
            let since = Duration::from_millis(connection.idle_since.load(Ordering::Relaxed));
            match (since.saturating_add(time)).checked_sub(now) {
                None | Some(Duration::ZERO) => connection.choose(),
                Some(left) => next = next.min(left),
            }
        }
        next
    }

    /// Adds a connection from `address`. `is_limited` says whether the limit of one client holds for it.
    ///
    /// `None` if there are too many of this client, all of them in use.
    pub(crate) fn register(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        address: IpAddr,
        is_limited: bool,
    ) -> Option<Registered> {
        let network = network(address);
        let limit = self.per_client.filter(|_| is_limited);
        if let Some(limit) = limit
            && self.open().of_client.get(&network).is_some_and(|count| *count >= limit)
            && !self.evict(|other| other == network, Duration::ZERO)
        {
            return None;
        }
        let idle_since = AtomicU64::new(self.clock.millis());
        let connection = Arc::new(Connection { idle_since, clock: self.clock, ..Connection::default() });
        let mut open = self.open();
        open.last_id += 1;
        let id = open.last_id;
        open.connections.insert(id, (network, Arc::clone(&connection)));
        let counted = limit.map(|_| network);
        if let Some(network) = counted {
            *open.of_client.entry(network).or_default() += 1;
        }
        drop(open);
        Some(Registered { all: Arc::clone(self), id, counted, connection, _slot: slot })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.all.open();
        open.connections.remove(&self.id);
        if let Some(network) = self.counted
            && let Some(count) = open.of_client.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                open.of_client.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn opened(all: &Arc<Connections>, address: IpAddr) -> Option<Registered> {
        let room = all.room().await;
        all.register(room, address, true)
    }

    fn is_evicted(registered: &Registered) -> bool {
        registered.connection.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_listener_closes_the_connection_that_is_idle_for_longest() {
        let all = Connections::new(4, None);
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(opened(&all, HERE).await.unwrap());
            advance(MIN_IDLE).await;
        }
        // Of the four, one is in use, one was used before, and one does not read its response.
        let busy = open[0].connection.begin();
        drop(open[1].connection.begin());
        open[2].connection.set_blocked(true);
        advance(MIN_IDLE).await;
        for expected in [3, 1] {
            let mut room = std::pin::pin!(all.room());
            assert!(room.as_mut().now_or_never().is_none());
            let evicted: Vec<_> = open.iter().map(is_evicted).collect();
            let mut expected_all = vec![false; open.len()];
            expected_all[expected] = true;
            assert_eq!(evicted, expected_all);
            drop(open.remove(expected));
            drop(room.await);
            let more = opened(&all, HERE).await.unwrap();
            // In use, as all the others.
            std::mem::forget(more.connection.begin());
            open.push(more);
        }
        assert!(timeout(10 * MIN_IDLE, all.room()).await.is_err(), "none is idle");
        drop(busy);
        advance(MIN_IDLE).await;
        assert!(timeout(MIN_IDLE, all.room()).await.is_err(), "it is not closed yet");
        assert!(is_evicted(&open[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_closed_in_time() {
        let all = Connections::new(10, None);
        let time = 30 * MIN_IDLE;
        let [idle, busy, other] = [(); 3].map(|()| opened(&all, HERE).now_or_never().unwrap().unwrap());
        idle.connection.set_closes_idle();
        busy.connection.set_closes_idle();
        let request = busy.connection.begin();
        let mut closing = std::pin::pin!(all.close_idle(time));
        let mut closed_after = async |registered: &Registered, limit: Duration| {
            let begun = Instant::now();
            let closed = timeout(limit, registered.connection.evicted());
            tokio::select! {
                closed = closed => closed.ok().map(|()| begun.elapsed()),
                never = &mut closing => match never {},
            }
        };
        let after = closed_after(&idle, 2 * time).await.unwrap();
        assert!((time..time + 2 * time / IDLE_PRECISION).contains(&after), "{after:?}");
        assert_eq!(closed_after(&busy, 10 * time).await, None, "a request is in progress");
        busy.connection.set_blocked(true);
        drop(request);
        assert_eq!(closed_after(&busy, 10 * time).await, None, "the response is not read yet");
        busy.connection.set_blocked(false);
        let after = closed_after(&busy, 2 * time).await.unwrap();
        assert!((time..time + 2 * time / IDLE_PRECISION).contains(&after), "{after:?}");
        assert_eq!(closed_after(&other, 10 * time).await, None, "it has a time-out of another kind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_number_of_connections() {
        let all = Connections::new(100, Some(2));
        let first = opened(&all, HERE).await.unwrap();
        let busy = [first.connection.begin(), first.connection.begin()];
        let second = opened(&all, HERE).await.unwrap();
        let _also_busy = second.connection.begin();
        assert!(opened(&all, HERE).await.is_none());
        let room = all.room().await;
        assert!(all.register(room, HERE, false).is_some(), "a proxy");
        // Addresses of one IPv6 network are one client.
        let in_network = |text: &str| text.parse::<IpAddr>().unwrap();
        let same = [
            opened(&all, in_network("2001:db8::1")).await.unwrap(),
            opened(&all, in_network("2001:db8::ffff:1")).await.unwrap(),
        ];
        let requests = same.each_ref().map(|registered| registered.connection.begin());
        assert!(opened(&all, in_network("2001:db8::2")).await.is_none());
        assert!(opened(&all, in_network("2001:db8:0:1::2")).await.is_some());
        drop(requests);
        drop(busy);
        assert!(opened(&all, HERE).await.is_some());
        assert!(is_evicted(&first), "it was idle");
        drop((first, second, same));
        assert!(all.open().of_client.is_empty());
    }
}
