//! A TCP link to a server, which fails as networks do.
//!
//! One is in front of MongoDB, because its stand-in has a file that a SIGKILL may corrupt: a document is written, and its
//! entry in the index of ids is not, so that it rejects every later insert with that id; or it does not restart at all. A
//! real MongoDB has a journal. So the connections are cut at any moment, within requests and responses, and the server
//! is stopped cleanly once it has processed what it has received. Clients cannot tell the difference: some
//! requests took effect without a response, others never arrived.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Connections end, and new ones are refused at once.
    Cut,
    /// Connections stay open, and nothing arrives, in both directions.
    Mute,
    /// Requests arrive, responses do not.
    Deaf,
    /// Each packet takes 300 ms more.
    Slow,
}

/// A link to a server, at its own address.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    /// The address of the server, once it is known.
    pub(crate) server: Arc<OnceLock<SocketAddr>>,
    weather: watch::Sender<Weather>,
    connections: TaskTracker,
    /// The task that accepts connections, which ends with the link.
    _accepting: JoinSet<()>,
}

impl Link {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::<OnceLock<SocketAddr>>::default();
        let weather = watch::Sender::new(Weather::Fair);
        let connections = TaskTracker::new();
        let mut accepting = JoinSet::new();
        let to = Arc::clone(&server);
        let changes = weather.subscribe();
        let forwards = connections.clone();
        accepting.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                forwards.spawn(forward(client, *to.get().unwrap(), changes.clone()));
            }
        });
        Self {
            address,
            server,
            weather,
            connections,
            _accepting: accepting,
        }
    }

    /// A link to `server`.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let link = Self::open().await;
        link.server.set(server).unwrap();
        link
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Cuts the link, and waits until the server has processed what it has received.
    pub(crate) async fn cut(&self) {
        self.set(Weather::Cut);
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Copies in both directions until one side ends, or the link is cut.
async fn forward(client: TcpStream, server: SocketAddr, mut weather: watch::Receiver<Weather>) {
    if *weather.borrow() == Weather::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = copy(&mut from_client, &mut to_server, weather.clone(), &[Weather::Mute]) => {}
        () = copy(&mut from_server, &mut to_client, weather.clone(), &[Weather::Mute, Weather::Deaf]) => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => {}
    }
    drop((from_client, to_client));
    // The server sees the end after all received bytes, and closes when it has processed them.
    drop(to_server.shutdown().await);
    drop(tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await);
}

/// Copies what arrives, but nothing while the weather is one of `stops`.
async fn copy(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    stops: &[Weather],
) {
    let mut packet = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut packet).await {
        let current = weather.wait_for(|weather| !stops.contains(weather)).await;
        let Ok(current) = current.map(|weather| *weather) else {
            return;
        };
        if current == Weather::Slow {
            sleep(Duration::from_millis(300)).await;
        }
        if to.write_all(&packet[..length]).await.is_err() {
            return;
        }
    }
}
