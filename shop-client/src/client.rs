//! What one asks the client for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use reqwest::StatusCode;
use serde::Deserialize;
use shop_core::api::problem::UNKNOWN_PURCHASE;
use shop_core::api::{NewPurchaseBody, PublishedBody, PurchaseBody};
use shop_core::id_from_key;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::correlation::Correlation;
use crate::response::Response;
use crate::transport::{Call, Transport};
use crate::{
    Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, Purchase, PurchaseId, Receipt, RequestContext,
    Result,
};

/// A client of facing, or of management: both speak the same API. Cheap to clone; clones share connections, the
/// bearer token and the budget of repetitions.
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
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) transport: Transport,
    /// What is on its way to be written, whether or not somebody waits for it.
    writes: TaskTracker,
    /// How many writes there may be at once. A write gives its permit back when its task ends.
    write_permits: Arc<Semaphore>,
    max_in_flight: usize,
}

/// A purchase that was taken, and the proof of it.
///
/// ```no_run
/// # fn example(bought: shop_client::PublishedPurchase) {
/// println!("{} survives: {:?}", bought.purchase.id, bought.receipt.durability);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedPurchase {
    /// The purchase, with its id and its time.
    pub purchase: Purchase,
    /// What it survives, and where it stands.
    pub receipt: Receipt,
}

#[derive(Deserialize)]
struct Readiness {
    status: String,
}

impl ShopClient {
    pub(crate) fn new(transport: Transport, max_in_flight: usize) -> Self {
        let write_permits = Arc::new(Semaphore::new(max_in_flight));
        let inner = Inner { transport, writes: TaskTracker::new(), write_permits, max_in_flight };
        Self { inner: Arc::new(inner), correlation: Correlation::default() }
    }

