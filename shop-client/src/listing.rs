//! One user's purchases.

use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use shop_core::api::{PageBody, SummaryBody, header};
use tokio::time::Instant;

use crate::response::Response;
use crate::transport::{Call, PAGE_BYTES};
use crate::{
    Error, ErrorKind, ListOrder, Outcome, Page, PageLimit, PageRequest, Purchase, PurchaseId, Receipt,
    Result, Selector, ShopClient, Summary, UserId, UserName,
};

/// One user's purchases: all of them, a page, or their count and sum.
///
/// ```no_run
/// use futures_util::TryStreamExt;
/// use shop_client::ShopClient;
///
/// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
/// let user = client.user("u1".parse()?);
/// println!("{:?}", user.summary().await?);
/// let mut purchases = user.oldest_first().purchases();
/// while let Some(purchase) = purchases.try_next().await? {
///     println!("{} {}", purchase.timestamp, purchase.price);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "no request is sent until a page, the purchases or the summary are read"]
pub struct UserPurchases {
    client: ShopClient,
    selector: Selector,
    order: ListOrder,
    awaited: Option<PurchaseId>,
    /// The maximum wait for the awaited purchase.
    wait_timeout: Duration,
}

/// The default wait for a purchase.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// The maximum wait of one request to the service.
const MAX_WAIT: Duration = Duration::from_secs(10);

impl ShopClient {
    /// The purchases of the user with this id.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let spent = client.user("u1".parse()?).summary().await?;
    /// println!("{} purchases for {}", spent.count, spent.total_spent);
    /// # Ok(())
    /// # }
    /// ```
    pub fn user(&self, id: UserId) -> UserPurchases {
        UserPurchases::new(self.clone(), Selector::User(id))
    }

    /// The purchases of the users with this name.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let spent = client.user_named("ada".parse()?).summary().await?;
    /// println!("{} purchases for {}", spent.count, spent.total_spent);
    /// # Ok(())
    /// # }
    /// ```
    pub fn user_named(&self, name: UserName) -> UserPurchases {
        UserPurchases::new(self.clone(), Selector::Name(name))
    }
}

impl UserPurchases {
    pub(crate) fn new(client: ShopClient, selector: Selector) -> Self {
        Self { client, selector, order: ListOrder::NewestFirst, awaited: None, wait_timeout: DEFAULT_WAIT }
    }

    /// Lists the oldest purchases first.
    pub const fn oldest_first(mut self) -> Self {
        self.order = ListOrder::OldestFirst;
        self
    }

    /// Waits until the purchase of `receipt` is stored, at most 10 s or the [`wait_timeout`](Self::wait_timeout), so
    /// that the results include it.
    ///
    /// A purchase is accepted when it is in the log, and listed when it is in the store. Purchases that were accepted
    /// earlier may be stored later.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use shop_client::{NewPurchase, ShopClient};
    ///
    /// # async fn example(client: ShopClient, order: NewPurchase) -> Result<(), shop_client::Error> {
    /// let bought = client.buy(order).await?;
    /// let user = client.user(bought.purchase.user_id.clone());
    /// assert!(user.clone().waiting_for(&bought.receipt).summary().await?.count >= 1);
    ///
    /// let hurried = user.waiting_for(&bought.receipt).wait_timeout(Duration::from_millis(200));
    /// println!("{:?}", hurried.summary().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Calls fail with [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when the purchase is not stored in
    /// time.
    pub const fn waiting_for(mut self, receipt: &Receipt) -> Self {
        self.awaited = Some(receipt.id);
        self
    }

    /// The maximum wait for the purchase of [`waiting_for`](Self::waiting_for) (default 10 s). The order of the two
    /// calls does not matter.
    pub const fn wait_timeout(mut self, time: Duration) -> Self {
        self.wait_timeout = time;
        self
    }

