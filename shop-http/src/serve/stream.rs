//! The stream of a client: it tells the connection which bytes arrive, and how many bytes of its
//! responses the client accepts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;

/// A socket whose connection can be reset, and whose end can be noticed without a read.
pub(super) trait ClientSocket {
    /// Sets whether closing the socket resets the connection. This also applies if the end of the
    /// process closes the socket.
    fn set_reset_on_close(&self, is_reset: bool) -> io::Result<()>;

    /// Returns whether the client has closed its side of the connection, and everything that it sent
    /// before is read. Leaves the bytes that arrive to the next read.
    ///
    /// If nothing has arrived, wakes the task of `context` when bytes or the end arrive.
    fn is_closed(&self, context: &mut Context<'_>) -> bool;
}

impl ClientSocket for TcpStream {
    fn set_reset_on_close(&self, is_reset: bool) -> io::Result<()> {
        #[expect(deprecated, reason = "no time to linger never blocks")]
        if is_reset {
            self.set_zero_linger()
        } else {
            self.set_linger(None)
        }
    }

    fn is_closed(&self, context: &mut Context<'_>) -> bool {
        let mut byte = [0];
        match self.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(peeked_bytes)) => peeked_bytes == 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

/// The stream of a client, which records in its connection what arrives, and what the client
/// accepts.
///
/// Closing the stream after a part of a streamed response resets the connection, because a client of
/// HTTP/1.0 would take the part for the whole response.
///
/// A client that closes its side while a request is in flight ends the connection, and with it the
/// request. hyper would notice this by reading, for which it allocates 8 KiB for each request. Here,
/// the socket is asked when hyper flushes the stream during a request, which it does each time its task
/// runs.
pub(super) struct ClientStream<S> {
    stream: S,
    connection: Arc<Connection>,
    is_reset: bool,
}

impl<S: ClientSocket> ClientStream<S> {
    pub(super) const fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            is_reset: false,
        }
    }

    /// Sets whether closing the stream resets the connection from now on.
    fn set_reset(&mut self, is_reset: bool) {
        if self.is_reset == is_reset {
            return;
        }
        self.is_reset = is_reset;
        if let Err(error) = self.stream.set_reset_on_close(is_reset) {
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
        let filled_bytes = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
        if poll.is_ready() {
            this.connection
                .record_read(buffer.filled().len() - filled_bytes)?;
        } else {
            this.connection.record_waiting();
        }
        poll
    }
}

impl<S: AsyncWrite + ClientSocket + Unpin> AsyncWrite for ClientStream<S> {
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
        if this.connection.is_streaming() {
            this.set_reset(true);
        }
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        match &poll {
            Poll::Ready(Ok(bytes)) => this.connection.record_accepted(*bytes)?,
            // hyper ends the connection.
            Poll::Ready(Err(_)) => {}
            Poll::Pending => this.connection.record_blocked(),
        }
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(context);
        // The whole response was passed on, so closing the stream cuts nothing off.
        if poll.is_ready() && !this.connection.is_streaming() {
            this.set_reset(false);
        }

        // Without a request in flight, hyper reads, and so notices the end itself.
        if this.connection.has_request_in_flight() && this.stream.is_closed(context) {
            let disconnected = "the client has disconnected during its request";
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                disconnected,
            )));
        }
        poll
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use axum::http::Version;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::options::HttpOptions;
    use crate::permits::{ClientId, FairPool};
    use crate::serve::connection::Timeouts;

    const SECOND: Duration = Duration::from_secs(1);

    impl ClientSocket for DuplexStream {
        fn set_reset_on_close(&self, _is_reset: bool) -> io::Result<()> {
            Ok(())
        }

        fn is_closed(&self, _context: &mut Context<'_>) -> bool {
            false
        }
    }

    fn stream<S: ClientSocket>(stream: S, connection: &Arc<Connection>) -> ClientStream<S> {
        ClientStream::new(stream, Arc::clone(connection))
    }

    /// Returns a connection for whose large heads there are 16 KiB.
    fn connection() -> Arc<Connection> {
        let timeouts = Timeouts::new(&HttpOptions::default());
        let head_permit = FairPool::new(16 << 10).empty_permit(ClientId::Unknown);
        Arc::new(Connection::new(timeouts, ClientId::Unknown, head_permit))
    }

    /// Returns whether `sent` succeeds before its client is disconnected.
    async fn is_served<S: ClientSocket>(
        server: S,
        sent: impl AsyncFnOnce(ClientStream<S>) -> io::Result<()>,
    ) -> bool {
        let connection = connection();
        let _request = connection.begin(Version::HTTP_11, None);
        tokio::select! {
            sent = sent(stream(server, &connection)) => sent.is_ok(),
            () = connection.closing() => false,
        }
    }

    /// Reads so many bytes every so many seconds.
    async fn read_slowly(client: &mut DuplexStream, bytes: usize, every: u32) {
        let mut piece = vec![0; bytes];
        loop {
            sleep(every * SECOND).await;
            client.read_exact(&mut piece).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_disconnected() {
        // A client that reads so many bytes every so many seconds, of 200,000.
        for (bytes, every, expected) in [
            (1_100, 1, true),
            (1_000, 2, false),
            (100, 1, false),
            (31_000, 29, true),
            (31_000, 31, false),
        ] {
            let (mut client, server) = duplex(bytes);
            let send = async |mut server: ClientStream<_>| {
                tokio::select! {
                    sent = server.write_all(&[0; 200_000]) => sent,
                    () = read_slowly(&mut client, bytes, every) => unreachable!(),
                }
            };
            let served = is_served(server, send).await;
            assert_eq!(served, expected, "{bytes} bytes every {every} s");
        }
    }

    #[tokio::test]
    async fn the_bytes_of_heads_are_bounded_until_their_requests_begin() {
        let (mut client, server) = duplex(64 << 10);
        let mut server = stream(server, &connection());
        client.write_all(&[0; 64 << 10]).await.unwrap();
        let mut part = [0; 8 << 10];
        for _request in 0..2 {
            for _ in 0..3 {
                server.read_exact(&mut part).await.unwrap();
            }
            drop(server.connection.begin(Version::HTTP_11, None));
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
            Ok(())
        };
        assert!(is_served(server, send).await);
    }
}
