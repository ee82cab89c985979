//! `GET /v1/purchases/events`: purchases as they become visible, as server-sent events.
//! `GET /v1/purchases:positions`: how far ingest is, for the events of other services.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream;
use shop_core::api::PositionsBody;
use shop_core::feed::{FeedCursor, FeedItem, Subscription};
use shop_core::ports::Selector;
use shop_core::{Error, ErrorKind, Invalid, RequestContext};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::auth::{Action, Caller, Credential, Rejection};
use crate::permits::{Permit, RequestPermit};
use crate::request::Query;
use crate::resources::v1_purchases::may_select;
use crate::response::validation_error::{Location, ValidationError};
use crate::response::{HttpError, HttpResult, PURCHASE_BYTES, to_json};
use crate::service::{PurchaseService, within};

/// The time without a purchase after which a comment is sent: proxies close idle connections.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// How often a reader that catches up checks whether it has: another one waits for its turn.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(100);
/// A reader is authorized again after this time: a token that is revoked or expires ends its
/// streams.
const AUTHORIZATION_INTERVAL: Duration = Duration::from_secs(1);
/// After this time a stream ends.
const MAX_DURATION: Duration = Duration::from_secs(3_600);
/// After this time a browser continues a stream that has ended.
const RETRY: Duration = Duration::from_secs(3);

/// `GET /v1/purchases/events`.
pub(crate) async fn get(
    State(purchases): State<Arc<PurchaseService>>,
    caller: Caller,
    permit: RequestPermit,
    credential: Option<Extension<Credential>>,
    uri: Uri,
    headers: HeaderMap,
) -> HttpResult {
    let mut query = Query::new(&uri, Query::EVENTS)?;
    let selector = query.selector();
    let (selector, _) = query.finish(selector)?;
    may_select(&purchases, &caller, &selector)?;
    let after = last_event_id(&headers, &query)?;
    let feed = purchases.feed.as_ref().ok_or(HttpError::NO_EVENTS)?;
    let stream_permit = permit.exchange_for_stream()?;
    let catch_up = if after.is_some() {
        permit.wait_for_catch_up_turn().await
    } else {
        None
    };
    let subscribing = feed.subscribe(selector.clone(), after.as_ref());
    let subscription = within(purchases.options.request_timeout, subscribing)
        .await
        .map_err(|error| failure(error, &purchases))?;
    let now = Instant::now();
    Ok(respond(EventStream {
        subscription,
        purchases,
        selector,
        credential: credential.map(|Extension(credential)| credential),
        authorized: now,
        ends: now + MAX_DURATION,
        is_first: true,
        catch_up,
        _permit: stream_permit,
    }))
}

/// `GET /v1/purchases:positions`.
pub(crate) async fn positions(
    State(role): State<Arc<PurchaseService>>,
    caller: Caller,
    uri: Uri,
) -> HttpResult {
    Query::refuse(&uri)?;
    role.policy.check(&caller, &Action::ReadPositions)?;
    let feed = role.feed.as_ref().ok_or(HttpError::NO_EVENTS)?;
    let positions = within(role.options.request_timeout, feed.positions())
        .await
        .map_err(|error| failure(error, &role))?;
    Ok(Json(PositionsBody::from(positions)).into_response())
}

fn failure(error: Error, purchases: &PurchaseService) -> HttpError {
    match error.kind() {
        ErrorKind::Invalid
            if error
                .source()
                .is_some_and(|source| source.downcast_ref::<Invalid>().is_some()) =>
        {
            no_event_id().into()
        }
        ErrorKind::Expired => HttpError::CURSOR_EXPIRED,
        ErrorKind::Unsupported => HttpError::NO_EVENTS,
        ErrorKind::Overloaded => HttpError::overloaded(false),
        _ => HttpError::failed_query(error, purchases.subject()),
    }
}

/// Where to continue, by the header, or by the parameter of clients that cannot send it. Empty is
/// absent.
fn last_event_id(headers: &HeaderMap, query: &Query) -> HttpResult<Option<FeedCursor>> {
    let of_header = headers
        .get("last-event-id")
        .map(|id| id.to_str().unwrap_or("not text"));
    [of_header, query.get("lastEventId")]
        .into_iter()
        .flatten()
        .find(|id| !id.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|_invalid| no_event_id().into())
}

fn no_event_id() -> ValidationError {
    Location::Header("Last-Event-ID").invalid("is not the id of an event")
}

fn respond(events: EventStream) -> Response {
    // The body is read after the handler has ended.
    let context = RequestContext::current().unwrap_or_default();
    let events = stream::unfold(events, move |mut events| {
        Arc::clone(&context)
            .scope(async move { Some((Ok::<_, Infallible>(events.next().await?), events)) })
    });
    // nginx would buffer the events otherwise.
    ([("x-accel-buffering", "no")], Sse::new(events)).into_response()
}

/// The events of one response.
struct EventStream {
    subscription: Subscription,
    purchases: Arc<PurchaseService>,
    selector: Selector,
    credential: Option<Credential>,
    /// When the reader was last authorized.
    authorized: Instant,
    ends: Instant,
    is_first: bool,
    /// Held while it catches up.
    catch_up: Option<OwnedSemaphorePermit>,
    _permit: Permit,
}

impl EventStream {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.is_first) {
            // A reader that loses the connection before the first purchase continues from here.
            let start = Event::default()
                .retry(RETRY)
                .comment("purchases from here on");
            return Some(start.id(self.subscription.position().as_str()));
        }
        let comment = Instant::now() + COMMENT_INTERVAL;
        let next = loop {
            let mut until = comment.min(self.ends);
            self.catch_up = self
                .catch_up
                .take()
                .filter(|_| self.subscription.is_catching_up());
            if self.catch_up.is_some() {
                until = until.min(Instant::now() + CATCH_UP_INTERVAL);
            }
            match timeout_at(until, self.subscription.next()).await {
                Err(_elapsed) if Instant::now() < comment.min(self.ends) => {}
                next => break next,
            }
        };
        if !self.is_authorized().await {
            return None;
        }
        match next {
            Ok(item) => Some(event(&item?)),
            Err(_elapsed) if self.ends <= comment => None,
            Err(_elapsed) => Some(
                Event::default()
                    .comment("no purchase")
                    .id(self.subscription.position().as_str()),
            ),
        }
    }

    /// Whether the reader may still read this, by its token.
    async fn is_authorized(&mut self) -> bool {
        let Some(credential) = &self.credential else {
            return true;
        };
        if self.authorized.elapsed() < AUTHORIZATION_INTERVAL {
            return true;
        }
        self.authorized = Instant::now();
        let principal = match credential.authenticate.principal(&credential.token).await {
            Ok(principal) => principal,
            // It cannot be determined now.
            Err(Rejection::Unavailable) => return true,
            Err(Rejection::Invalid(_)) => return false,
        };
        let read = Action::ReadPurchases(&self.selector);
        self.purchases
            .policy
            .decide(&Caller::new(principal, None), &read)
            .is_ok()
    }
}

fn event(item: &FeedItem) -> Event {
    let json = to_json(&item.purchase, PURCHASE_BYTES);
    Event::default()
        .event("purchase")
        .id(item.cursor.as_str())
        .data(String::from_utf8_lossy(&json))
}
