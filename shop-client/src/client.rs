//! The client and its calls for purchases.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use reqwest::StatusCode;
use serde::Deserialize;
use shop_core::api::problem::UNKNOWN_PURCHASE;
use shop_core::api::{NewPurchaseBody, PublishedBody, PurchaseBody};
use shop_core::id_from_key;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::correlation::Correlation;
use crate::observer::CallState;
use crate::response::Response;
use crate::retries::CallLimits;
use crate::transport::{Call, Transport};
use crate::{
    Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, Purchase, PurchaseId, Receipt, RequestContext,
    Result, RetryPolicy,
};

/// A client of facing or of management; both have the same API. Cheap to clone: clones share connections, the bearer
/// token and the retry budget.
///
/// ```no_run
/// use shop_client::ShopClient;
///
/// # async fn example() -> Result<(), shop_client::Error> {
/// let client = ShopClient::builder("http://localhost:3000").build()?;
/// client.check().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ShopClient {
    pub(crate) inner: Arc<Inner>,
    correlation: Correlation,
    limits: CallLimits,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) transport: Transport,
    /// The writes in flight, whether or not their callers still wait.
    writes: TaskTracker,
    /// The limit of concurrent writes. A write releases its permit when its task ends.
    write_permits: Arc<Semaphore>,
    max_in_flight: usize,
}

/// An accepted purchase, and the proof of it.
///
/// ```no_run
/// # fn example(bought: shop_client::PublishedPurchase) {
/// println!("{} survives: {:?}", bought.purchase.id, bought.receipt.durability);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedPurchase {
    /// The purchase, with its id and its timestamp.
    pub purchase: Purchase,
    /// Its durability, and its position in the log.
    pub receipt: Receipt,
    /// The number of attempts that it took. Above 1 the service may have failed, or a response was lost.
    pub attempts: u32,
}

#[derive(Deserialize)]
struct Readiness {
    status: String,
}

impl ShopClient {
    pub(crate) fn new(transport: Transport, retries: RetryPolicy, max_in_flight: usize) -> Self {
        let write_permits = Arc::new(Semaphore::new(max_in_flight));
        let inner = Inner { transport, writes: TaskTracker::new(), write_permits, max_in_flight };
        let limits = CallLimits { retries, timeout: None };
        Self { inner: Arc::new(inner), correlation: Correlation::default(), limits }
    }

