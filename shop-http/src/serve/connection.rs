//! One connection: its requests in flight, what its client owes to the server, and when it is to be
//! closed.
//!
//! | the client owes | since | time limit | closed by |
//! |---|---|---|---|
//! | a whole head | the connection was opened, or the first byte of a later head | `header_read_timeout` | [`Connection::closing`] |
//! | its next request | its last response | `idle_timeout`; none while a full listener needs room | [`Connection::closing`] |
//! | to read a response at all | it accepted nothing | `write_timeout` | [`Connection::closing`] |
//! | to read at [`MIN_READ_RATE`] | it was slower | `write_timeout`, restored by what it reads | an error of the write |
//! | large heads that end | its head is beyond 8 KiB | the pool of all half heads | an error of the read |

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::options::HttpOptions;
use crate::permits::{ClientId, Permit};
use crate::pipeline::state::ReusedTimer;
use crate::watched_body::{Polled, WatchedBody};

/// The minimum rate at which a client reads on average, in bytes per second.
const MIN_READ_RATE: u64 = 1 << 10;
/// The bytes of a head that need no permit: hyper's first buffer, which each connection allocates
/// anyway.
const FREE_HEAD_BYTES: usize = 8 << 10;

/// One connection.
pub(super) struct Connection {
    pub(super) client: ClientId,
    timeouts: Timeouts,
    state: Mutex<ConnectionState>,
    /// Notified when the connection is chosen to make room for another one.
    chosen: Notify,
}

/// The time limits of a connection, as in [`HttpOptions`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    head: Duration,
    idle: Duration,
    write: Duration,
}

impl Timeouts {
    pub(super) const fn new(options: &HttpOptions) -> Self {
        Self {
            head: options.header_read_timeout,
            idle: options.idle_timeout,
            write: options.write_timeout,
        }
    }

    /// Returns the shortest of the time limits.
    fn shortest(&self) -> Duration {
        self.head.min(self.idle).min(self.write)
    }
}

/// The state of a connection.
struct ConnectionState {
    requests_in_flight: u32,
    /// Since when the client owes a whole head. `None` while a request is in flight, and until the
    /// next one begins to arrive. Over HTTP/2, only the first head counts, because there are other
    /// frames as well.
    head_since: Option<Instant>,
    /// The bytes of the head that arrived. Over TLS, those of the handshake count, too.
    head_bytes: usize,
    /// The permit for the bytes of a large head.
    head_permit: Permit,
    /// When the last response was sent, or its client accepted a part of it that it had kept
    /// waiting.
    idle_since: Instant,
    /// Whether the connection is chosen to make room for another one.
    is_chosen: bool,
    /// Whether the connection is sending a response over HTTP/1 whose end is not known from its
    /// head.
    is_streaming: bool,
    /// Since when the client accepts nothing. `None` while it accepts, or nothing is sent to it.
    blocked_since: Option<Instant>,
    /// The time for which the client may still keep responses waiting. It passes while the client
    /// accepts nothing, and each byte that the client accepts adds the time that
    /// [`MIN_READ_RATE`] allows for a byte.
    remaining_wait: Duration,
    /// The number of requests over HTTP/2 so far, which numbers their responses.
    http2_requests: u64,
    /// The timer for the time-out of a request, between two requests.
    timer: Option<ReusedTimer>,
    /// The responses over HTTP/2 whose next part the client has not accepted yet, by number, each
    /// with the time since which it waits.
    unread_responses: BTreeMap<u64, Instant>,
}

impl ConnectionState {
    /// Returns whether no request is in flight, and the client accepted all responses.
    fn is_idle(&self) -> bool {
        self.requests_in_flight == 0 && self.blocked_since.is_none()
    }

