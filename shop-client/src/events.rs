//! Implements [`PurchaseEvents`] for the client, by server-sent events.
//!
//! An [`EventReader`] reads one stream of events over as many connections as needed. Each event has
//! a position. After a lost connection, the reader pauses, connects again with the position of the
//! last event, and skips the purchases that it already yielded.

use std::time::Duration;

use async_trait::async_trait;
use backon::ExponentialBackoff;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::HeaderValue;
use shop_core::feed::RecentIds;
use tokio::time::{sleep, timeout};

use crate::error::client_error;
use crate::ports::selection_parameters;
use crate::response::{BodyStream, unknown_line_error};
use crate::transport::{Call, TYPICAL_RESPONSE_BYTES};
use crate::{
    Error, ErrorKind, FeedCursor, FeedItem, PurchaseEvents, Result, Selector, ShopClient, TimeRange,
};

/// The time without a line after which a connection is renewed. The service sends a comment every
/// 15 s.
const MAX_IDLE: Duration = Duration::from_secs(45);

const EVENT_STREAM: &str = "text/event-stream";

/// Over HTTP, a stream of events resumes by itself.
///
/// The stream connects again after a lost or silent connection, the regular end of a response, a
/// 503, and a restart of the service. It tries with a valid token and with the pauses of the
/// [`RetryPolicy`](crate::RetryPolicy), until a connection succeeds or fails permanently. With
/// [`RetryPolicy::none`](crate::RetryPolicy::none), a connection that cannot be renewed at once is
/// an error. An [observer](crate::ShopClientBuilder::observer) sees each connection as a call
/// `events`.
#[async_trait]
impl PurchaseEvents for ShopClient {
    async fn events(
        &self,
        selector: &Selector,
        after: Option<FeedCursor>,
    ) -> Result<BoxStream<'static, Result<FeedItem>>> {
        let mut events = EventReader::new(self.clone(), selector, after);
        // The first connection is made here, so that this call returns its error. The connection
        // may already deliver a purchase.
        let first_item = events
            .connect()
            .await?
            .filter(|item| events.yielded_ids.add(item.purchase.id));

        let further_items = stream::try_unfold(events, async |mut events| {
            Ok(Some((events.next_item().await?, events)))
        });
        Ok(stream::iter(first_item.map(Ok))
            .chain(further_items)
            .boxed())
    }

    async fn position(&self, selector: &Selector) -> Result<FeedCursor> {
        let start_position = None;
        let mut events = EventReader::new(self.clone(), selector, start_position);
        // The first event contains the current position. A purchase in it is not needed here.
        events.connect().await?;
        events.position.ok_or_else(unknown_line_error)
    }
}

/// A reader of the events of one selector, which must [connect](Self::connect) first.
struct EventReader {
    client: ShopClient,
    call: Call,
    /// The position behind the last event, at which the next connection continues.
    position: Option<FeedCursor>,
    /// The lines of the current connection. There are none without a connection.
    lines: BodyStream<String>,
    /// The pauses before the next connections.
    pauses: ExponentialBackoff,
    yielded_ids: RecentIds,
}

impl EventReader {
    fn new(client: ShopClient, selector: &Selector, position: Option<FeedCursor>) -> Self {
        let parameters = selection_parameters(selector, TimeRange::ALL);
        let call = client
            .transport
            .query("events", "v1/purchases/events", &parameters);
        Self {
            call: call.with_streamed_response(EVENT_STREAM),
            position,
            lines: stream::empty().boxed(),
            pauses: client.retries.delays(),
            client,
            yielded_ids: RecentIds::default(),
        }
    }

    /// Waits for the next purchase that was not yielded before, and remembers that it was yielded.
    /// Connects again as often as needed.
    ///
    /// # Errors
    /// Returns the errors of [`reconnect`](Self::reconnect).
    async fn next_item(&mut self) -> Result<FeedItem> {
        loop {
            let item = match self.read_event().await {
                Ok(item) => {
                    // The connection works, so a later outage begins with the shortest pause.
                    self.pauses = self.client.retries.delays();
                    item
                }
                Err(error) => self.reconnect(error).await?,
            };
            if let Some(item) = item
                && self.yielded_ids.add(item.purchase.id)
            {
                return Ok(item);
            }
        }
    }

    /// Connects again after `error` ended the connection, and reads the first event. Pauses before
    /// each attempt.
    ///
    /// # Errors
    /// - The first error that is permanent, be it `error` or the error of an attempt
    /// - The error of the first attempt, if retries are disabled
    async fn reconnect(&mut self, mut error: Error) -> Result<Option<FeedItem>> {
        while error.is_retryable() {
            // Closes the connection before the pause.
            self.lines = stream::empty().boxed();
            // The longer one of the policy's pause and the service's. Without both, it connects at
            // once.
            let pause = self
                .pauses
                .next()
                .max(error.retry_after())
                .unwrap_or_default();
            tracing::debug!(%error, ?pause, "connecting again");
            sleep(pause).await;

            error = match self.connect().await {
                Err(error) if self.client.retries.is_enabled() => error,
                result => return result,
            };
        }
        Err(error)
    }

    /// Connects behind the position of the last event, and reads the first event.
    ///
    /// A service sends the first event at once. The event usually contains only a position, from
    /// which on no purchase is missed. If it also contains a purchase, the purchase is returned.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) without a first event in time
    /// - The errors of [`ShopClient::query`] and of [`read_event`](Self::read_event)
    async fn connect(&mut self) -> Result<Option<FeedItem>> {
        // A cursor is visible ASCII, and so always a valid value.
        if let Some(position) = &self.position
            && let Ok(header_value) = HeaderValue::from_str(position.as_str())
        {
            self.call.headers.insert("last-event-id", header_value);
        }

        let response = self.client.query(&self.call).await?;
        self.lines = response.into_lines_up_to(TYPICAL_RESPONSE_BYTES, EVENT_STREAM, MAX_IDLE)?;
        timeout(self.call.timeout, self.read_event())
            .await
            .unwrap_or_else(|_elapsed| {
                Err(client_error(
                    ErrorKind::Unavailable,
                    "no first event in time",
                ))
            })
    }

    /// Reads the next event, and returns its purchase, if there is one. Remembers the position of
    /// the event.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if the connection is lost, silent or at its end
    /// - [`Unsupported`](ErrorKind::Unsupported) if the event is not one of this service
    async fn read_event(&mut self) -> Result<Option<FeedItem>> {
        let mut id = None;
        let mut data = String::new();
        let mut is_purchase = false;
        loop {
            let Some(line) = self.lines.try_next().await? else {
                return Err(client_error(ErrorKind::Unavailable, "the stream has ended"));
            };
            // An empty line ends the event.
            if line.is_empty() {
                break;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = Some(value.to_owned()),
                "event" => is_purchase = value == "purchase",
                // The service sends the JSON of a purchase in one line.
                "data" => value.clone_into(&mut data),
                // Comments, and fields that this client does not need, such as `retry`.
                _ => {}
            }
        }

        if let Some(id) = id {
            self.position = Some(id.parse().map_err(|_invalid| unknown_line_error())?);
        }
        if !is_purchase {
            return Ok(None);
        }
        let purchase =
            serde_json::from_str(&data).map_err(|error| unknown_line_error().with_source(error))?;
        let position = self.position.clone().ok_or_else(unknown_line_error)?;
        Ok(Some(FeedItem::new(purchase, position)))
    }
}
