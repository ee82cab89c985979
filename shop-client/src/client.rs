//! The client and its calls for purchases.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use shop_core::api::problem::{ERASED, UNKNOWN_PURCHASE};
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
use crate::transport::{Call, Sent, Transport};
use crate::{
    ErrorKind, Health, IdempotencyKey, NewPurchase, Outcome, PublishedPurchase, Purchase,
    PurchaseId, RequestContext, Result, RetryPolicy, Shop,
};

/// A client of facing or of management; both have the same API. Cheap to clone: clones share connections, the bearer
/// token and the retry budget.
///
/// A client dereferences to a [`Shop`] and has its calls: [`buy`](Shop::buy), [`buy_many`](Shop::buy_many),
/// [`buy_all`](Shop::buy_all), [`refund`](Shop::refund), [`user`](Shop::user), [`user_with_name`](Shop::user_with_name),
/// [`all_users`](Shop::all_users), [`get`](Shop::get) and [`close`](Shop::close).
///
/// ```no_run
/// use shop_client::{NewPurchase, ShopClient};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ShopClient::builder("http://localhost:3000").build()?;
/// client.check().await?;
/// let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
/// let bought = client.buy(order.with_key("order-7")).await?;
/// println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
///
/// let spent = client.user("u1").summary().await?;
/// println!("{} purchases for {}", spent.count, spent.total_spent);
/// # Ok(())
/// # }
/// ```
///
/// # Buys
/// All attempts of a [`buy`](Shop::buy) send the same key, the purchase's own or one that is generated. The purchase is
/// recorded once, however often it is sent. What is bought together counts towards
/// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) as so many writes, at most as all of it.
///
/// A buy fails as [`Invalid`](ErrorKind::Invalid), [`Conflict`](ErrorKind::Conflict) when the key was used for another
/// purchase, [`Erased`](ErrorKind::Erased) when that was erased, [`Denied`](ErrorKind::Denied),
/// [`Unavailable`](ErrorKind::Unavailable), [`Overloaded`](ErrorKind::Overloaded), also when
/// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) writes are in flight for the whole time, and
/// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded). The error's [`outcome`](crate::Error::outcome) tells apart a
/// purchase that was not recorded and one that may have been. Its [`idempotency_key`](crate::Error::idempotency_key) is
/// the key to repeat the purchase with.
///
/// # Cancel safety
/// Once polled, a purchase is sent and retried even if the future is dropped, unless it still waits because
/// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) writes are in flight. It counts towards them until the
/// service responds or the retries end.
#[derive(Debug, Clone)]
pub struct ShopClient {
    pub(crate) inner: Arc<ClientInner>,
    correlation: Correlation,
    pub(crate) retries: RetryPolicy,
    /// This client as a shop, once it is needed. It contains clones without one.
    shop: OnceLock<Shop>,
}

#[derive(Debug)]
pub(crate) struct ClientInner {
    pub(crate) transport: Transport,
    /// The writes in flight, whether or not their callers still wait.
    pub(crate) writes: TaskTracker,
    /// The limit of concurrent writes. A write releases its permit when its task ends.
    pub(crate) write_permits: Arc<Semaphore>,
    max_in_flight: usize,
}

/// The maximum wait for a purchase in one request to the service.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(10);

const NO_READINESS: &str =
    "whether it is ready is unknown: the service is older, or at another address";

impl ShopClient {
    pub(crate) fn with_transport(
        transport: Transport,
        retries: RetryPolicy,
        max_in_flight: usize,
    ) -> Self {
        let inner = ClientInner {
            transport,
            writes: TaskTracker::new(),
            write_permits: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
        };
        Self {
            inner: Arc::new(inner),
            correlation: Correlation::default(),
            retries,
            shop: OnceLock::new(),
        }
    }