    /// Returns when the connection is to be closed if its client does nothing until then.
    ///
    /// Returns `None` if a request is in flight whose response does not wait for the client.
    /// Separate time-outs apply to the bodies of requests.
    fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if !self.is_idle() {
            let unread = self.unread_responses.values().copied();
            let unread_since = unread.chain(self.blocked_since).min()?;
            return unread_since.checked_add(timeouts.write);
        }
        match self.head_since {
            Some(since) => since.checked_add(timeouts.head),
            None => self.idle_since.checked_add(timeouts.idle),
        }
    }
}

impl Connection {
    /// Creates a connection of `client` that was opened now. `head_permit` is the empty permit that a
    /// large head extends.
    pub(super) fn new(timeouts: Timeouts, client: ClientId, head_permit: Permit) -> Self {
        let opened_at = Instant::now();
        Self {
            client,
            timeouts,
            state: Mutex::new(ConnectionState {
                requests_in_flight: 0,
                head_since: Some(opened_at),
                head_bytes: 0,
                head_permit,
                idle_since: opened_at,
                is_chosen: false,
                is_streaming: false,
                blocked_since: None,
                remaining_wait: timeouts.write,
                http2_requests: 0,
                timer: None,
                unread_responses: BTreeMap::new(),
            }),
            chosen: Notify::new(),
        }
    }

    /// Completes when the connection is to be closed: its client kept the server waiting for too
    /// long, or the connection is idle and was [chosen](Self::choose).
    pub(super) async fn closing(&self) {
        loop {
            let now = Instant::now();
            // A time limit may begin while this waits. It is not shorter than the shortest one, so it
            // does not end before the next check.
            let mut next_check = now + self.timeouts.shortest();
            if let Some(deadline) = self.state.lock().deadline(&self.timeouts) {
                if deadline <= now {
                    return;
                }
                next_check = next_check.min(deadline);
            }

            tokio::select! {
                () = sleep_until(next_check) => {}
                () = self.chosen.notified() => {
                    let mut state = self.state.lock();
                    if state.is_idle() {
                        return;
                    }
                    // A request has begun since the connection was chosen.
                    state.is_chosen = false;
                }
            }
        }
    }

    /// Returns since when the connection is idle. Returns `None` if the connection is in use, or was
    /// chosen already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        let is_evictable = state.is_idle() && !state.is_chosen;
        is_evictable.then(|| state.head_since.unwrap_or(state.idle_since))
    }

    /// Chooses the connection to make room for another one, unless its client does something first.
    pub(super) fn choose(&self) {
        self.state.lock().is_chosen = true;
        self.chosen.notify_one();
    }

    /// Returns whether a request is in flight.
    pub(super) fn has_request_in_flight(&self) -> bool {
        self.state.lock().requests_in_flight > 0
    }

    /// Returns whether closing the connection now would cut off a response whose end is not known
    /// from its head.
    pub(super) fn is_streaming(&self) -> bool {
        self.state.lock().is_streaming
    }

    /// Records that the client accepts nothing for now.
    pub(super) fn record_blocked(&self) {
        let mut state = self.state.lock();
        state.blocked_since.get_or_insert_with(Instant::now);
    }

    /// Records that the client accepted `bytes` of a response.
    ///
    /// # Errors
    /// If the client read more slowly than [`MIN_READ_RATE`] for too long.
    pub(super) fn record_accepted(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(blocked_since) = state.blocked_since.take() {
            state.idle_since = Instant::now();
            state.remaining_wait = state
                .remaining_wait
                .checked_sub(blocked_since.elapsed())
                .ok_or_else(|| {
                    io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")
                })?;
        }
        if state.remaining_wait < self.timeouts.write {
            let earned_wait = Duration::from_millis(bytes as u64 * 1_000 / MIN_READ_RATE);
            state.remaining_wait = (state.remaining_wait + earned_wait).min(self.timeouts.write);
        }
        Ok(())
    }

    /// Records that the client sent `bytes`. If they belong to a head, reserves room for a large head.
    ///
    /// The time limit of a head begins later, with [`record_waiting`](Self::record_waiting), because
    /// most heads arrive whole.
    ///
    /// # Errors
    /// If the half heads of all connections are too large together.
    pub(super) fn record_read(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state.lock();
        // The bytes belong to the body of a request, or to any frame of HTTP/2.
        if state.requests_in_flight > 0 || state.http2_requests > 0 {
            return Ok(());
        }

        state.head_bytes += bytes;
        if state.head_bytes > FREE_HEAD_BYTES && !state.head_permit.try_extend(bytes) {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "too many large heads at once",
            ));
        }
        Ok(())
    }

    /// Records that all bytes of the client are read. If they are a part of a head, the time limit
    /// of the head begins.
    pub(super) fn record_waiting(&self) {
        let mut state = self.state.lock();
        if state.head_bytes > 0 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// Begins a request of this HTTP version whose head arrived, and releases the room of the head.
    /// The request is in flight until the result is dropped.
    ///
    /// `response_permit` is the permit of a response over HTTP/2. It is held until the last byte of
    /// the response is written.
    pub(super) fn begin(
        self: &Arc<Self>,
        version: Version,
        response_permit: Option<Permit>,
    ) -> InFlightRequest {
        let mut state = self.state.lock();
        state.requests_in_flight += 1;
        state.head_since = None;
        if state.head_bytes > FREE_HEAD_BYTES {
            state.head_permit.release();
        }
        state.head_bytes = 0;

        let mut http2_number = None;
        if version == Version::HTTP_2 {
            state.http2_requests += 1;
            http2_number = Some(state.http2_requests);
        }
        InFlightRequest {
            connection: Arc::clone(self),
            http2_number,
            response_permit: response_permit.map(Arc::new),
            timer: state.timer.take(),
            sent_at: None,
        }
    }
}

