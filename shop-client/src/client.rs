//! The client, and how it sends its requests.
//!
//! - A write, such as a buy, is sent by `send`: it waits for a permit, and then runs in a task of
//!   its own, which continues if the caller drops its future
//! - A query is sent by `query`, in the future of the caller
//! - A check or a report is a query that is sent once: `request_report`
//!
//! Each hands a [`Call`] to the [`Transport`], which authorizes, sends and retries the call. The
//! ports that are implemented on top of them are in [`ports`](crate::ports).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use shop_api::problem::{ERASED, UNKNOWN_PURCHASE, problem_type};
use shop_core::domain::Currency;
use shop_core::ports::Lookup;
use shop_core::{Clock as _, SystemClock, id_from_key};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::correlation::Correlation;
use crate::error::client_error;
use crate::observer::CallState;
use crate::response::Response;
use crate::transport::{Call, RequestBody, Transport};
use crate::{
    ErrorKind, Health, IdempotencyKey, NewPurchase, Outcome, PublishedPurchase, Purchase,
    PurchaseId, RequestContext, Result, RetryPolicy, Shop,
};

/// A client of facing or of management, which serve the same API.
///
/// A client is cheap to clone: clones share connections, the bearer token and the retry budget.
///
/// [`shop`](Self::shop) returns the client as a [`Shop`], which has the calls about purchases:
/// [`buy`](Shop::buy), [`buy_many`](Shop::buy_many), [`buy_all`](Shop::buy_all),
/// [`refund`](Shop::refund), [`user`](Shop::user), [`user_with_name`](Shop::user_with_name),
/// [`all_users`](Shop::all_users), [`get`](Shop::get) and [`close`](Shop::close).
///
/// ```no_run
/// use shop_client::{NewPurchase, ShopClient};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let shop = ShopClient::builder("http://localhost:3000").build()?.shop();
/// shop.check().await?;
/// let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
/// let bought = shop.buy(order.with_key("order-7")).await?;
/// println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
///
/// let spent = shop.user("u1").summary().await?;
/// println!("{} purchases for {}", spent.count, spent.total_spent);
/// # Ok(())
/// # }
/// ```
///
/// # Buys
/// All attempts of a [`buy`](Shop::buy) send the same key: the key of the purchase, or a generated
/// one. The purchase is recorded once, however often it is sent. Purchases that are bought together
/// count one by one towards [`max_in_flight`](crate::ShopClientBuilder::max_in_flight), but never
/// for more than this limit.
///
/// A buy fails mainly with these kinds:
/// - [`Invalid`](ErrorKind::Invalid) if the purchase is not valid
/// - [`Conflict`](ErrorKind::Conflict) if the key was used for another purchase
/// - [`Erased`](ErrorKind::Erased) if the purchase with this key was erased
/// - [`Denied`](ErrorKind::Denied) if the caller may not buy
/// - [`Unavailable`](ErrorKind::Unavailable) if the service does not respond, or cannot record
///   purchases now
/// - [`Overloaded`](ErrorKind::Overloaded) if the service is overloaded, or if
///   [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) writes were in flight for the whole
///   time
/// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the time is up
///
/// The [`outcome`](crate::Error::outcome) of the error tells apart a purchase that was not recorded
/// and a purchase that may have been recorded. The
/// [`idempotency_key`](crate::Error::idempotency_key) of the error is the key to repeat the
/// purchase with.
///
/// # Cancel safety
/// Once the future of a buy was polled, the purchase is sent and retried even if the future is
/// dropped. The exception is a purchase that still waits because
/// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) writes are in flight. A purchase
/// counts as in flight until the service responds or the retries end.
#[derive(Debug, Clone)]
pub struct ShopClient {
    pub(crate) transport: Arc<Transport>,
    /// The tasks of the writes in flight, whether or not their callers still wait. All clones share
    /// them.
    pub(crate) writes: TaskTracker,
    /// One permit for each write that may be in flight. A write releases its permit when its task
    /// ends.
    pub(crate) write_permits: Arc<Semaphore>,
    max_in_flight: usize,
    correlation: Correlation,
    pub(crate) retries: RetryPolicy,
}

/// The maximum time for which the service waits for a purchase in one request.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(10);

