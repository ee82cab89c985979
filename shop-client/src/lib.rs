//! A typed client of purchase tracking, for use in other services.
//!
//! ```no_run
//! use shop_client::{ErrorKind, NewPurchase, Outcome, Period, ShopClient, TryStreamExt};
//!
//! # async fn example() -> shop_client::Result<()> {
//! let shop = ShopClient::builder("http://localhost:3000").build()?.shop();
//! let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
//! let bought = match shop.buy(order.clone()).await {
//!     // The outcome is unknown: with its key, the retry is the same purchase.
//!     Err(error) if error.outcome() == Outcome::Unknown => shop.buy(order).await?,
//!     result => result?,
//! };
//! println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
//!
//! let user = shop.user("u1").wait_for(&bought.receipt);
//! let spent = user.summary().await?;
//! println!("{} purchases for {}", spent.count, spent.total_spent);
//! let mut purchases = user.purchases();
//! while let Some(purchase) = purchases.try_next().await? {
//!     println!("{} {}", purchase.timestamp, purchase.price);
//! }
//!
//! // The totals of all users, which management reports and facing denies.
//! match shop.all_users().totals(Period::Month, "Z").await {
//!     Err(error) if error.kind() == ErrorKind::Denied => println!("not for this client"),
//!     months => println!("{:?}", months?),
//! }
//! let mut events = shop.user("u1").events(None).await?;
//! while let Some(event) = events.try_next().await? {
//!     println!("{} was bought", event.purchase.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Create one client
//!
//! [`ShopClient::builder`] takes the address of the service. The options of the builder are a
//! [time-out](ShopClientBuilder::timeout), the [retries](ShopClientBuilder::retries), a user agent,
//! a [bearer token](ShopClientBuilder::bearer_token) or a [provider](TokenProvider) that renews the
//! token, and your own HTTP client. [`ShopClient::from_env`] reads the address and the options from
//! environment variables.
//!
//! A client is cheap to clone: clones share the connections, the token and the retry budget.
//! [`with_retries`](ShopClient::with_retries) and [`with_timeout`](ShopClient::with_timeout) return
//! clones with other limits, such as for a batch that runs beside the requests of users.
//!
//! Plain http needs no certificates on the machine, and https uses the certificates of the system.
//! No proxy is used unless you [choose](ShopClientBuilder::proxy) one.
//!
//! Calls need a Tokio runtime with I/O and time enabled. Outside of a runtime, calls fail as
//! [`Unsupported`](ErrorKind::Unsupported). `BlockingFuture` of the feature `blocking` makes calls
//! in a runtime of its own.
//!
//! # Buy, exactly once
//!
//! A purchase carries an idempotency key: your own, such as an order number, or a key that the
//! client generates. All attempts of a call send the same key, so [`buy`](Shop::buy) retries
//! failures and the purchase is still recorded once. [`RetryPolicy`] sets the total time, the
//! backoff and the budget of the retries.
//!
//! The [`Receipt`] contains the durability of the purchase and its position in the log.
//! [`buy_all`](Shop::buy_all) buys a whole stream of purchases, with a limit of purchases in
//! flight. If you set the keys, the stream can be interrupted and restarted at any point.
//!
//! # Read purchases
//!
//! [`user`](Shop::user) and [`user_with_name`](Shop::user_with_name) select a user's purchases. You
//! can read all of the purchases [as a stream](UserPurchases::purchases), one
//! [page](UserPurchases::page) of the purchases, or their
//! [count and sum](UserPurchases::summary). A purchase appears in listings shortly after it was
//! accepted. To read your own purchase, [wait for it](UserPurchases::wait_for) first.
//!
//! [`events`](UserPurchases::events) yields purchases as they become visible. The stream resumes by
//! itself after lost connections and restarts of the service. Another process can continue behind
//! an event with the cursor of the event. To miss nothing, read the
//! [position](UserPurchases::events_position) first, then list the purchases, and then follow the
//! events from that position.
//!
//! [`export`](ShopClient::export) streams a whole listing in one response, as purchases or as a
//! file of CSV or NDJSON.
//!
//! # Operate
//!
//! [`health`](ShopClient::health) returns the state of a service.
//! [`dead_letters`](ShopClient::dead_letters) lists, replays and discards the records that the
//! ingest of management could not store.
//!
//! # Users and orders
//!
//! A service may provide two more roles: users and orders. The crate `shop-accounts` has their
//! calls, which its trait `AccountsClient` adds to a [`ShopClient`].
//!
//! # Handle errors
//!
//! An [`Error`] has a [kind](Error::kind), and says whether [a retry](Error::is_retryable) may help
//! and whether the call [took effect](Error::outcome). The reason for a rejected request is in the
//! [problem](HttpErrorExt::problem) of the error. The error of a buy with an unknown outcome
//! contains the [key](Error::idempotency_key) to repeat the buy with. The
//! [request id](Error::request_id) of the error is also in the service's log.
//!
//! # Independent of the backend
//!
//! [`shop`](ShopClient::shop) returns a client as a [`Shop`].
//! Code that takes a `&Shop` runs unchanged over HTTP, on files, and [in memory](Shop::in_memory).
//!
//! ```
//! use shop_client::{Result, Shop, UserId};
//!
//! /// Returns whether a user is a regular customer, independent of HTTP.
//! async fn is_regular(shop: &Shop, user: UserId) -> Result<bool> {
//!     Ok(shop.user(user).summary().await?.count >= 10)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! // This is a test: the program passes `&client`.
//! assert!(!is_regular(&Shop::in_memory(), "u1".parse()?).await?);
//! # Ok(())
//! # }
//! ```
//!
//! A [`ShopClient`] is also a [`PurchaseSink`], a [`PurchasePublisher`], a [`PurchaseQuery`] and
//! [`PurchaseEvents`]: the ports of [`shop_core`].
//!
//! The feature `mock` adds `MockPurchaseSink`, `MockPurchasePublisher`, `MockPurchaseQuery` and
//! `MockPurchaseEvents`, for tests that need a specific error or count calls.
//!
//! # Trace requests
//!
//! Every call is a `tracing` span with a request id that the service logs.
//! [`with_context`](ShopClient::with_context) takes over the id and the W3C trace context of the
//! request that you serve. With the feature `otel`, the trace is the trace of the current span, as
//! your OpenTelemetry propagator writes it.
//!
//! Retries are logged at level debug. Only a panic of an observer is logged above this level,
//! because errors are for the caller to handle. For metrics, an
//! [observer](ShopClientBuilder::observer) sees every retry, and the attempts, the duration and the
//! outcome of every call.
//!
//! # Features
//!
//! | feature | default | contents |
//! |---|---|---|
//! | `rustls` | yes | https, with rustls and aws-lc-rs |
//! | `gzip` | yes | compressed responses |
//! | `blocking` | | `BlockingFuture` and `BlockingStream`: every call without a Tokio runtime |
//! | `mock` | | mocks of the ports |
//! | `otel` | | the trace of the current OpenTelemetry span |
//!
//! Without `rustls`, nothing is built that is not needed for plain http. For another TLS backend,
//! pass an [HTTP client](ShopClientBuilder::http_client) with this backend.

