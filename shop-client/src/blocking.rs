//! The client for programs without a Tokio runtime.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::client_error;
use crate::{ErrorKind, NewPurchase, PublishedPurchase, Purchase, PurchaseId, Result, ShopClient};

/// A [`ShopClient`] whose calls block the thread. Cheap to clone.
///
/// It has a runtime with one thread, which the clones share. Calls that have no blocking version here are made with
/// [`block_on`](Self::block_on), and streams are read with [`iter`](Self::iter).
///
/// ```no_run
/// use shop_client::{BlockingShopClient, NewPurchase, ShopClient};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = BlockingShopClient::new(ShopClient::builder("http://localhost:3000").build()?)?;
/// let bought = client.buy(NewPurchase::of("u1").named("ada").priced("29.99")?)?;
///
/// let user = client.shop_client().user("u1".parse()?).waiting_for(&bought.receipt);
/// println!("{} purchases", client.block_on(user.summary())?.count);
/// for purchase in client.iter(user.purchases()) {
///     println!("{}", purchase?.price);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Within an asynchronous task use [`ShopClient`]: a call that blocks holds up other tasks of its thread. When the last
/// clone is dropped, writes in flight are aborted; [`close`](Self::close) waits for them.
#[derive(Debug, Clone)]
pub struct BlockingShopClient {
    client: ShopClient,
    runtime: Arc<BackgroundRuntime>,
}

impl BlockingShopClient {
    /// Makes the calls of `client` block.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when the operating system cannot start the thread.
    pub fn new(client: ShopClient) -> Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("shop-client").enable_all().build();
        let runtime = runtime.map_err(|error| {
            client_error(ErrorKind::Unavailable, "the thread of the client cannot be started")
                .with_source(error)
        })?;
        let handle = runtime.handle().clone();
        Ok(Self { client, runtime: Arc::new(BackgroundRuntime { handle, runtime: Some(runtime) }) })
    }

    /// The client whose calls block.
    #[must_use]
    pub const fn shop_client(&self) -> &ShopClient {
        &self.client
    }

    /// The same runtime with another client, such as one that has a [context](ShopClient::with_context).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # fn example(client: shop_client::BlockingShopClient) -> Result<(), shop_client::Error> {
    /// let hurried = client.with_client(client.shop_client().with_timeout(Duration::from_millis(300)));
    /// hurried.check()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_client(&self, client: ShopClient) -> Self {
        Self { client, ..self.clone() }
    }

    /// Buys, as [`ShopClient::buy`].
    ///
    /// # Errors
    /// As [`ShopClient::buy`].
    pub fn buy(&self, purchase: NewPurchase) -> Result<PublishedPurchase> {
        self.block_on(self.client.buy(purchase))
    }

    /// The purchase with this id, if it is stored, as [`ShopClient::get`].
    ///
    /// # Errors
    /// As [`ShopClient::get`].
    pub fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        self.block_on(self.client.get(id))
    }

    /// Checks whether the service is ready for requests, as [`ShopClient::check`].
    ///
    /// # Errors
    /// As [`ShopClient::check`].
    pub fn check(&self) -> Result<()> {
        self.block_on(self.client.check())
    }

    /// Rejects further writes and waits for those in flight, as [`ShopClient::close`].
    ///
    /// # Errors
    /// As [`ShopClient::close`].
    pub fn close(&self, timeout: Duration) -> Result<()> {
        self.block_on(self.client.close(timeout))
    }

    /// Blocks the thread until `future` completes, such as a call of [`shop_client`](Self::shop_client).
    pub fn block_on<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send,
    {
        let handle = &self.runtime.handle;
        if Handle::try_current().is_err() {
            return handle.block_on(future);
        }
        // A thread of another runtime must not enter a second one.
        let result = thread::scope(|scope| scope.spawn(|| handle.block_on(future)).join());
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The items of `stream`, such as those of [`UserPurchases::purchases`](crate::UserPurchases::purchases). Each one
    /// blocks the thread.
    pub fn iter<S>(&self, mut stream: S) -> impl Iterator<Item = S::Item>
    where
        S: Stream<Item: Send> + Send + Unpin,
    {
        let client = self.clone();
        std::iter::from_fn(move || client.block_on(stream.next()))
    }
}

/// A runtime that can be dropped anywhere: tokio's own drop waits for its threads, and panics within a task.
#[derive(Debug)]
struct BackgroundRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