    /// The service as a [`Shop`], for code that does not depend on the backend. It shares everything with this client.
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
        (**self).clone()
    }

    /// A client whose requests belong to `context`: they send its id as `X-Request-Id`, and its W3C `traceparent`.
    ///
    /// Without a context, that of the [current request](RequestContext::scope) is sent, else a fresh id for each call. The
    /// service logs the id, and an [error](crate::Error) contains it. With the
    /// feature `otel`, the trace is that of the current span.
    ///
    /// ```no_run
    /// use shop_client::{NewPurchase, RequestContext, ShopClient};
    ///
    /// # async fn example(client: ShopClient, order: NewPurchase, id: String) -> Result<(), shop_client::Error> {
    /// let of_this_request = client.with_context(RequestContext::new(Some(id), None));
    /// of_this_request.buy(order).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_context(&self, context: RequestContext) -> Self {
        Self {
            correlation: Correlation::new(context),
            shop: OnceLock::new(),
            ..self.clone()
        }
    }

    /// A client whose calls are retried by `policy`, or at most so many times. Connections, token, limits and the retry
    /// budget are those of this client: the [budget](RetryPolicy::budget) of `policy` is not used.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use shop_client::{NewPurchase, RetryPolicy, ShopClient};
    ///
    /// # async fn example(client: ShopClient, order: NewPurchase) -> Result<(), shop_client::Error> {
    /// // A nightly import has time.
    /// let patient = client.with_retries(RetryPolicy::default().total_timeout(Duration::from_secs(300)));
    /// let bought = patient.buy(order).await?;
    /// println!("bought at attempt {}", bought.attempts);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_retries(&self, policy: impl Into<RetryPolicy>) -> Self {
        let mut policy: RetryPolicy = policy.into();
        policy.timeout = self.retries.timeout;
        Self {
            retries: policy,
            shop: OnceLock::new(),
            ..self.clone()
        }
    }

    /// A client whose calls take at most `time` each, with all attempts and pauses. It replaces the
    /// [total time-out](RetryPolicy::total_timeout) of the retries, and cuts off the time-out of an attempt.
    ///
    /// A write that timed out may have taken effect, as after any lost response.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let hurried = client.with_timeout(Duration::from_millis(300));
    /// println!("{:?}", hurried.user("u1").summary().await);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, time: Duration) -> Self {
        let mut retries = self.retries.clone();
        retries.timeout = Some(time);
        Self {
            retries,
            shop: OnceLock::new(),
            ..self.clone()
        }
    }

    /// Sends a purchase, which has no key itself: `key` is sent in a header, and determines the id.
    pub(crate) async fn send_purchase(
        &self,
        purchase: &NewPurchase,
        key: IdempotencyKey,
        context: Option<&RequestContext>,
    ) -> Result<PublishedPurchase> {
        let id = id_from_key(&purchase.user_id, &key);
        let call = self
            .inner
            .transport
            .write("buy", "v1/purchases", purchase, key)?;
        self.published(call, context, move |published| published.id == id)
            .await
    }

    /// Sends the refund of the purchase `of`. The service derives its id from that, whatever the key is.
    pub(crate) async fn send_refund(
        &self,
        refund: &NewPurchase,
        of: PurchaseId,
        context: Option<&RequestContext>,
    ) -> Result<PublishedPurchase> {
        // As text, which keeps all digits.
        let amount = refund.price.negated().to_string();
        let body = json!({"amount": amount, "reason": refund.details.reason});
        let path = format!("v1/purchases/{of}:refund");
        let mut call = self
            .inner
            .transport
            .write("refund", &path, &body, generate_key())?;
        // 202: the store has not decided over it yet.
        call.accepts = |status| matches!(status, StatusCode::CREATED | StatusCode::ACCEPTED);
        call.not_found_hint = "the service refunds nothing: it is older, or SHOP_REFUNDS is off";
        self.published(call, context, move |published| {
            published.details.of == Some(of)
        })
        .await
    }

    /// The purchase that the service has published, if it is the expected one.
    async fn published(
        &self,
        call: Call,
        context: Option<&RequestContext>,
        is_expected: impl FnOnce(&Purchase) -> bool + Send,
    ) -> Result<PublishedPurchase> {
        let answer = self.send(call, context).await?;
        let published: PublishedPurchase = answer.parsed()?;
        if published.receipt.id != published.purchase.id || !is_expected(&published.purchase) {
            return Err(answer.unreadable("the response contains another purchase"));
        }
        let mut published = published.with_attempts(answer.attempts);
        published.replayed = answer.is_replayed();
        published.pending = answer.is_pending();
        Ok(published)
    }

    /// Sends a write in a separate task, which continues when the caller drops its future.
    pub(crate) async fn send(
        &self,
        call: Call,
        context: Option<&RequestContext>,
    ) -> Result<Response> {
        let start = Instant::now();
        let mut retries = self.retries.clone();
        let total = retries.longest(call.timeout);
        let permit = self.inner.admit(&call, total).await.inspect_err(|error| {
            self.inner.transport.observer.report(
                call.name,
                0,
                start.elapsed(),
                CallState::Failed(error),
            );
        })?;
        retries.timeout = Some(total.saturating_sub(start.elapsed()));
        let inner = Arc::clone(&self.inner);
        // The context of the purchase itself takes precedence over that of the client.
        let correlation = context
            .cloned()
            .map_or_else(|| self.correlation.clone(), Correlation::new)
            .or_current();
        let sending = async move {
            let _permit = permit;
            inner.transport.answer(&call, &correlation, &retries).await
        };
        let task = self.inner.writes.spawn(sending.in_current_span());
        task.await.unwrap_or_else(|error| {
            let message = "the task that sent the request was aborted";
            Err(client_error(ErrorKind::Internal, message).with_source(error))
        })
    }

    /// The response to a query.
    pub(crate) async fn query(&self, call: &Call) -> Result<Response> {
        require_runtime()?;
        let correlation = self.correlation.clone().or_current();
        self.inner
            .transport
            .answer(call, &correlation, &self.retries)
            .await
    }

    /// What the service has under this id, once it is stored; waits for at most `wait`, and at most [`MAX_WAIT`].
    pub(crate) async fn find(&self, id: &PurchaseId, wait: Duration) -> Result<Lookup> {
        let mut parameters = Vec::new();
        if !wait.is_zero() {
            parameters.push(("wait_for", id.to_string()));
            parameters.push(("wait", format!("{:.3}", wait.as_secs_f64())));
        }
        let path = format!("v1/purchases/{id}");
        let mut call = self.inner.transport.query("get", &path, &parameters);
        call.timeout = call.timeout.saturating_add(wait);
        call.outcomes = &[UNKNOWN_PURCHASE, ERASED];
        let answer = self.query(&call).await?;
        match answer.status {
            StatusCode::OK => answer.parsed().map(Lookup::Stored),
            StatusCode::GONE => Ok(Lookup::Erased),
            _ => Ok(Lookup::Missing),
        }
    }

    /// Checks whether the service is ready for requests, by `GET /v1`.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) {
    /// if let Err(error) = client.check().await {
    ///     println!("not now: {error}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The reason why it is not ready. [`Unsupported`](ErrorKind::Unsupported) when that cannot be known: there is no
    /// service at the address, or one that does not have this path yet. A check is not retried.
    pub async fn check(&self) -> Result<()> {
        self.readiness("v1", NO_READINESS, None).await
    }

    /// Checks whether a part of the service works. One that reports no parts works while it is ready.
    pub(crate) async fn check_part(&self, part: &str) -> Result<()> {
        self.readiness("v1", NO_READINESS, Some(part)).await
    }

    /// Checks whether the process can serve anything, as a probe does, by `GET /readyz`. Beside an admin listener, only
    /// that one has this path. An unavailable broker or store does not count.
    ///
    /// # Errors
    /// The reason why it cannot. A check is not retried.
    pub async fn check_process(&self) -> Result<()> {
        self.readiness(
            "readyz",
            "there is no such probe at this address: check it",
            None,
        )
        .await
    }

    /// Returns the currency of all purchases of the shop, if it has one.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) and others when the service does not respond. It is not retried.
    pub async fn currency(&self) -> Result<Option<Currency>> {
        #[derive(Deserialize)]
        struct ServiceBody {
            currency: Option<Currency>,
        }

        let service: ServiceBody = self.report("currency", "v1", &[], NO_READINESS).await?;
        Ok(service.currency)
    }

    async fn readiness(&self, path: &str, hint: &'static str, part: Option<&str>) -> Result<()> {
        let Health { status, parts, .. } = self.report("check", path, &[], hint).await?;
        if part
            .and_then(|part| parts.get(part).copied())
            .unwrap_or(status == "ready")
        {
            return Ok(());
        }
        let message = "the service does not report that it is ready";
        Err(client_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied))
    }

    /// The state that the service reports at `path`, good or bad. It is requested once.
    pub(crate) async fn report<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: &str,
        parameters: &[(&str, String)],
        not_found_hint: &'static str,
    ) -> Result<T> {
        let mut call = self.inner.transport.query(name, path, parameters);
        call.timeout = self.inner.transport.timeouts.check;
        call.repeats = false;
        call.not_found_hint = not_found_hint;
        // A service that is not well says why. Some other server may respond 200 to every request.
        call.accepts = |status| [200, 500, 503].contains(&status.as_u16());
        let answer = self.query(&call).await?;
        answer.parsed().map_err(|error| match answer.status {
            StatusCode::OK => error,
            _ => answer.refused(not_found_hint),
        })
    }
}