/// A part of the service to check: `None` checks the status of the whole service.
const WHOLE_SERVICE: Option<&str> = None;

/// The type of the problem about a refund that the store refused.
const REFUSED_REFUND: &str = problem_type(ErrorKind::Conflict);

/// The error message if a service does not report at `/v1` whether it is ready.
const NO_READINESS: &str =
    "whether it is ready is unknown: the service is older, or at another address";

impl ShopClient {
    /// Creates a client that sends its calls by `transport`. At most `max_in_flight` writes are sent
    /// at the same time.
    pub(crate) fn with_transport(
        transport: Transport,
        retries: RetryPolicy,
        max_in_flight: usize,
    ) -> Self {
        Self {
            transport: Arc::new(transport),
            writes: TaskTracker::new(),
            write_permits: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            correlation: Correlation::default(),
            retries,
        }
    }

    /// Returns the service as a [`Shop`], for code that does not depend on the backend.
    ///
    /// The shop shares everything with this client. Keep it: each call makes another one.
    ///
    /// ```no_run
    /// use shop_client::{NewPurchase, Shop, ShopClient};
    ///
    /// async fn checkout(shop: &Shop, order: NewPurchase) -> shop_client::Result<()> {
    ///     let bought = shop.buy(order).await?;
    ///     println!("bought: {}", bought.purchase.id);
    ///     Ok(())
    /// }
    ///
    /// # async fn example(client: ShopClient, order: NewPurchase) -> shop_client::Result<()> {
    /// // In a test: `Shop::in_memory()`, or `Shop::new` mocks.
    /// checkout(&client.shop(), order).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shop(&self) -> Shop {
        Shop::from_publisher(self.clone(), self.clone()).with_events(self.clone())
    }

    /// Returns a client whose requests belong to `context`: they send the id of the context as
    /// `X-Request-Id`, and its W3C `traceparent`.
    ///
    /// A client without a context sends the context of the
    /// [current request](RequestContext::scope), or else a fresh id for each call. The service logs
    /// the id, and an [error](crate::Error) contains the id. With the feature `otel`, the trace is
    /// the trace of the current span.
    ///
    /// ```no_run
    /// use shop_client::{NewPurchase, RequestContext, ShopClient};
    ///
    /// # async fn example(client: ShopClient, order: NewPurchase, id: String) -> Result<(), shop_client::Error> {
    /// let of_this_request = client.with_context(RequestContext::new(Some(id), None));
    /// of_this_request.shop().buy(order).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_context(&self, context: RequestContext) -> Self {
        let mut client = self.clone();
        client.correlation = Correlation::new(context);
        client
    }

    /// Returns a client whose calls are retried by `policy`, which may also be a maximum number of
    /// retries.
    ///
    /// The connections, the token, the limits and the retry budget are shared with this client: the
    /// [budget](RetryPolicy::budget) of `policy` is not used.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use shop_client::{NewPurchase, RetryPolicy, ShopClient};
    ///
    /// # async fn example(client: ShopClient, order: NewPurchase) -> Result<(), shop_client::Error> {
    /// // A nightly import has time.
    /// let patient = client.with_retries(RetryPolicy::default().total_timeout(Duration::from_secs(300)));
    /// let bought = patient.shop().buy(order).await?;
    /// println!("bought at attempt {}", bought.attempts);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_retries(&self, policy: impl Into<RetryPolicy>) -> Self {
        let mut client = self.clone();
        client.retries = policy.into();
        client.retries.timeout = self.retries.timeout;
        client
    }

    /// Returns a client whose calls take at most `time` each, with all attempts and pauses.
    ///
    /// `time` replaces the [total time-out](RetryPolicy::total_timeout) of the retries, and cuts
    /// off the time-out of an attempt.
    ///
    /// A write that timed out may have taken effect, as after any lost response.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let hurried = client.with_timeout(Duration::from_millis(300));
    /// println!("{:?}", hurried.shop().user("u1").summary().await);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, time: Duration) -> Self {
        let mut client = self.clone();
        client.retries.timeout = Some(time);
        client
    }

    /// Sends `purchase`, which must contain no key itself. `key` is sent in a header, and determines
    /// the id of the purchase.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the response contains another purchase
    /// - The errors of a buy: see [`ShopClient`]
    pub(crate) async fn send_purchase(
        &self,
        purchase: &NewPurchase,
        key: IdempotencyKey,
        context: Option<&RequestContext>,
    ) -> Result<PublishedPurchase> {
        let expected_id = id_from_key(&purchase.user_id, &key);
        let call = self.transport.write("buy", "v1/purchases", purchase, key)?;
        self.send_and_read_purchase(call, context, move |recorded| recorded.id == expected_id)
            .await
    }

    /// Sends the refund of the purchase `refunded_id`. The service derives the id of the refund
    /// from the id of the purchase, whatever the key is.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the service does not refund, or if the response
    ///   contains another purchase
    /// - The errors of a buy: see [`ShopClient`]
    pub(crate) async fn send_refund(
        &self,
        refund: &NewPurchase,
        refunded_id: PurchaseId,
        context: Option<&RequestContext>,
    ) -> Result<PublishedPurchase> {
        // A text keeps all digits, which a number in JSON may lose.
        let amount = refund.price.negated().to_string();
        let body = json!({"amount": amount, "reason": refund.details.reason});
        let path = format!("v1/purchases/{refunded_id}:refund");
        let mut call = self
            .transport
            .write("refund", &path, &body, generate_key())?;
        // With 202, the store has not decided on the refund yet.
        call.expects_status = |status| matches!(status, StatusCode::CREATED | StatusCode::ACCEPTED);
        call.not_found_hint = "the service refunds nothing: it is older, or SHOP_REFUNDS is off";
        self.send_and_read_purchase(call, context, move |recorded| {
            recorded.details.of == Some(refunded_id)
        })
        .await
    }

    /// Sends a write, and returns the purchase that the service published. `is_expected` tells
    /// whether this purchase is the one that was sent.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the response contains another purchase
    /// - The errors of [`send`](Self::send)
    async fn send_and_read_purchase(
        &self,
        call: Call,
        context: Option<&RequestContext>,
        is_expected: impl FnOnce(&Purchase) -> bool + Send,
    ) -> Result<PublishedPurchase> {
        let response = self.send(call, context).await?;
        let mut published: PublishedPurchase = response.parse_json()?;
        if published.receipt.id != published.purchase.id || !is_expected(&published.purchase) {
            return Err(response.unreadable_error("the response contains another purchase"));
        }

        published.attempts = response.attempts;
        published.replayed = response.is_replayed();
        published.pending = response.is_pending();
        Ok(published)
    }

    /// Sends a write in a separate task, which continues if the caller drops its future.
    ///
    /// `context` is the context of the write itself, if there is one. It takes precedence over the
    /// context of this client.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if too many writes are in flight for the whole time
    /// - [`Closed`](ErrorKind::Closed) if the client is closed
    /// - [`Unsupported`](ErrorKind::Unsupported) outside of a Tokio runtime
    /// - [`Internal`](ErrorKind::Internal) if the runtime shuts down, or if the task panics
    /// - The error of the last attempt
    pub(crate) async fn send(
        &self,
        call: Call,
        context: Option<&RequestContext>,
    ) -> Result<Response> {
        let start = Instant::now();
        let mut retries = self.retries.clone();
        let time_limit = retries.max_call_duration(call.timeout);

        let permit = self
            .acquire_permit(&call, time_limit)
            .await
            .inspect_err(|error| {
                let attempts = 0;
                self.transport.observer.report(
                    call.name,
                    attempts,
                    start.elapsed(),
                    CallState::Failed(error),
                );
            })?;
        // The wait for the permit counts towards the time of the call.
        retries.timeout = Some(time_limit.saturating_sub(start.elapsed()));

        let correlation = context
            .cloned()
            .map_or_else(|| self.correlation.clone(), Correlation::new)
            .or_current();
        let transport = Arc::clone(&self.transport);
        let sending = async move {
            let _permit = permit;
            transport.execute(&call, &correlation, &retries).await
        };
        let task = self.writes.spawn(sending.in_current_span());
        task.await.unwrap_or_else(|error| {
            let message = "the task that sent the request was aborted";
            Err(client_error(ErrorKind::Internal, message).with_source(error))
        })
    }

    /// Waits for a permit for all writes of `call`, for at most `time_limit`. Calls get their
    /// permits in the order in which they began to wait.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if there is no permit in time
    /// - [`Closed`](ErrorKind::Closed) if the client is closed
    /// - [`Unsupported`](ErrorKind::Unsupported) outside of a Tokio runtime
    async fn acquire_permit(
        &self,
        call: &Call,
        time_limit: Duration,
    ) -> Result<OwnedSemaphorePermit> {
        require_runtime()?;
        let write_count = if let Some(RequestBody::Batch(batch)) = &call.body {
            batch.purchases.len()
        } else {
            1
        };
        // A batch with more purchases than permits takes all permits, so it waits until no other
        // write is in flight.
        let permit_count = write_count.min(self.max_in_flight);
        let permit_count = u32::try_from(permit_count).unwrap_or(u32::MAX);

        let acquisition = Arc::clone(&self.write_permits).acquire_many_owned(permit_count);
        let acquired_permit = tokio::time::timeout(time_limit, acquisition)
            .await
            .map_err(|_elapsed| {
                let message = format!("{} writes of this client are in flight", self.max_in_flight);
                client_error(ErrorKind::Overloaded, message)
            })?;
        acquired_permit.map_err(|_closed| client_error(ErrorKind::Closed, "the client is closed"))
    }

    /// Sends a query, and returns its response.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) outside of a Tokio runtime
    /// - The error of the last attempt
    pub(crate) async fn query(&self, call: &Call) -> Result<Response> {
        require_runtime()?;
        let correlation = self.correlation.clone().or_current();
        self.transport
            .execute(call, &correlation, &self.retries)
            .await
    }

    /// Looks up the purchase `id` in the store of the service. Waits for at most `wait` until the
    /// purchase is stored.
    ///
    /// `wait` must not be longer than [`MAX_WAIT`]. A stored purchase is as durable as the store.
    ///
    /// # Errors
    /// Returns the errors of [`query`](Self::query).
    pub(crate) async fn find(&self, id: &PurchaseId, wait: Duration) -> Result<Lookup> {
        let mut parameters = Vec::new();
        if !wait.is_zero() {
            parameters.push(("wait_for", id.to_string()));
            parameters.push(("wait", format!("{:.3}", wait.as_secs_f64())));
        }

        let path = format!("v1/purchases/{id}");
        let mut call = self
            .transport
            .query("get", &path, &parameters)
            .with_large_response();
        call.timeout = call.timeout.saturating_add(wait);
        call.expects_status = |status| matches!(status, StatusCode::OK | StatusCode::ACCEPTED);
        // A refund that the store refused will never be in the store.
        call.expected_problems = &[UNKNOWN_PURCHASE, ERASED, REFUSED_REFUND];

        let response = self.query(&call).await?;
        match response.status {
            StatusCode::OK => response.parse_json().map(Lookup::Stored),
            // The store keeps a refund until its purchase arrives.
            StatusCode::ACCEPTED => response.parse_json().map(Lookup::Waiting),
            StatusCode::GONE => Ok(Lookup::Erased),
            // The other expected problems: an unknown purchase, or a refused refund.
            _ => Ok(Lookup::Missing),
        }
    }

    /// Checks whether the service is ready for requests, by `GET /v1`.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) {
    /// if let Err(error) = client.shop().check().await {
    ///     println!("not now: {error}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the reason why the service is not ready, or [`Unsupported`](ErrorKind::Unsupported)
    /// if the readiness cannot be known: there is no service at the address, or one that does not
    /// serve this path yet. A check is not retried.
    pub async fn check(&self) -> Result<()> {
        self.check_readiness("v1", NO_READINESS, WHOLE_SERVICE)
            .await
    }

    /// Checks whether a part of the service works. If the service does not report this part, checks
    /// whether the service is ready.
    ///
    /// # Errors
    /// Returns the errors of [`check`](Self::check).
    pub async fn check_part(&self, part: &str) -> Result<()> {
        self.check_readiness("v1", NO_READINESS, Some(part)).await
    }

    /// Returns whether a part of the service works, or `None` if the service does not report this
    /// part.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) and other kinds if the service does not respond. The
    /// request is not retried.
    pub async fn part(&self, part: &str) -> Result<Option<bool>> {
        let report: Health = self
            .request_report("check", "v1", &[], NO_READINESS)
            .await?;
        Ok(report.parts.get(part).copied())
    }

    /// Checks whether the process is ready to serve requests, by the readiness probe `GET /readyz`.
    ///
    /// An unavailable broker or store does not fail this check. If there is an admin listener, only
    /// the admin listener serves this path.
    ///
    /// # Errors
    /// Returns the reason why the process is not ready. A check is not retried.
    pub async fn check_process(&self) -> Result<()> {
        self.check_readiness(
            "readyz",
            "there is no such probe at this address: check it",
            WHOLE_SERVICE,
        )
        .await
    }

    /// Returns the currency of all purchases of the shop, if its store has one.
    ///
    /// # Errors
    /// Returns [`Unavailable`](ErrorKind::Unavailable) and other kinds if the service does not
    /// respond, or does not know yet which currency its store has. The request is not retried.
    pub async fn currency(&self) -> Result<Option<Currency>> {
        #[derive(Deserialize)]
        struct ServiceBody {
            currency: Option<Currency>,
            #[serde(default)]
            parts: BTreeMap<String, bool>,
        }

        let service: ServiceBody = self
            .request_report("currency", "v1", &[], NO_READINESS)
            .await?;
        if service.currency.is_none() && service.parts.get("currency") == Some(&false) {
            let message = "the service does not know yet which currency its store has";
            let error = client_error(ErrorKind::Unavailable, message);
            return Err(error.with_outcome(Outcome::NotApplied));
        }
        Ok(service.currency)
    }

    /// Checks the report at `path`: `part` must work if the report contains this part. If it does
    /// not, or if no part is asked for, the service must be ready.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if the part does not work or the service is not
    ///   ready
    /// - The errors of [`request_report`](Self::request_report)
    async fn check_readiness(
        &self,
        path: &str,
        not_found_hint: &'static str,
        part: Option<&str>,
    ) -> Result<()> {
        let report: Health = self
            .request_report("check", path, &[], not_found_hint)
            .await?;
        let part_works = part.and_then(|part| report.parts.get(part).copied());
        if part_works.unwrap_or(report.status == "ready") {
            return Ok(());
        }

        let message = "the service does not report that it is ready";
        Err(client_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied))
    }

    /// Requests the report of the service at `path` once, and returns the report, whether its state
    /// is good or bad.
    ///
    /// # Errors
    /// - The error in the response, if it is an error without a report
    /// - [`Unsupported`](ErrorKind::Unsupported) with `not_found_hint` if the path does not exist,
    ///   or without it if the response is no report
    /// - [`Unavailable`](ErrorKind::Unavailable) and other kinds if the service does not respond
    pub(crate) async fn request_report<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &str,
        parameters: &[(&str, String)],
        not_found_hint: &'static str,
    ) -> Result<T> {
        let mut call = self.transport.query(name, path, parameters);
        call.timeout = self.transport.timeouts.check;
        call.is_repeatable = false;
        call.not_found_hint = not_found_hint;
        // A service with a bad state reports it with an error status.
        call.expects_status = |status| [200, 500, 503].contains(&status.as_u16());

        let response = self.query(&call).await?;
        response
            .parse_json()
            .map_err(|error| match response.status {
                // Another server may respond to every request with 200.
                StatusCode::OK => error,
                _ => response.refusal_error(not_found_hint),
            })
    }
}

/// Checks that the caller runs in a Tokio runtime. Outside of one, Tokio would panic.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) outside of a runtime.
pub(crate) fn require_runtime() -> Result<()> {
    Handle::try_current().map(drop).map_err(|error| {
        let message = "a call needs a Tokio runtime: make it within one, or wait for it with BlockingFuture of the feature blocking";
        client_error(ErrorKind::Unsupported, message).with_source(error)
    })
}

/// Generates a key. The key becomes the id of a purchase, as every UUID key does.
pub(crate) fn generate_key() -> IdempotencyKey {
    SystemClock.fresh_id().into()
}
