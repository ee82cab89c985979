//! `GET /v1/purchases/events`: purchases as they become visible, as server-sent events.
//! `GET /v1/purchases:positions`: how far ingest is, for the events of other services.
//!
//! Each stream of events holds a subscription to the feed of the service. A stream that continues
//! behind an event first waits for a turn to catch up, because the purchases since that event are
//! read from the log again. The turn ends as soon as the stream has caught up.
//!
//! A stream sends a comment while no purchase becomes visible, and verifies the token of its reader
//! again and again. It ends after [`MAX_DURATION`], when its reader may no longer read the
//! purchases, and when its subscription ends. The client then continues with the id of the last
//! event, which every comment contains as well.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use shop_api::PositionsBody;
use shop_core::feed::{FeedCursor, FeedItem, Subscription};
use shop_core::ports::Selector;
use shop_core::{Error, ErrorKind, Invalid, RequestContext};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::v1_purchases::may_select;
use crate::auth::{Action, Caller, Credential, Rejection};
use crate::permits::{Permit, RequestPermit};
use crate::request::Query;
use crate::response::{
    HttpError, HttpResult, Location, PURCHASE_BYTES, RequestKind, ValidationError, to_json,
};
use crate::service::{PurchaseService, within};

/// The time without a purchase after which a stream sends a comment, because proxies close idle
/// connections.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// The interval at which a stream that catches up checks whether it has caught up, so that another
/// stream gets its turn.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(100);
/// The time after which the reader of a stream is authorized again. A token that is revoked or
/// expires thus ends its streams.
const AUTHORIZATION_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which a stream ends.
const MAX_DURATION: Duration = Duration::from_secs(3_600);
/// The time after which a browser continues a stream that ended.
const RETRY_DELAY: Duration = Duration::from_secs(3);

/// Handles `GET /v1/purchases/events`: streams purchases as they become visible.
pub(crate) async fn get(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    let mut query = Query::new(&head.uri, Query::EVENTS)?;
    let selector = query.selector();
    let (selector, _no_wait) = query.finish(selector)?;
    let caller = Caller::from_extensions(&head.extensions);
    may_select(&purchases, &caller, &selector)?;
    let last_event_id = read_last_event_id(&head.headers, &query)?;
    let feed = purchases.feed.as_ref().ok_or(HttpError::NO_EVENTS)?;

    let permit = RequestPermit::from_extensions(&head.extensions)?;
    let credential = head.extensions.get().cloned();
    // The head is not needed during the wait, and many streams may wait.
    drop(head);
    let stream_permit = permit.exchange_for_stream()?;
    let catch_up_turn = if last_event_id.is_some() {
        permit.wait_for_catch_up_turn().await
    } else {
        None
    };
    let subscribe = feed.subscribe(selector.clone(), last_event_id.as_ref());
    let subscription = within(purchases.options.request_timeout, subscribe)
        .await
        .map_err(|error| map_feed_error(error, &purchases))?;

    let now = Instant::now();
    Ok(respond(EventStream {
        subscription,
        purchases,
        selector,
        credential,
        authorized_at: now,
        ends_at: now + MAX_DURATION,
        is_starting: true,
        catch_up_turn,
        _permit: stream_permit,
    }))
}

/// Handles `GET /v1/purchases:positions`: returns how far ingest is.
pub(crate) async fn positions(purchases: Arc<PurchaseService>, head: Parts) -> HttpResult {
    Query::refuse(&head.uri)?;
    let caller = Caller::from_extensions(&head.extensions);
    purchases.policy.check(&caller, &Action::ReadPositions)?;
    let feed = purchases.feed.as_ref().ok_or(HttpError::NO_EVENTS)?;

    let positions = within(purchases.options.request_timeout, feed.positions())
        .await
        .map_err(|error| map_feed_error(error, &purchases))?;
    Ok(Json(PositionsBody::from(positions)).into_response())
}

/// Converts an error of the feed of `purchases`.
fn map_feed_error(error: Error, purchases: &PurchaseService) -> HttpError {
    // The source of the error tells an invalid cursor from other invalid values, which are not the
    // fault of the client.
    let is_cursor_invalid = error
        .source()
        .is_some_and(|source| source.downcast_ref::<Invalid>().is_some());
    match error.kind() {
        ErrorKind::Invalid if is_cursor_invalid => invalid_event_id().into(),
        ErrorKind::Expired => HttpError::CURSOR_EXPIRED,
        ErrorKind::Unsupported => HttpError::NO_EVENTS,
        ErrorKind::Overloaded => HttpError::overloaded(RequestKind::Read),
        _ => HttpError::failed_query(error, purchases.subject()),
    }
}

