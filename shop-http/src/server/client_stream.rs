//! The socket of a client, which is reset if it has a response in part only.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;

/// Chooses whether closing `stream`, also by the end of the process, resets the connection.
pub(crate) fn reset_on_close(stream: &TcpStream, is_reset: bool) -> io::Result<()> {
    #[expect(deprecated, reason = "no time to linger never blocks")]
    if is_reset {
        stream.set_zero_linger()
    } else {
        stream.set_linger(None)
    }
}

/// A stream that tells its connection what arrives, and what the client accepts.
pub(crate) struct ClientStream<S> {
    stream: S,
    connection: Arc<Connection>,
    reset_on_close: fn(&S, bool) -> io::Result<()>,
    is_reset: bool,
}

impl<S> ClientStream<S> {
    pub(crate) const fn new(
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

    /// Chooses how the connection is closed from here on.
    fn set_reset(&mut self, is_reset: bool) {
        if self.is_reset != is_reset {
            self.is_reset = is_reset;
            if let Err(error) = (self.reset_on_close)(&self.stream, is_reset) {
                tracing::debug!(%error, "cannot set SO_LINGER");
            }
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            this.connection.receive(buffer.filled().len() - before)?;
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
        if this.connection.is_streaming() {
            this.set_reset(true);
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.connection.write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_ready() && !this.connection.is_streaming() {
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
    use std::time::Duration;

    use axum::http::Version;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::super::connections::Connections;
    use super::*;
    use crate::options::HttpOptions;
    use crate::permits::{ClientId, FairPool};

    const SECOND: Duration = Duration::from_secs(1);

    fn stream<S>(stream: S, connection: &Arc<Connection>) -> ClientStream<S> {
        ClientStream::new(stream, Arc::clone(connection), |_, _| Ok(()))
    }

    /// Whether `sent` completes before its client is disconnected, which must read so many bytes per second.
    async fn is_served<S>(server: S, rate: u32, sent: impl AsyncFnOnce(ClientStream<S>)) -> bool {
        let all = Connections::new(&HttpOptions::default().min_read_rate(rate));
        let registered = all.register(ClientId::Unknown).unwrap();
        let _request = registered.connection.begin(Version::HTTP_11, None);
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
            &Arc::new(Connection::new(&HttpOptions::default(), head_permit)),
        );
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
        };
        assert!(is_served(server, 1_000, send).await);
    }
}
