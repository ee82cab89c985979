//! One connection: its requests in flight, how its client reads and writes, and when it is to be
//! closed.
//!
//! ```text
//! hyper ── reads, writes ──▶ ClientStream ──▶ socket of the client
//!   │                             │ bytes that arrive, bytes that the client accepts
//!   │ requests                    ▼
//!   └────▶ InFlightRequest ──▶ Connection ◀── deadline, mark_for_closing ── Connections
//! ```
//!
//! [`SlowReaderPolicy`] and [`HalfHeadPolicy`] measure how long the client keeps the server
//! waiting.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::half_heads::HalfHeadPolicy;
use crate::options::HttpOptions;
use crate::permits::{ClientId, Permit};
use crate::watched_body::{Polled, WatchedBody};

/// One connection.
pub(super) struct Connection {
    pub(super) client: ClientId,
    state: Mutex<ConnectionState>,
    /// Notified when the connection is marked for closing.
    marked: Notify,
}

/// The state of a connection.
struct ConnectionState {
    requests_in_flight: u32,
    /// Whether the connection ever received a request.
    is_used: bool,
    /// Whether the connection is sending a response over HTTP/1 whose end is not known from its
    /// head. Until the end is written, closing resets the connection: else a client of HTTP/1.0
    /// would take a part for the whole.
    is_streaming: bool,
    /// When the connection was opened, its last request ended, or its client accepted a part of a
    /// response that it had kept waiting.
    idle_since: Instant,
    /// When the connection was marked for closing. `evicted` takes the mark back if the client did
    /// something since.
    marked_at: Option<Instant>,
    slow_reader: SlowReaderPolicy,
    half_head: HalfHeadPolicy,
    /// The number of requests over HTTP/2 so far, which numbers their responses.
    http2_responses: u64,
    /// The responses over HTTP/2 whose next part the client has not accepted yet, by number, each
    /// with the time since which it waits.
    unread_responses: BTreeMap<u64, Instant>,
}

impl ConnectionState {
    /// Returns whether no request is in flight, and the client accepted all responses.
    fn is_idle(&self) -> bool {
        self.requests_in_flight == 0 && self.slow_reader.blocked_since.is_none()
    }
}

impl Connection {
    /// Returns a new connection of `client`, whose large heads extend `head_permit`.
    pub(super) fn new(options: &HttpOptions, client: ClientId, head_permit: Permit) -> Self {
        Self {
            client,
            state: Mutex::new(ConnectionState {
                requests_in_flight: 0,
                is_used: false,
                is_streaming: false,
                idle_since: Instant::now(),
                marked_at: None,
                slow_reader: SlowReaderPolicy {
                    max_time: options.write_timeout,
                    min_rate: options.min_read_rate,
                    remaining_time: options.write_timeout,
                    blocked_since: None,
                },
                half_head: HalfHeadPolicy::new(head_permit),
                http2_responses: 0,
                unread_responses: BTreeMap::new(),
            }),
            marked: Notify::new(),
        }
    }

    /// Returns whether the connection has been idle for `min_idle`, and is not marked for closing
    /// yet.
    pub(super) fn is_evictable(&self, min_idle: Duration, now: Instant) -> bool {
        let state = self.state.lock();
        state.is_idle() && state.marked_at.is_none() && now - state.idle_since >= min_idle
    }

    /// Returns the order in which idle connections are closed: those without any request first,
    /// then by the time of the last request.
    pub(super) fn eviction_rank(&self) -> (bool, Instant) {
        let state = self.state.lock();
        (state.is_used, state.idle_since)
    }