    /// Reads one page.
    ///
    /// ```no_run
    /// use shop_client::{ListOrder, PageLimit, PageRequest, ShopClient};
    ///
    /// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let first = PageRequest::first(ListOrder::NewestFirst, PageLimit::new(20)?);
    /// let page = client.user("u1".parse()?).page(&first).await?;
    /// let next = first.with_cursor(page.next);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a cursor of another listing,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others when the query fails.
    pub async fn page(&self, request: &PageRequest) -> Result<Page> {
        let order = if request.order == ListOrder::OldestFirst { "oldest" } else { "newest" };
        let mut parameters = self.selection();
        parameters.extend([("order", order.to_owned()), ("limit", request.limit.get().to_string())]);
        parameters.extend(request.cursor.as_ref().map(|cursor| ("cursor", cursor.to_string())));
        let transport = &self.client.inner.transport;
        let url = transport.url("v1/purchases", &parameters);
        let mut call = Call::query("page", url, transport.timeouts.page);
        call.answer_bytes = PAGE_BYTES;
        self.answer(call).await?.parsed().map(|body: PageBody| body.into())
    }

    /// Reads the number of purchases and their exact sum.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let spent = client.user("u1".parse()?).summary().await?;
    /// println!("{} purchases for {}", spent.count, spent.total_spent);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others when the query fails.
    pub async fn summary(&self) -> Result<Summary> {
        let transport = &self.client.inner.transport;
        let url = transport.url("v1/summary", &self.selection());
        let call = Call::query("summary", url, transport.timeouts.summary);
        self.answer(call).await?.parsed().map(|body: SummaryBody| body.into())
    }

    /// All purchases, newest first unless [`oldest_first`](Self::oldest_first) is set. Pages of 1,000 are requested as
    /// the stream is read; at most one page is buffered.
    ///
    /// ```no_run
    /// use futures_util::{StreamExt, TryStreamExt};
    ///
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let latest: Vec<_> = client.user("u1".parse()?).purchases().take(10).try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The stream ends after an error.
    pub fn purchases(&self) -> impl Stream<Item = Result<Purchase>> + Send + Unpin + 'static {
        let first = PageRequest::first(self.order, PageLimit::MAX);
        let pages = stream::try_unfold(Some((self.clone(), first)), |state| async move {
            let Some((mut user, request)) = state else { return Ok(None) };
            let page = user.page(&request).await?;
            let following = page.next_cursor(&request)?;
            // The awaited purchase is stored.
            user.awaited = None;
            let following = following.map(|cursor| (user, request.with_cursor(Some(cursor))));
            Ok::<_, Error>(Some((page, following)))
        });
        pages.map_ok(|page| stream::iter(page.items.into_iter().map(Ok))).try_flatten().boxed()
    }

    /// The query parameters that select the user.
    fn selection(&self) -> Vec<(&'static str, String)> {
        match &self.selector {
            Selector::User(id) => vec![("userid", id.to_string())],
            Selector::Name(name) => vec![("username", name.to_string())],
            Selector::All => vec![("everyone", "true".to_owned())],
            // A service rejects a request without a selection.
            _ => Vec::new(),
        }
    }

    /// The response to `call`, once it includes the awaited purchase.
    async fn answer(&self, mut call: Call) -> Result<Response> {
        let Some(id) = self.awaited else { return self.client.query(&call).await };
        let (start, url, timeout) = (Instant::now(), call.url.clone(), call.timeout);
        loop {
            let left = self.wait_timeout.saturating_sub(start.elapsed());
            let wait = left.min(MAX_WAIT);
            call.url = url.clone();
            let parameters = [("wait_for", id.to_string()), ("wait", format!("{:.3}", wait.as_secs_f64()))];
            call.url.query_pairs_mut().extend_pairs(parameters);
            call.timeout = timeout.saturating_add(wait);
            let answer = self.client.query(&call).await?;
            if answer.header(header::PURCHASE_PENDING).is_none() {
                return Ok(answer);
            }
            if left <= MAX_WAIT {
                let message =
                    format!("purchase {id} was accepted, but is not stored yet: increase wait_timeout");
                return Err(
                    Error::new(ErrorKind::DeadlineExceeded, message).with_outcome(Outcome::NotApplied)
                );
            }
        }
    }
}
