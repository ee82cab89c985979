//! The client as [`PurchaseEvents`]: server-sent events, over as many connections as it takes.

use std::time::Duration;

use async_trait::async_trait;
use backon::ExponentialBackoff;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{HeaderName, HeaderValue};
use shop_core::feed::RecentIds;
use tokio::time::{sleep, timeout};

use crate::error::client_error;
use crate::ports::selection;
use crate::response::foreign_line;
use crate::transport::Call;
use crate::{Error, ErrorKind, FeedCursor, FeedItem, PurchaseEvents, Result, Selector, ShopClient};

/// Without a byte for this time a connection is renewed. The service sends a comment every 15 s.
const MAX_IDLE: Duration = Duration::from_secs(45);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";

/// Over HTTP the stream resumes by itself: after a lost or silent connection, the regular end of a stream, a 503 and a
/// restart of the service it connects again, with the pauses of the [`RetryPolicy`](crate::RetryPolicy) and a valid
/// token, until that succeeds or fails permanently. With [`RetryPolicy::none`](crate::RetryPolicy::none) a connection
/// that cannot be renewed at once is an error. An [observer](crate::ShopClientBuilder::observer) sees each connection
/// as a call `events`.
#[async_trait]
impl PurchaseEvents for ShopClient {
    async fn events(
        &self,
        selector: &Selector,
        after: Option<FeedCursor>,
    ) -> Result<BoxStream<'static, Result<FeedItem>>> {
        let mut events = EventReader::new(self.clone(), selector, after);
        let first = events
            .connect()
            .await?
            .filter(|first| events.yielded.add(first.purchase.id));
        let rest = stream::try_unfold(events, async |mut events| {
            Ok(Some((events.next().await?, events)))
        });
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    async fn position(&self, selector: &Selector) -> Result<FeedCursor> {
        let mut events = EventReader::new(self.clone(), selector, None);
        events.connect().await?;
        events.last.ok_or_else(foreign_line)
    }
}

/// A stream of events.
struct EventReader {
    client: ShopClient,
    call: Call,
    /// Where the next connection continues.
    last: Option<FeedCursor>,
    /// The lines of the connection.
    lines: Option<BoxStream<'static, Result<String>>>,
    /// The pauses before the next connections.
    delays: ExponentialBackoff,
    yielded: RecentIds,
}

impl EventReader {
    fn new(client: ShopClient, selector: &Selector, last: Option<FeedCursor>) -> Self {
        let transport = &client.inner.transport;
        let call = transport.query("events", "v1/purchases/events", &selection(selector));
        Self {
            call: call.streaming(EVENT_STREAM),
            last,
            lines: None,
            delays: client.retries.delays(),
            client,
            yielded: RecentIds::default(),
        }
    }

    async fn next(&mut self) -> Result<FeedItem> {
        loop {
            let was_connected = self.lines.is_some();
            let read = if was_connected {
                self.event().await
            } else {
                self.connect().await
            };
            let retries = &self.client.retries;
            match read {
                Ok(item) => {
                    if was_connected {
                        self.delays = retries.delays();
                    }
                    if let Some(item) = item.filter(|item| self.yielded.add(item.purchase.id)) {
                        return Ok(item);
                    }
                }
                Err(error) if error.is_retryable() && (was_connected || retries.is_enabled()) => {
                    self.lines = None;
                    let pause = self
                        .delays
                        .next()
                        .max(error.retry_after())
                        .unwrap_or_default();
                    tracing::debug!(%error, ?pause, "connecting again");
                    sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects, and reads the first event: that has the position alone, from which on nothing is missed.
    async fn connect(&mut self) -> Result<Option<FeedItem>> {
        if let Some(last) = self
            .last
            .as_ref()
            .and_then(|last| HeaderValue::from_str(last.as_str()).ok())
        {
            self.call.head.insert(LAST_EVENT_ID, last);
        }
        self.lines = Some(
            self.client
                .query(&self.call)
                .await?
                .lines(EVENT_STREAM, MAX_IDLE)?,
        );
        timeout(self.call.timeout, self.event())
            .await
            .unwrap_or_else(|_elapsed| Err(lost("no first event in time")))
    }

    /// The purchase of the next event, if it has one. It continues behind it from then on.
    async fn event(&mut self) -> Result<Option<FeedItem>> {
        let mut id = None;
        let mut data = String::new();
        let mut is_purchase = false;
        loop {
            let line = self.line().await?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => break,
                "id" => id = Some(value.to_owned()),
                "event" => is_purchase = value == "purchase",
                // One line of JSON.
                "data" => value.clone_into(&mut data),
                _ => {}
            }
        }
        if let Some(id) = id {
            self.last = Some(id.parse().map_err(|_invalid| foreign_line())?);
        }
        if !is_purchase {
            return Ok(None);
        }
        let purchase =
            serde_json::from_str(&data).map_err(|error| foreign_line().with_source(error))?;
        Ok(Some(FeedItem::new(
            purchase,
            self.last.clone().ok_or_else(foreign_line)?,
        )))
    }

    async fn line(&mut self) -> Result<String> {
        let Some(lines) = &mut self.lines else {
            return Err(lost("there is no connection"));
        };
        lines
            .try_next()
            .await?
            .ok_or_else(|| lost("the stream has ended"))
    }
}

fn lost(why: &str) -> Error {
    client_error(ErrorKind::Unavailable, why)
}