    /// Returns when the connection is to be closed if its client does nothing until then.
    ///
    /// Returns `None` if a request is in flight whose response does not wait for the client, or if
    /// the connection is marked for closing already. Separate time-outs apply to the bodies of
    /// requests.
    pub(super) fn deadline(&self, options: &HttpOptions) -> Option<Instant> {
        let state = self.state.lock();
        if state.marked_at.is_some() {
            return None;
        }

        if !state.is_idle() {
            let unread_deadline = state
                .unread_responses
                .values()
                .min()
                .and_then(|since| since.checked_add(options.write_timeout));
            let deadlines = state.slow_reader.deadline().into_iter();
            return deadlines.chain(unread_deadline).min();
        }

        if let Some(begun_at) = state.half_head.begun_at {
            return begun_at.checked_add(options.header_read_timeout);
        }

        let limit = if state.is_used {
            options.idle_timeout
        } else {
            options.first_byte_timeout
        };
        state.idle_since.checked_add(limit)
    }

    /// Records the result of a write: how much of a response the client accepted.
    pub(super) fn record_write(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.state.lock();
        let Poll::Ready(result) = written else {
            state.slow_reader.block();
            return;
        };
        if let Ok(bytes) = result {
            if state.slow_reader.blocked_since.is_some() {
                state.idle_since = Instant::now();
            }
            state.slow_reader.accept(*bytes);
        }
    }

    /// Records bytes that the client sent, if they belong to a head.
    ///
    /// # Errors
    /// If the half heads of all connections are too large together.
    pub(super) fn record_read(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state.lock();
        // Over HTTP/2 there are other frames as well.
        if state.requests_in_flight > 0 || state.http2_responses > 0 {
            return Ok(());
        }
        state.half_head.receive(bytes)
    }

    /// Begins a request of this HTTP version whose head arrived. The request is in flight until the
    /// result is dropped.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> InFlightRequest {
        let mut state = self.state.lock();

        state.requests_in_flight += 1;
        state.is_used = true;
        state.half_head.complete();

        let mut response_number = None;
        if version == Version::HTTP_2 {
            state.http2_responses += 1;
            response_number = Some(state.http2_responses);
        }
        InFlightRequest {
            connection: Arc::clone(self),
            response_number,
            permit: None,
        }
    }

    /// Completes when the connection is to be closed: it is marked for that, and its client still
    /// does nothing.
    pub(super) async fn evicted(&self) {
        loop {
            self.marked.notified().await;
            let mut state = self.state.lock();

            // Since the mark, a request may have begun, or the client may have read on.
            let is_unread = state
                .unread_responses
                .values()
                .any(|since| state.marked_at > Some(*since));
            let is_slow = state
                .slow_reader
                .deadline()
                .is_some_and(|deadline| state.marked_at >= Some(deadline));

            if state.is_idle() || is_unread || is_slow {
                return;
            }
            state.marked_at = None;
        }
    }

    /// Marks the connection for closing, unless its client does something first.
    pub(super) fn mark_for_closing(&self) {
        self.state.lock().marked_at = Some(Instant::now());
        self.marked.notify_one();
    }
}

/// A request in flight on a connection.
pub(super) struct InFlightRequest {
    connection: Arc<Connection>,
    /// The number of the response over HTTP/2, whose client may read some responses and not others.
    response_number: Option<u64>,
    /// The permit of the response over HTTP/2, until its last byte is written. The server sets it,
    /// unless the pool has no free unit for this client.
    pub(super) permit: Option<Arc<Permit>>,
}

impl InFlightRequest {
    /// Notes whether the response over HTTP/2 waits for the client, or the client for the response.
    fn set_waiting(&self, is_waiting: bool) {
        let Some(number) = self.response_number else {
            return;
        };
        let mut state = self.connection.state.lock();
        if is_waiting {
            state.unread_responses.insert(number, Instant::now());
        } else {
            state.unread_responses.remove(&number);
        }
    }