/// A request in flight on a connection.
pub(super) struct InFlightRequest {
    connection: Arc<Connection>,
    /// The number of a response over HTTP/2, whose client may read some responses and not others.
    http2_number: Option<u64>,
    response_permit: Option<Arc<Permit>>,
    /// The timer for the time-out of the request, which the connection keeps afterwards.
    pub(super) timer: Option<ReusedTimer>,
    /// When the response was made, if it is sent at once.
    sent_at: Option<Instant>,
}

impl InFlightRequest {
    /// Records whether a response over HTTP/2 waits for the client to read it. Does nothing over
    /// HTTP/1.
    fn set_unread(&self, is_unread: bool) {
        let Some(number) = self.http2_number else {
            return;
        };
        let mut state = self.connection.state.lock();
        if is_unread {
            state.unread_responses.insert(number, Instant::now());
        } else {
            state.unread_responses.remove(&number);
        }
    }

    /// Returns `body`, which was made at `made_at`. The returned body keeps this request in flight
    /// until it is sent.
    ///
    /// hyper polls the body only when the client accepts more. So after a poll that was ready, the
    /// response waits for its client until the next poll.
    pub(super) fn until_sent(
        mut self,
        body: Body,
        made_at: Option<Instant>,
    ) -> impl HttpBody<Data = Bytes, Error = axum::Error> + Send {
        self.set_unread(true);
        let has_known_size = body.size_hint().exact().is_some();
        if has_known_size {
            self.sent_at = made_at;
        }
        let is_streamed = self.http2_number.is_none() && !has_known_size;

        WatchedBody {
            body,
            watch: move |polled: Polled| {
                self.set_unread(polled.is_ready());
                if is_streamed {
                    self.connection.state.lock().is_streaming =
                        !matches!(polled, Polled::Ready(None));
                }
                match &self.response_permit {
                    Some(permit) => permit.attach_to_frame(polled),
                    None => polled,
                }
            },
        }
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.set_unread(false);
        let sent_at = self.sent_at.unwrap_or_else(Instant::now);
        let mut state = self.connection.state.lock();
        // The client may have accepted the response later.
        state.idle_since = state.idle_since.max(sent_at);
        state.requests_in_flight -= 1;
        state.timer = self.timer.take();
    }
}
