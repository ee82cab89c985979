//! What lies between the services and a MongoDB server that is to be killed.
//!
//! The server that stands in for MongoDB keeps a file that a SIGKILL may leave broken: a document is written, and
//! its entry in the index of ids is not, so that it refuses that id for ever and every insert that holds it; or it
//! does not start again at all. A real one has a journal. So it is the wire that is cut at any moment, within
//! requests and answers, and the server is stopped in order behind it, once it has done what has reached it.
//! Whoever was connected cannot tell the difference: some requests took effect without an answer, others never
//! arrived.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct Wire {
    address: SocketAddr,
    life: Arc<RwLock<Life>>,
    accepting: CancellationToken,
}

/// From one start of the server to its end.
#[derive(Clone, Default)]
struct Life {
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Wire {
    /// A wire to `server`, with an address of its own.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap(),
            life: Arc::default(),
            accepting: CancellationToken::new(),
        };
        let (life, accepting) = (Arc::clone(&wire.life), wire.accepting.clone());
        tokio::spawn(accepting.run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let life = life.read().unwrap_or_else(PoisonError::into_inner).clone();
                life.connections.spawn(carry(client, server, life.cut));
            }
        }));
        wire
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and waits until the server has done what has reached it. New ones end at once.
    pub(crate) async fn cut(&self) {
        let life = self.life.read().unwrap_or_else(PoisonError::into_inner).clone();
        life.cut.cancel();
        life.connections.close();
        life.connections.wait().await;
    }

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        *self.life.write().unwrap_or_else(PoisonError::into_inner) = Life::default();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.cancel();
    }
}

/// Carries both ways until one side ends, or the wire is cut.
async fn carry(client: TcpStream, server: SocketAddr, cut: CancellationToken) {
    if cut.is_cancelled() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        cut.run_until_cancelled(copy(&mut from_client, &mut to_server)).await;
        drop(from_client);
        // The server sees the end behind all that it has been sent, and ends when it has done that.
        drop(to_server.shutdown().await);
    };
    let back = async {
        cut.run_until_cancelled(copy(&mut from_server, &mut to_client)).await;
        drop(to_client);
        drop(copy(&mut from_server, &mut sink()).await);
    };
    tokio::join!(there, back);
}
