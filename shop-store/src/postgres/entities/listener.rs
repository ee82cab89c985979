//! Notifications of events that were written, by this process or another.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shop_core::Uuid;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_postgres::AsyncMessage;
use tokio_util::sync::DropGuard;

use crate::postgres::connection::{Connector, Driven, until_dropped};
use crate::postgres::error::from_driver;
use crate::retries::pauses;

/// The maximum pause before a new connection. Meanwhile the relay polls.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Wakes the relay of this process when an event was written.
///
/// A process notifies itself directly, and the others by `NOTIFY`. For those of others it has one more connection, which
/// is opened by the first wait, and again when it breaks. What was sent meanwhile is lost, so a new connection wakes the
/// relay too.
#[derive(Debug)]
pub(super) struct Listener {
    connector: Connector,
    channel: String,
    /// The payload of this process, which it ignores.
    sender: Arc<str>,
    written: Arc<Notify>,
    listening: OnceLock<DropGuard>,
}

impl Listener {
    pub(super) fn new(connector: Connector, table: &str) -> Self {
        let sender = Uuid::now_v7().to_string().into();
        let (written, listening) = (Arc::default(), OnceLock::new());
        Self { connector, channel: channel(table), sender, written, listening }
    }

    /// The payload of the notifications that this process sends.
    pub(super) fn sender(&self) -> String {
        self.sender.to_string()
    }

    /// Wakes the relay.
    pub(super) fn notify(&self) {
        self.written.notify_one();
    }

    /// Waits until an event may have been written.
    pub(super) async fn written(&self) {
        self.listening.get_or_init(|| {
            let (connector, channel) = (self.connector.clone(), self.channel.clone());
            until_dropped(listen(connector, channel, Arc::clone(&self.sender), Arc::clone(&self.written)))
        });
        self.written.notified().await;
    }
}

/// The channel of the events of a table. It is the same in all schemas of a database.
pub(super) fn channel(table: &str) -> String {
    format!("shop_{table}")
}

/// Listens until it is dropped.
async fn listen(connector: Connector, channel: String, own: Arc<str>, written: Arc<Notify>) -> Infallible {
    let new_pauses = || pauses(Duration::from_millis(100), MAX_PAUSE);
    let mut backoff = new_pauses();
    let mut is_reported = false;
    loop {
        let mut is_listening = false;
        let session = async {
            let (client, connection) = connector.connect().await?;
            let listening = async {
                client.batch_execute(&format!("listen {channel}")).await?;
                is_listening = true;
                written.notify_one();
                // The connection ends with its client.
                Ok(&client)
            };
            tokio::try_join!(listening, receive(connection, &own, &written)).map(drop)
        };
        let ended: Result<(), tokio_postgres::Error> = session.await;
        if is_listening {
            (backoff, is_reported) = (new_pauses(), false);
        }
        if let (Err(error), false) = (ended, is_reported) {
            is_reported = true;
            tracing::warn!(error = %from_driver(error).chain(), channel, "listening for events failed, polling");
        }
        sleep(backoff.next().unwrap_or(MAX_PAUSE)).await;
    }
}

/// Receives notifications until the connection ends.
async fn receive(mut connection: Driven, own: &str, written: &Notify) -> Result<(), tokio_postgres::Error> {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message? {
            AsyncMessage::Notification(notification) if notification.payload() != own => written.notify_one(),
            _ => {}
        }
    }
    Ok(())
}