/// The client's [`Shop`]: buys, and lists purchases.
impl Deref for ShopClient {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        self.shop.get_or_init(|| {
            Shop::from_publisher(self.clone(), self.clone()).with_events(self.clone())
        })
    }
}

impl ClientInner {
    /// The permit for the writes of this call, once it is free. Permits are given in the order of the calls.
    async fn admit(&self, call: &Call, limit: Duration) -> Result<OwnedSemaphorePermit> {
        require_runtime()?;
        let writes = if let Some(Sent::Batch(batch)) = &call.sent {
            batch.purchases.len()
        } else {
            1
        };
        let writes = u32::try_from(writes.min(self.max_in_flight)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.write_permits).acquire_many_owned(writes);
        let permit = tokio::time::timeout(limit, permit)
            .await
            .map_err(|_all_taken| {
                let message = format!("{} writes of this client are in flight", self.max_in_flight);
                client_error(ErrorKind::Overloaded, message).with_outcome(Outcome::NotApplied)
            })?;
        permit.map_err(|_closed| client_error(ErrorKind::Closed, "the client is closed"))
    }
}

/// Tokio panics outside of a runtime.
pub(crate) fn require_runtime() -> Result<()> {
    Handle::try_current().map(drop).map_err(|error| {
        let message = "a call needs a Tokio runtime: make it within one, or wait for it with BlockingFuture of the feature blocking";
        client_error(ErrorKind::Unsupported, message).with_source(error)
    })
}

/// A new key. It becomes the id of a purchase, as every UUID key does.
pub(crate) fn generate_key() -> IdempotencyKey {
    SystemClock.fresh_id().into()
}