    /// Returns `body` so that this request is in flight until the body is sent.
    ///
    /// hyper polls the body only when the client accepts more: after a poll that was ready, the
    /// response waits for its client until the next poll.
    pub(super) fn until_sent(
        self,
        body: Body,
    ) -> impl HttpBody<Data = Bytes, Error = axum::Error> + Send {
        self.set_waiting(true);
        let is_streamed = self.response_number.is_none() && body.size_hint().exact().is_none();

        WatchedBody {
            body,
            watch: move |polled: Polled| {
                self.set_waiting(polled.is_ready());
                if is_streamed {
                    self.connection.state.lock().is_streaming =
                        !matches!(polled, Polled::Ready(None));
                }
                match &self.permit {
                    Some(permit) => permit.attach_to_frame(polled),
                    None => polled,
                }
            },
        }
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.set_waiting(false);
        let mut state = self.connection.state.lock();
        state.idle_since = Instant::now();
        state.requests_in_flight -= 1;
    }
}

/// The policy for slow readers, with the time that the client of one connection may still keep
/// responses waiting.
///
/// The time passes while the client accepts nothing. Each byte that the client accepts adds the
/// time that the minimum rate allows for a byte, up to the maximum.
struct SlowReaderPolicy {
    max_time: Duration,
    /// Bytes per second. With 0, each byte restores the maximum.
    min_rate: u32,
    remaining_time: Duration,
    /// Since when the client accepts nothing. `None` while it accepts, or nothing is sent to it.
    blocked_since: Option<Instant>,
}

impl SlowReaderPolicy {
    /// Notes that the client accepts nothing for now.
    fn block(&mut self) {
        self.blocked_since.get_or_insert_with(Instant::now);
    }

    /// Records that the client accepted `bytes` of a response.
    ///
    /// The time in which the client accepted nothing is taken from its remaining time. The bytes
    /// earn time back, at the minimum rate in bytes per second, so that a client that reads faster
    /// never runs out of time.
    fn accept(&mut self, bytes: usize) {
        if let Some(blocked_since) = self.blocked_since.take() {
            self.remaining_time = self.remaining_time.saturating_sub(blocked_since.elapsed());
        }
        if self.remaining_time < self.max_time {
            let earned_time = (bytes as u64)
                .saturating_mul(1_000)
                .checked_div(self.min_rate.into())
                .map_or(self.max_time, Duration::from_millis);
            self.remaining_time = self
                .remaining_time
                .saturating_add(earned_time)
                .min(self.max_time);
        }
    }

    /// Returns when the time is over, if the client accepts nothing now.
    fn deadline(&self) -> Option<Instant> {
        self.blocked_since?.checked_add(self.remaining_time)
    }
}

/// Chooses whether closing `stream` resets the connection. The end of the process closes it, too.
pub(super) fn reset_on_close(stream: &TcpStream, is_reset: bool) -> io::Result<()> {
    #[expect(deprecated, reason = "no time to linger never blocks")]
    if is_reset {
        stream.set_zero_linger()
    } else {
        stream.set_linger(None)
    }
}

/// The stream of a client, which records in its connection what arrives, and what the client
/// accepts.
///
/// The stream is reset if it is closed after a part of a streamed response.
pub(super) struct ClientStream<S> {
    stream: S,
    connection: Arc<Connection>,
    reset_on_close: fn(&S, bool) -> io::Result<()>,
    is_reset: bool,
}

impl<S> ClientStream<S> {
    pub(super) fn new(
        stream: S,
        connection: Arc<Connection>,
        reset_on_close: fn(&S, bool) -> io::Result<()>,
    ) -> Self {
        Self {
            stream,
            connection,
            reset_on_close,
            is_reset: false,
        }
    }