/// Reads the id of the event behind which the stream continues, if the request contains one.
///
/// The header `Last-Event-ID` takes precedence over the parameter `lastEventId`, which is for clients
/// that cannot send the header. An empty id counts as absent.
///
/// # Errors
/// 422 if the id is not the id of an event.
fn read_last_event_id(headers: &HeaderMap, query: &Query) -> HttpResult<Option<FeedCursor>> {
    // A header that is not text must be refused. The text that replaces it is not the id of an event,
    // and causes the same error.
    let header_id = headers
        .get("last-event-id")
        .map(|id| id.to_str().unwrap_or("not text"));
    let id = [header_id, query.get("lastEventId")]
        .into_iter()
        .flatten()
        .find(|id| !id.is_empty());

    let cursor = id.map(str::parse).transpose();
    cursor.map_err(|_invalid| invalid_event_id().into())
}

/// Returns the error of a `Last-Event-ID` at which no stream can continue.
fn invalid_event_id() -> ValidationError {
    Location::Header("Last-Event-ID").invalid("is not the id of an event")
}

/// Returns the response that sends `events` until their end.
fn respond(events: EventStream) -> Response {
    // The body is read after the handler ends, and needs the context of its request.
    let context = RequestContext::current().unwrap_or_default();
    let events = stream::unfold(events, move |mut events| {
        Arc::clone(&context).scope(async move {
            let event = events.next().await?;
            Some((Ok::<_, Infallible>(event), events))
        })
    });
    // Without this header, nginx would buffer the events.
    ([("x-accel-buffering", "no")], Sse::new(events)).into_response()
}

/// The events of one response.
struct EventStream {
    subscription: Subscription,
    purchases: Arc<PurchaseService>,
    selector: Selector,
    /// The token of the reader, if the request had one.
    credential: Option<Credential>,
    /// When the reader was last authorized.
    authorized_at: Instant,
    ends_at: Instant,
    /// Whether the next event is the first one of the stream.
    is_starting: bool,
    /// The turn to catch up, while the subscription needs it.
    catch_up_turn: Option<OwnedSemaphorePermit>,
    _permit: Permit,
}

impl EventStream {
    /// Waits for the next event: a purchase, or a comment if no purchase becomes visible in time.
    ///
    /// Returns `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.is_starting) {
            // A reader that loses the connection before the first purchase continues at this id.
            let start = Event::default()
                .retry(RETRY_DELAY)
                .comment("purchases from here on");
            return Some(start.id(self.subscription.position().as_str()));
        }

        let deadline = self.ends_at.min(Instant::now() + COMMENT_INTERVAL);
        let next_item = self.next_item(deadline).await;
        if !self.is_still_authorized().await {
            return None;
        }
        match next_item {
            // A subscription without a further item has ended, and so does the stream.
            Ok(item) => item.as_ref().map(purchase_event),
            Err(_elapsed) if deadline == self.ends_at => None,
            Err(_elapsed) => {
                let comment = Event::default().comment("no purchase");
                Some(comment.id(self.subscription.position().as_str()))
            }
        }
    }

    /// Waits for the next purchase of the subscription, at most until `deadline`. Returns `None` if
    /// the subscription has ended.
    ///
    /// Meanwhile gives back the turn to catch up as soon as the subscription does not need it.
    ///
    /// # Errors
    /// An error if no purchase became visible until `deadline`.
    async fn next_item(&mut self, deadline: Instant) -> Result<Option<FeedItem>, Elapsed> {
        loop {
            if !self.subscription.is_catching_up() {
                self.catch_up_turn = None;
            }
            let mut wake_at = deadline;
            if self.catch_up_turn.is_some() {
                wake_at = wake_at.min(Instant::now() + CATCH_UP_INTERVAL);
            }
            match timeout_at(wake_at, self.subscription.next()).await {
                // The stream woke up only to check whether it still needs the turn to catch up.
                Err(_elapsed) if Instant::now() < deadline => {}
                item_or_elapsed => return item_or_elapsed,
            }
        }
    }

    /// Returns whether the reader may still read the selected purchases.
    ///
    /// Verifies the token of the reader again, at most once per [`AUTHORIZATION_INTERVAL`].
    async fn is_still_authorized(&mut self) -> bool {
        let Some(credential) = &self.credential else {
            return true;
        };
        if self.authorized_at.elapsed() < AUTHORIZATION_INTERVAL {
            return true;
        }
        self.authorized_at = Instant::now();

        let principal = match credential.authenticate.principal(&credential.token).await {
            Ok(principal) => principal,
            // While the token cannot be verified, the last decision holds.
            Err(Rejection::Unavailable) => return true,
            Err(Rejection::Invalid(_)) => return false,
        };
        let no_trail = None;
        let reader = Caller::new(principal, no_trail);
        self.purchases
            .policy
            .allows(&reader, &Action::ReadPurchases(&self.selector))
    }
}

/// Returns the event of a purchase that became visible.
fn purchase_event(item: &FeedItem) -> Event {
    let json = to_json(&item.purchase, PURCHASE_BYTES);
    Event::default()
        .event("purchase")
        .id(item.cursor.as_str())
        .data(String::from_utf8_lossy(&json))
}
