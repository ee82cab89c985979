//! A TCP proxy in front of MongoDB, so that tests can cut connections.
//!
//! The stand-in for MongoDB has a file that a SIGKILL may corrupt: a document is written, and its entry in the
//! index of ids is not, so that it rejects every later insert with that id; or it does not restart at all. A real
//! MongoDB has a journal. So the connections are cut at any moment, within requests and responses, and the server
//! is stopped cleanly once it has processed what it has received. Clients cannot tell the difference: some
//! requests took effect without a response, others never arrived.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct Proxy {
    address: SocketAddr,
    session: Arc<RwLock<Session>>,
    accepting: CancellationToken,
}

/// The connections from one start of the server to its stop.
#[derive(Clone, Default)]
struct Session {
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Proxy {
    /// A proxy to `server`, with its own address.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            session: Arc::default(),
            accepting: CancellationToken::new(),
        };
        let session = Arc::clone(&proxy.session);
        let accepting = proxy.accepting.clone();
        tokio::spawn(accepting.run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let session = session
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                session
                    .connections
                    .spawn(forward(client, server, session.cut));
            }
        }));
        proxy
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and waits until the server has processed what it has received. New ones end at once.
    pub(crate) async fn cut(&self) {
        let session = self
            .session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        session.cut.cancel();
        session.connections.close();
        session.connections.wait().await;
    }

    /// Accepts connections again.
    pub(crate) fn restore(&self) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Session::default();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.cancel();
    }
}

/// Copies in both directions until one side ends, or the connections are cut.
async fn forward(client: TcpStream, server: SocketAddr, cut: CancellationToken) {
    if cut.is_cancelled() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        cut.run_until_cancelled(copy(&mut from_client, &mut to_server))
            .await;
        drop(from_client);
        // The server sees the end after all received bytes, and closes when it has processed them.
        drop(to_server.shutdown().await);
    };
    let back = async {
        cut.run_until_cancelled(copy(&mut from_server, &mut to_client))
            .await;
        drop(to_client);
        drop(copy(&mut from_server, &mut sink()).await);
    };
    tokio::join!(there, back);
}
