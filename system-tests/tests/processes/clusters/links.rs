//! A TCP link that fails as networks do.

use std::net::SocketAddr;
use std::sync::OnceLock;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::prelude::*;

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
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
pub(super) struct Link {
    pub(super) address: SocketAddr,
    /// The address of the server, once it is known.
    pub(super) server: Arc<OnceLock<SocketAddr>>,
    weather: watch::Sender<Weather>,
    _accepting: DropGuard,
}

impl Link {
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::<OnceLock<SocketAddr>>::default();
        let weather = watch::Sender::new(Weather::Fair);
        let accepting = CancellationToken::new();
        let to = Arc::clone(&server);
        let changes = weather.subscribe();
        tokio::spawn(accepting.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, *to.get().unwrap(), changes.clone()));
            }
        }));
        Self {
            address,
            server,
            weather,
            _accepting: accepting.drop_guard(),
        }
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
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
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, weather.clone(), &[Weather::Mute]) => {}
        () = copy(from_server, to_client, weather.clone(), &[Weather::Mute, Weather::Deaf]) => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

/// Copies what arrives, but nothing while the weather is one of `stops`.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    stops: &[Weather],
) {
    let mut packet = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut packet).await
        && length > 0
    {
        let Ok(current) = weather
            .wait_for(|weather| !stops.contains(weather))
            .await
            .map(|weather| *weather)
        else {
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