#![cfg_attr(docsrs, feature(doc_cfg))]

// The modules, from the options of a client to the result of a call:
// - `builder`: creates a client from its options
// - `client`, `batch`, `dead_letters`, `export`, `health`, `request`: the calls
// - `ports`, `events`: the calls as the ports of a sink, a query and events
// - `blocking`: waits for calls in programs without a runtime
// - `transport`, `response`: send a call and read its response, within limits of time and size
// - `retries`: the total time, the backoff and the budget of retries
// - `tokens`: the bearer tokens of requests
// - `correlation`: the request ids and trace contexts of requests
// - `observer`: reports the retries and the end of a call
// - `error`: the errors, and the problem that a service reports

mod batch;
#[cfg(feature = "blocking")]
mod blocking;
mod builder;
mod client;
mod correlation;
mod dead_letters;
mod error;
mod events;
mod export;
mod health;
mod observer;
mod ports;
mod request;
mod response;
mod retries;
mod tokens;
mod transport;

#[cfg(feature = "blocking")]
pub use blocking::{BlockingFuture, BlockingStream};
pub use builder::ShopClientBuilder;
pub use client::ShopClient;
pub use dead_letters::DeadLetterRequest;
pub use error::{HttpErrorExt, Problem};
pub use export::Export;
pub use health::Health;
pub use observer::{CallEvent, CallState};
pub use request::{RawRequest, RawResponse};
/// The crate of the HTTP client that [`ShopClientBuilder::http_client`] takes.
pub use reqwest;
pub use retries::RetryPolicy;
#[doc(inline)]
pub use shop_api::{
    BytesBody, DeadLetterBody, DeadLettersBody, EntityHealth, GapsHealth, IngestHealth,
    ProblemError, RecordBody, RecordHeaderBody, ResolvedBody, ResolvedStatus, StuckBody,
    WaitingRefundsHealth,
};
/// The crate of the ports, their error, and the other types that an implementation of a port needs.
pub use shop_core;
pub use shop_core::{
    Bytes, Decimal, Error, ErrorKind, IdempotencyKey, Invalid, InvalidKind, NewPurchase, Outcome,
    Price, PublishedPurchase, Purchase, PurchaseId, RequestContext, Result, Retry, Shop, Stream,
    StreamExt, Timestamp, Total, TotalOverflow, TryStreamExt, UserId, UserName, UserPurchases,
    Uuid, async_trait,
    domain::RefundReason,
    feed::{FeedCursor, FeedItem},
    jiff,
    log::{IngestPositions, Offsets, ReasonKind, RecordPosition},
    memory,
    ports::{
        Bucket, Cursor, Durability, ListOrder, Lookup, Page, PageLimit, PageRequest, Period,
        PurchaseEvents, PurchasePublisher, PurchaseQuery, PurchaseSink, Receipt, Selector, Summary,
        TimeRange, TotalsRequest, UtcOffset,
    },
    stream,
};
#[cfg(feature = "mock")]
pub use shop_core::{
    mockall,
    ports::{MockPurchaseEvents, MockPurchasePublisher, MockPurchaseQuery, MockPurchaseSink},
};
pub use tokens::{BearerToken, TokenError, TokenProvider};

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