    /// Chooses whether closing the stream from here on resets it.
    fn set_reset(&mut self, is_reset: bool) {
        if self.is_reset == is_reset {
            return;
        }
        self.is_reset = is_reset;
        if let Err(error) = (self.reset_on_close)(&self.stream, is_reset) {
            tracing::debug!(%error, "cannot set SO_LINGER");
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled_before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            this.connection
                .record_read(buffer.filled().len() - filled_before)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.connection.state.lock().is_streaming {
            this.set_reset(true);
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.connection.record_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_ready() && !this.connection.state.lock().is_streaming {
            this.set_reset(false);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::super::connections::Connections;
    use super::*;
    use crate::permits::FairPool;

    const SECOND: Duration = Duration::from_secs(1);

    fn stream<S>(stream: S, connection: &Arc<Connection>) -> ClientStream<S> {
        ClientStream::new(stream, Arc::clone(connection), |_, _| Ok(()))
    }

    /// Whether `sent` completes before its client is disconnected, which must read so many bytes
    /// per second.
    async fn is_served<S>(server: S, rate: u32, sent: impl AsyncFnOnce(ClientStream<S>)) -> bool {
        let all = Connections::new(&HttpOptions::default().min_read_rate(rate));
        let registered = all.register(ClientId::Unknown).unwrap();
        let _request = registered.connection.begin(Version::HTTP_11);
        tokio::select! {
            () = sent(stream(server, &registered.connection)) => true,
            () = registered.connection.evicted() => false,
            never = all.close_overdue() => match never {},
        }
    }

    /// Reads 1,000 bytes every so many seconds.
    async fn read_slowly(client: &mut DuplexStream, every: u32) {
        let mut piece = [0; 1_000];
        loop {
            sleep(every * SECOND).await;
            client.read_exact(&mut piece).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_disconnected() {
        // A client that reads 1,000 bytes every so many seconds, of 200,000.
        for (every, rate, expected) in [
            (1, 1_000, true),
            (2, 1_000, false),
            (29, 0, true),
            (31, 0, false),
        ] {
            let (mut client, server) = duplex(1_000);
            let send = async |mut server: ClientStream<_>| {
                tokio::select! {
                    sent = server.write_all(&[0; 200_000]) => sent.unwrap(),
                    () = read_slowly(&mut client, every) => unreachable!(),
                }
            };
            let served = is_served(server, rate, send).await;
            assert_eq!(
                served, expected,
                "1,000 bytes every {every} s, {rate} bytes per second"
            );
        }
    }

    #[tokio::test]
    async fn the_bytes_of_heads_are_bounded_until_their_requests_begin() {
        let (mut client, server) = duplex(64 << 10);
        let head_permit = FairPool::new(16 << 10).empty_permit(ClientId::Unknown);
        let mut server = stream(
            server,
            &Arc::new(Connection::new(
                &HttpOptions::default(),
                ClientId::Unknown,
                head_permit,
            )),
        );
        client.write_all(&[0; 64 << 10]).await.unwrap();
        let mut part = [0; 8 << 10];
        for _request in 0..2 {
            for _ in 0..3 {
                server.read_exact(&mut part).await.unwrap();
            }
            drop(server.connection.begin(Version::HTTP_11));
        }
        client.write_all(&[0; 32 << 10]).await.unwrap();
        assert!(
            server
                .read_exact(&mut [0; 32 << 10])
                .now_or_never()
                .is_none_or(|read| read.is_err())
        );
    }

    /// Lets a client wait, and keep 1,000 bytes waiting for 20 s, and restores that time.
    async fn pause_and_go_on(server: &mut ClientStream<DuplexStream>, client: &mut DuplexStream) {
        sleep(100 * SECOND).await;
        server.write_all(&[0; 1_000]).await.unwrap();
        let mut more = pin!(server.write_all(&[0; 1_000]));
        assert!(timeout(20 * SECOND, &mut more).await.is_err());
        client.read_exact(&mut [0; 2_000][..1_000]).await.unwrap();
        more.await.unwrap();
        client.read_exact(&mut [0; 1_000]).await.unwrap();
        for _ in 0..20 {
            server.write_all(&[0; 1_000]).await.unwrap();
            client.read_exact(&mut [0; 1_000]).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_pending_output_does_not_count() {
        let (mut client, server) = duplex(1_000);
        let send = async |mut server: ClientStream<_>| {
            for _ in 0..10 {
                pause_and_go_on(&mut server, &mut client).await;
            }
        };
        assert!(is_served(server, 1_000, send).await);
    }
}
