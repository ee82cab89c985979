//! A typed client of purchase tracking, to be embedded in other services.
//!
//! ```no_run
//! use shop_client::{NewPurchase, ShopClient};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = ShopClient::builder("http://localhost:3000").build()?;
//! let bought = client.buy(NewPurchase::new("u1".parse()?, "ada".parse()?, "29.99".parse()?)).await?;
//! println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
//!
//! let user = client.user("u1".parse()?).waiting_for(&bought.receipt);
//! let spent = user.summary().await?;
//! println!("{} purchases for {}", spent.count, spent.total_spent);
//! # Ok(())
//! # }
//! ```
//!
//! # Make a client once
//!
//! [`ShopClient::builder`] takes the address, and whatever else is to be different: a time-out for each kind of call,
//! a user agent, a [bearer token](ShopClientBuilder::bearer_token) or a [provider](TokenProvider) that renews it, an
//! HTTP client of your own. A client is cheap to clone; clones share connections, token and budget. Plain http needs
//! no certificates on the machine; https verifies with the system's.
//!
//! # Buy, and never twice
//!
//! A purchase has a key that makes it repeatable: your own, such as the number of an order, or one that the client makes.
//! Every attempt of one call sends the same key, so [`buy`](ShopClient::buy) repeats what failed as long as that may
//! help, and it is one purchase all the same. [`RetryPolicy`] says how long, with which pauses and on which budget.
//!
//! The [`Receipt`] tells which crashes the purchase survives, and where it stands in the log.
//! [`buy_all`](ShopClient::buy_all) buys a whole stream, with so many on their way at a time. With keys of your own it
//! can be stopped anywhere and begun again.
//!
//! # Read what was bought
//!
//! [`user`](ShopClient::user) and [`user_named`](ShopClient::user_named) lead to a user's purchases: all of them
//! [as a stream](UserPurchases::purchases), one [page](UserPurchases::page), or what they [come
//! to](UserPurchases::summary). A purchase is listed a moment after it was taken; who wants to see it
//! [waits for it](UserPurchases::waiting_for).
//!
//! # Users and orders
//!
//! A service may have two roles more. [`users`](ShopClient::users) registers users and finds them,
//! [`orders`](ShopClient::orders) places orders and finds those. Both are sent with a key, and repeated, as a buy is. An
//! address that is taken, or a user of whom the orders have not heard yet, is an answer and no error.
//!
//! ```no_run
//! use shop_client::{Placement, Registration, ShopClient};
//!
//! # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
//! let registration = client.users().register_new("ada@example.com".parse()?, "Ada".parse()?).await?;
//! if let Registration::Registered(user) = registration {
//!     match client.orders().place_new(user.id, "Notebook".parse()?, 2, "50.00".parse()?).await? {
//!         Placement::Placed(order) => println!("order {}: {}", order.id, order.total_price),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # When it fails
//!
//! One [`Error`] says what went wrong as a [kind](Error::kind), whether [trying again](Error::is_retryable) may help,
//! and whether the call [took effect](Error::outcome). What a service refuses is named in its [problem](Error::problem). A buy with an unknown outcome has the
//! [key](Error::idempotency_key) to buy it again with. Its [request id](Error::request_id) is in the service's log.
//!
//! # Write against the ports
//!
//! A [`ShopClient`] is a [`PurchaseSink`] and a [`PurchaseQuery`], a [`UserStore`] and an [`OrderStore`]: code that asks
//! for these runs over HTTP, on an embedded log and store, or [in memory](memory), unchanged.
//!
//! ```
//! use shop_client::memory::InMemoryStore;
//! use shop_client::shop_core::Result;
//! use shop_client::{PurchaseQuery, Selector, UserId};
//!
//! /// Knows nothing of HTTP.
//! async fn is_regular(purchases: &dyn PurchaseQuery, user: UserId) -> Result<bool> {
//!     Ok(purchases.summary(&Selector::User(user)).await?.count >= 10)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test; in the program it is `&client`.
//! assert!(!is_regular(&InMemoryStore::new(), "u1".parse()?).await?);
//! # Ok(())
//! # }
//! ```
//!
//! The feature `mock` adds `MockPurchaseSink`, `MockPurchaseQuery`, `MockUserStore` and `MockOrderStore`, for what cannot
//! be brought about in memory: an error of your choice, a number of calls.
//!
//! # Follow a request
//!
//! Every call is a span of `tracing`, and has a request id that the service logs. [`with_context`](ShopClient::in_context)
//! takes over the id and the W3C trace context of the request that you serve; with the feature `otel` the trace is that of
//! the current span, as your OpenTelemetry propagator writes it. Repetitions are events of level debug; nothing is
//! logged above that: an error is for the caller to handle.
//!
//! | module | what it holds |
//! |---|---|
//! | `builder` | how a client is made |
//! | `client`, `listing`, `resource`, `users`, `orders` | what one asks it for |
//! | `error`, `problem` | what can go wrong, and how a service tells it |
//! | `retries` | how failed calls are repeated |
//! | `tokens` | who the client says it is |
//! | `ports` | the client as a sink and as a query, and as a store of users and of orders |
//! | `transport`, `response` | one call and what its answer means, bounded in time and size |
//! | `correlation` | request ids and trace contexts |

mod builder;
mod client;
mod correlation;
mod error;
mod listing;
#[cfg(test)]
mod odd_answers_test;
mod orders;
mod ports;
mod problem;
mod resource;
mod response;
mod retries;
mod tokens;
mod transport;
mod users;

pub use builder::ShopClientBuilder;
pub use client::{PublishedPurchase, ShopClient};
pub use error::{Error, Result};
pub use listing::UserPurchases;
pub use orders::Orders;
pub use problem::Problem;
/// The HTTP client that [`ShopClientBuilder::http_client`] takes.
pub use reqwest;
pub use resource::Resource;
pub use retries::RetryPolicy;
/// The ports, their error and whatever else a program needs that implements a port itself.
pub use shop_core;
pub use shop_core::api::ProblemError;
pub use shop_core::log::RecordPosition;
pub use shop_core::memory;
#[cfg(feature = "mock")]
pub use shop_core::orders::MockOrderStore;
pub use shop_core::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement, Product, TotalPrice};
pub use shop_core::ports::{
    Cursor, Durability, ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, PurchaseSink, Receipt,
    Selector, Summary,
};
#[cfg(feature = "mock")]
pub use shop_core::ports::{MockPurchaseQuery, MockPurchaseSink};
#[cfg(feature = "mock")]
pub use shop_core::users::MockUserStore;
pub use shop_core::users::{Email, NewUser, PersonName, Registration, User, UserNumber, UserStore};
pub use shop_core::{
    ErrorKind, IdempotencyKey, NewPurchase, Outcome, Price, Purchase, PurchaseId, RequestContext, Retry,
    Timestamp, Total, UserId, UserName,
};
pub use tokens::{BearerToken, TokenError, TokenProvider};
pub use users::Users;

/// The README's code is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
