//! One connection: its requests in flight, how its client reads, and when it is closed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::options::HttpOptions;
use crate::permits::Permit;
use crate::server::pace::Pace;
use crate::watched_body::{Polled, WatchedBody};

/// So many bytes of a head do not count: hyper's first buffer.
const SMALL_HEAD: usize = 8 << 10;

/// One connection.
pub(crate) struct Connection {
    pub(super) state: Mutex<ConnectionState>,
    evicted: Notify,
}

pub(super) struct ConnectionState {
    /// The requests in flight.
    requests: u32,
    /// How the client accepts what is sent to it.
    pace: Pace,
    /// Since when a part of the head of a request over HTTP/1 has arrived, if one has.
    head_since: Option<Instant>,
    /// What has arrived of the head, in bytes.
    head: usize,
    /// The permit for the bytes of a large head.
    head_permit: Permit,
    /// Whether it has had a request.
    is_used: bool,
    /// Whether it has a part of a response over HTTP/1 whose end is not known from its head. Until the end is written,
    /// closing resets the connection: else a client of HTTP/1.0 would take the part for the whole.
    is_streaming: bool,
    /// When it was opened, its last request has ended, or its client has accepted a part of a response that it had kept
    /// waiting.
    pub(super) idle_since: Instant,
    /// The responses of HTTP/2 whose next part the client has not accepted yet, with the time since when.
    sending: BTreeMap<u64, Instant>,
    /// The number of responses of HTTP/2 so far.
    responses: u64,
    /// When it was chosen to be closed, unless a request begins first.
    pub(super) chosen_at: Option<Instant>,
}

impl ConnectionState {
    pub(super) fn is_idle(&self) -> bool {
        self.requests == 0 && !self.pace.is_blocked()
    }

    /// The order in which idle connections are closed: those without any request first, then by the time of the last
    /// one.
    pub(super) const fn rank(&self) -> (bool, Instant) {
        (self.is_used, self.idle_since)
    }

    /// When it is to be closed if its client does nothing until then, if ever.
    pub(super) fn deadline(&self, options: &HttpOptions) -> Option<Instant> {
        let (since, limit) = match self.head_since {
            _ if self.chosen_at.is_some() => return None,
            _ if self.requests > 0 || self.pace.is_blocked() => {
                let unread = self
                    .sending
                    .values()
                    .min()
                    .and_then(|since| since.checked_add(options.write_timeout));
                return self.pace.deadline().into_iter().chain(unread).min();
            }
            Some(head_since) => (head_since, options.header_read_timeout),
            None if self.is_used => (self.idle_since, options.idle_timeout),
            None => (self.idle_since, options.first_byte_timeout),
        };
        since.checked_add(limit)
    }
}

impl Connection {
    /// Returns a new connection, whose large heads extend `head_permit`.
    pub(super) fn new(options: &HttpOptions, head_permit: Permit) -> Self {
        let state = ConnectionState {
            requests: 0,
            pace: Pace::new(options.write_timeout, options.min_read_rate),
            head_since: None,
            head: 0,
            head_permit,
            is_used: false,
            is_streaming: false,
            idle_since: Instant::now(),
            sending: BTreeMap::new(),
            responses: 0,
            chosen_at: None,
        };
        Self {
            state: Mutex::new(state),
            evicted: Notify::new(),
        }
    }

    /// Notes what the client has accepted of a response.
    pub(crate) fn write(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.state.lock();
        match written {
            Poll::Pending => state.pace.block(),
            Poll::Ready(Ok(bytes)) => {
                if state.pace.is_blocked() {
                    state.idle_since = Instant::now();
                }
                state.pace.accept(*bytes);
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// Counts what the client has sent, if it is a part of a head.
    ///
    /// # Errors
    /// When the heads of all connections are too large together.
    pub(crate) fn receive(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state.lock();
        // Over HTTP/2 there are other frames as well.
        if state.requests > 0 || state.responses > 0 {
            return Ok(());
        }
        state.head_since.get_or_insert_with(Instant::now);
        state.head += bytes;
        if state.head > SMALL_HEAD && !state.head_permit.try_extend(bytes) {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "too many large heads at once",
            ));
        }
        Ok(())
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.state.lock().is_streaming
    }

    /// Counts a request until the result is dropped. Its response keeps `permit` until its last byte is written.
    pub(crate) fn begin(
        self: &Arc<Self>,
        version: Version,
        permit: Option<Permit>,
    ) -> InFlightRequest {
        let mut state = self.state.lock();
        state.requests += 1;
        state.is_used = true;
        state.head_since = None;
        if state.head > SMALL_HEAD {
            state.head_permit.release();
        }
        state.head = 0;
        let is_stream = version == Version::HTTP_2;
        state.responses += u64::from(is_stream);
        let stream = is_stream.then_some(state.responses);
        InFlightRequest {
            connection: Arc::clone(self),
            stream,
            permit: permit.map(Arc::new),
        }
    }

    /// Completes when the connection is to be closed, and its client still does nothing.
    pub(crate) async fn evicted(&self) {
        loop {
            self.evicted.notified().await;
            let mut state = self.state.lock();
            // A request may have begun since it was chosen, or the client has read on.
            let is_unread = state
                .sending
                .values()
                .any(|since| Some(*since) < state.chosen_at);
            let is_slow = state
                .pace
                .deadline()
                .is_some_and(|deadline| Some(deadline) <= state.chosen_at);
            if state.is_idle() || is_unread || is_slow {
                return;
            }
            state.chosen_at = None;
        }
    }

    pub(super) fn choose(&self) {
        self.state.lock().chosen_at = Some(Instant::now());
        self.evicted.notify_one();
    }
}

/// A request of a connection.
pub(crate) struct InFlightRequest {
    connection: Arc<Connection>,
    /// The number of its response over HTTP/2, whose client may read some responses and not others.
    stream: Option<u64>,
    /// The permit of its response over HTTP/2, until the last byte is written.
    permit: Option<Arc<Permit>>,
}

impl InFlightRequest {
    /// Notes whether the response waits for the client, or the client for the response.
    fn set_sending(&self, is_sending: bool) {
        let Some(stream) = self.stream else { return };
        let mut state = self.connection.state.lock();
        if is_sending {
            state.sending.insert(stream, Instant::now());
        } else {
            state.sending.remove(&stream);
        }
    }

    /// `body`, which is read only when the client accepts more. The request is in flight until it is sent.
    pub(crate) fn until_sent(
        self,
        body: Body,
    ) -> impl HttpBody<Data = Bytes, Error = axum::Error> + Send {
        self.set_sending(true);
        let is_streamed = self.stream.is_none() && body.size_hint().exact().is_none();
        let watch = move |polled: Polled| {
            self.set_sending(polled.is_ready());
            if is_streamed {
                self.connection.state.lock().is_streaming = !matches!(polled, Polled::Ready(None));
            }
            match &self.permit {
                Some(permit) => permit.attach_to_frame(polled),
                None => polled,
            }
        };
        WatchedBody { body, watch }
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.set_sending(false);
        let mut state = self.connection.state.lock();
        state.idle_since = Instant::now();
        state.requests -= 1;
    }
}