    /// A client whose requests belong to `context`: they send its id as `X-Request-Id`, and its W3C `traceparent`.
    ///
    /// Without a context, each call gets a fresh id. The service logs the id, and an [`Error`] contains it. With the
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
        Self { correlation: Correlation::new(context), ..self.clone() }
    }

    /// A client whose calls are retried by `policy`. Connections, token, limits and the retry budget are those of this
    /// client: the [budget](RetryPolicy::budget) of `policy` is not used.
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
    pub fn with_retries(&self, policy: RetryPolicy) -> Self {
        let limits = CallLimits { retries: policy, ..self.limits.clone() };
        Self { limits, ..self.clone() }
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
    /// println!("{:?}", hurried.user("u1".parse()?).summary().await);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, time: Duration) -> Self {
        let limits = CallLimits { timeout: Some(time), ..self.limits.clone() };
        Self { limits, ..self.clone() }
    }

    /// Buys.
    ///
    /// All attempts send the same key, the purchase's own or one that is generated here. The purchase is recorded once,
    /// however often it is sent.
    ///
    /// ```no_run
    /// use shop_client::{NewPurchase, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let order = NewPurchase::new("u1".parse()?, "ada".parse()?, "29.99".parse()?);
    /// let bought = client.buy(order.with_key("order-7".parse()?)).await?;
    /// println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), [`Conflict`](ErrorKind::Conflict) when the key was used for another purchase,
    /// [`Denied`](ErrorKind::Denied), [`Unavailable`](ErrorKind::Unavailable), [`Overloaded`](ErrorKind::Overloaded),
    /// also when [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) writes are in flight, and
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded). The error's [`outcome`](Error::outcome) tells apart a
    /// purchase that was not recorded and one that may have been. Its [`idempotency_key`](Error::idempotency_key) is
    /// the key to repeat the purchase with.
    ///
    /// # Cancel safety
    /// Once polled, the purchase is sent and retried even if the future is dropped. It counts towards
    /// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight) until the service responds or the retries end.
    pub async fn buy(&self, mut purchase: NewPurchase) -> Result<PublishedPurchase> {
        let fresh = purchase.key.is_none();
        let key = purchase.key.take().unwrap_or_else(generate_key);
        let (published, attempts) = self.publish(&purchase, key.clone(), None).await.map_err(|error| {
            let error = if fresh { error.with_fresh_key() } else { error };
            error.with_key(key)
        })?;
        let PublishedBody { purchase, receipt, .. } = published;
        Ok(PublishedPurchase { purchase: purchase.into(), receipt: receipt.into(), attempts })
    }

    /// Buys all of them, with at most `max_in_flight_batches` in flight, and at most
    /// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight). The stream is polled only as results are read.
    ///
    /// The results are in the order of the purchases. Purchases in flight at the same time may reach the log in another
    /// order. An error does not end the stream: the next result follows.
    ///
    /// ```no_run
    /// use futures_util::{StreamExt, stream};
    /// use shop_client::{NewPurchase, ShopClient};
    ///
    /// # async fn example(client: ShopClient, orders: Vec<NewPurchase>) {
    /// let mut answers = client.buy_all(stream::iter(orders), 64);
    /// while let Some(answer) = answers.next().await {
    ///     match answer {
    ///         Ok(bought) => println!("bought: {}", bought.purchase.id),
    ///         Err(error) => println!("not bought: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the stream discards the results. Purchases in flight are still sent.
    pub fn buy_all<S>(
        &self,
        purchases: S,
        in_flight: usize,
    ) -> impl Stream<Item = Result<PublishedPurchase>> + Send + Unpin + 'static
    where
        S: Stream<Item = NewPurchase> + Send + 'static,
    {
        let client = self.clone();
        let in_flight = in_flight.clamp(1, self.inner.max_in_flight);
        let calls = purchases.map(move |purchase| {
            let client = client.clone();
            async move { client.buy(purchase).await }
        });
        calls.buffered(in_flight).boxed()
    }

    /// Sends a purchase; returns the number of attempts, too. Its key determines its id.
    pub(crate) async fn publish(
        &self,
        purchase: &NewPurchase,
        key: IdempotencyKey,
        context: Option<&RequestContext>,
    ) -> Result<(PublishedBody, u32)> {
        let id = id_from_key(&purchase.user_id, &key);
        let body = NewPurchaseBody::from(purchase);
        let call = self.inner.transport.write("buy", "v1/purchases", &body, key)?;
        let answer = self.send(call, context).await?;
        let published: PublishedBody = answer.parsed()?;
        if published.purchase.id != id || published.receipt.id != id {
            return Err(answer.unreadable("the response contains another purchase"));
        }
        Ok((published, answer.attempts))
    }

    /// Sends a write in a separate task, which continues when the caller drops its future.
    pub(crate) async fn send(&self, call: Call, context: Option<&RequestContext>) -> Result<Response> {
        let permit = self.inner.admit().inspect_err(|error| {
            self.inner.transport.observer.report(call.name, 0, Duration::ZERO, CallState::Failed(error));
        })?;
        let (inner, limits) = (Arc::clone(&self.inner), self.limits.clone());
        let correlation = self.correlation.or_of(context);
        let sending = async move {
            let _permit = permit;
            inner.transport.answer(&call, &correlation, &limits).await
        };
        let task = self.inner.writes.spawn(sending.in_current_span());
        task.await.unwrap_or_else(|error| {
            let message = "the task that sent the request was aborted";
            Err(Error::new(ErrorKind::Internal, message).with_source(error))
        })
    }

    /// The response to a query.
    pub(crate) async fn query(&self, call: &Call) -> Result<Response> {
        require_runtime()?;
        self.inner.transport.answer(call, &self.correlation, &self.limits).await
    }

    /// The purchase with this id, if it is stored.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let purchase = client.get(&"0190163d-8694-739b-aea5-966c26f8ad91".parse()?).await?;
    /// println!("{}", purchase.map_or("unknown".to_owned(), |purchase| purchase.price.to_string()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) and others when the query fails.
    pub async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let transport = &self.inner.transport;
        let url = transport.url(&format!("v1/purchases/{id}"), &[]);
        let mut call = Call::query("get", url, transport.timeouts.get);
        call.outcomes = &[UNKNOWN_PURCHASE];
        let answer = self.query(&call).await?;
        if answer.status != StatusCode::OK {
            return Ok(None);
        }
        answer.parsed().map(|body: PurchaseBody| Some(body.into()))
    }

    /// Checks whether the service is ready for requests.
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
    /// The reason why it is not ready. A check is not retried.
    pub async fn check(&self) -> Result<()> {
        self.check_at("-/ready").await
    }

    /// Checks whether the process can serve anything, as a probe does. An unavailable broker or store does not count.
    ///
    /// # Errors
    /// The reason why it cannot. A check is not retried.
    pub async fn check_process(&self) -> Result<()> {
        self.check_at("readyz").await
    }

    async fn check_at(&self, path: &str) -> Result<()> {
        let transport = &self.inner.transport;
        let mut call = Call::query("check", transport.url(path, &[]), transport.timeouts.check);
        call.repeats = false;
        let answer = self.query(&call).await?;
        // Some other server may respond 200 to every request.
        let ready: Readiness = answer.parsed()?;
        if ready.status == "ready" {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Unavailable, "the service does not report that it is ready")
                .with_outcome(Outcome::NotApplied))
        }
    }

    /// Rejects further writes of this client and its clones, and waits up to `timeout` for those in flight. Queries
    /// still work.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), shop_client::Error> {
    /// client.close(Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when some writes are still in flight after that time.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        self.inner.writes.close();
        require_runtime()?;
        tokio::time::timeout(timeout, self.inner.writes.wait()).await.map_err(|_elapsed| {
            Error::new(ErrorKind::DeadlineExceeded, "some writes were not completed in time")
        })
    }
}

impl Inner {
    /// The permit for one write.
    fn admit(&self) -> Result<OwnedSemaphorePermit> {
        require_runtime()?;
        if self.writes.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the client is closed"));
        }
        Arc::clone(&self.write_permits).try_acquire_owned().map_err(|_all_taken| {
            let message = format!("{} writes of this client are in flight", self.max_in_flight);
            Error::new(ErrorKind::Overloaded, message).with_outcome(Outcome::NotApplied)
        })
    }
}

/// Tokio panics outside of a runtime.
fn require_runtime() -> Result<()> {
    Handle::try_current().map(drop).map_err(|error| {
        let message = "a call needs a Tokio runtime: make it within one, or use BlockingShopClient of the feature blocking";
        Error::new(ErrorKind::Unsupported, message).with_source(error)
    })
}

/// A new key. It becomes the id of a purchase, as every UUID key does.
pub(crate) fn generate_key() -> IdempotencyKey {
    use shop_core::{Clock, SystemClock};
    SystemClock.fresh_id().into()
}