    /// A client whose requests belong to `context`: they carry its id as `X-Request-Id` and its W3C `traceparent`.
    ///
    /// Without it every call has an id of its own, which the service logs and an [`Error`] tells. With the
    /// feature `otel` the trace is that of the current span.
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
        Self { inner: Arc::clone(&self.inner), correlation: Correlation::new(context) }
    }

    /// Buys.
    ///
    /// A purchase has one key on every attempt, its own or one that is made here, so it is one purchase however
    /// often it is sent.
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
    /// [`Invalid`](ErrorKind::Invalid), [`Conflict`](ErrorKind::Conflict) when the key was used for another
    /// purchase, [`Denied`](ErrorKind::Denied), [`Unavailable`](ErrorKind::Unavailable),
    /// [`Overloaded`](ErrorKind::Overloaded), also when [`max_in_flight`](crate::ShopClientBuilder::max_in_flight)
    /// writes are not answered yet, [`DeadlineExceeded`](ErrorKind::DeadlineExceeded). Its
    /// [`outcome`](Error::outcome) says whether the purchase may have been taken all the same, and its
    /// [`idempotency_key`](Error::idempotency_key) is the one to buy it again with.
    ///
    /// # Cancel safety
    /// Once polled, the purchase is sent, and repeated, whether or not the future is polled again. Until it is answered
    /// or given up it counts as one of [`max_in_flight`](crate::ShopClientBuilder::max_in_flight).
    pub async fn buy(&self, mut purchase: NewPurchase) -> Result<PublishedPurchase> {
        let fresh = purchase.key.is_none();
        let key = purchase.key.take().unwrap_or_else(generate_key);
        let published = self.publish(&purchase, key.clone(), None).await.map_err(|error| {
            let error = if fresh { error.with_fresh_key() } else { error };
            error.with_key(key)
        })?;
        Ok(PublishedPurchase { purchase: published.purchase.into(), receipt: published.receipt.into() })
    }

    /// Buys all of them, with at most `max_in_flight_batches` on their way at a time, and no more than
    /// [`max_in_flight`](crate::ShopClientBuilder::max_in_flight). No more are taken from the stream than
    /// that, and none when nobody reads the answers.
    ///
    /// The answers are in the order of the purchases: the tenth is about the tenth. Those on their way at the same
    /// time may reach the log in another order. An answer that is an error ends nothing: the next one follows.
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
    /// Dropping the stream gives up the answers; what is on its way is sent all the same.
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

    /// Sends a purchase, whose id the key gives it.
    pub(crate) async fn publish(
        &self,
        purchase: &NewPurchase,
        key: IdempotencyKey,
        context: Option<&RequestContext>,
    ) -> Result<PublishedBody> {
        let id = id_from_key(&purchase.user_id, &key);
        let body = NewPurchaseBody::from(purchase);
        let call = self.inner.transport.write("buy", "v1/purchases", &body, key)?;
        let answer = self.send(call, context).await?;
        let published: PublishedBody = answer.parsed()?;
        if published.purchase.id != id || published.receipt.id != id {
            return Err(answer.unreadable("the answer is about another purchase"));
        }
        Ok(published)
    }

    /// Sends what is to be written in a task of its own: whoever asked may go away, it is sent all the same.
    pub(crate) async fn send(&self, call: Call, context: Option<&RequestContext>) -> Result<Response> {
        if self.inner.writes.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the client is closed"));
        }
        let permit = Arc::clone(&self.inner.write_permits).try_acquire_owned().map_err(|_all_taken| {
            let message = format!("{} writes of this client are in flight", self.inner.max_in_flight);
            Error::new(ErrorKind::Overloaded, message).with_outcome(Outcome::NotApplied)
        })?;
        let (inner, correlation) = (Arc::clone(&self.inner), self.correlation.or_of(context));
        let sending = async move {
            let _permit = permit;
            inner.transport.answer(&call, &correlation).await
        };
        let task = self.inner.writes.spawn(sending.in_current_span());
        task.await.unwrap_or_else(|error| {
            let message = "the task that sent it has ended";
            Err(Error::new(ErrorKind::Internal, message).with_source(error))
        })
    }

    /// The answer to a question.
    pub(crate) async fn query(&self, call: &Call) -> Result<Response> {
        self.inner.transport.answer(call, &self.correlation).await
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
    /// [`Unavailable`](ErrorKind::Unavailable) and the like when it cannot be asked for.
    pub async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let transport = &self.inner.transport;
        let url = transport.url(&format!("v1/purchases/{id}"), &[]);
        let mut call = Call::question("get", url, transport.timeouts.get);
        call.outcomes = &[UNKNOWN_PURCHASE];
        let answer = self.query(&call).await?;
        if answer.status != StatusCode::OK {
            return Ok(None);
        }
        answer.parsed().map(|body: PurchaseBody| Some(body.into()))
    }

    /// Whether the service is ready for requests.
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
    /// Why not. Asked once: whoever wants to know how it is now does not wait for it to change.
    pub async fn check(&self) -> Result<()> {
        self.check_at("-/ready").await
    }

    /// Whether the process that serves here can answer anything, as a probe asks it: a broker or a store that is
    /// unavailable does not count.
    ///
    /// # Errors
    /// Why not. There are no retries.
    pub async fn check_process(&self) -> Result<()> {
        self.check_at("readyz").await
    }

    async fn check_at(&self, path: &str) -> Result<()> {
        let transport = &self.inner.transport;
        let mut call = Call::question("check", transport.url(path, &[]), transport.timeouts.check);
        call.repeats = false;
        let answer = self.query(&call).await?;
        // Some other server may answer 200 to everything.
        let ready: Readiness = answer.parsed()?;
        if ready.status == "ready" {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Unavailable, "the service does not say that it is ready")
                .with_outcome(Outcome::NotApplied))
        }
    }

    /// Refuses further buys of this client and its clones, and waits for those on their way, at most for
    /// `deadline`; so too with users and orders. Questions are still answered.
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
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when some were not answered by then.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner.writes.close();
        tokio::time::timeout(deadline, self.inner.writes.wait()).await.map_err(|_elapsed| {
            Error::new(ErrorKind::DeadlineExceeded, "some of what was sent was not answered in time")
        })
    }
}

/// A key of nothing else. Of a purchase it is the id, as every UUID key is.
pub(crate) fn generate_key() -> IdempotencyKey {
    use shop_core::{Clock, SystemClock};
    SystemClock.fresh_id().into()
}
