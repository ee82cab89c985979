//! Calls that block the thread, for programs without a Tokio runtime.

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread;

use futures_util::{Stream, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};

/// Makes every call of a client blocking: also those of [`users`](crate::ShopClient::users),
/// [`orders`](crate::ShopClient::orders) and [`user`](crate::Shop::user).
/// [`BlockingStream`] does the same for streams.
///
/// ```no_run
/// use shop_client::{BlockingFuture, BlockingStream, NewPurchase, ShopClient};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ShopClient::builder("http://localhost:3000").build()?;
/// let bought = client.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")).wait()?;
///
/// let user = client.user("u1").wait_for(&bought.receipt);
/// println!("{} purchases", user.summary().wait()?.count);
/// for purchase in user.purchases().wait_each() {
///     println!("{}", purchase?.price);
/// }
/// # Ok(())
/// # }
/// ```
///
/// The calls run on one runtime of this process with one thread, which is started by the first
/// call. Within an asynchronous task, `await` the call: one that blocks holds up other tasks of its
/// thread. When the process ends, writes in flight are aborted; [`close`](crate::Shop::close) waits
/// for them.
pub trait BlockingFuture: Future<Output: Send> + Send + Sized {
    /// Blocks the thread until the call completes.
    ///
    /// # Panics
    /// If the operating system cannot start a thread.
    fn wait(self) -> Self::Output {
        let handle = RUNTIME.handle();
        if Handle::try_current().is_err() {
            return handle.block_on(self);
        }
        // A thread of another runtime must not enter a second one.
        thread::scope(|scope| scope.spawn(|| handle.block_on(self)).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<F: Future<Output: Send> + Send> BlockingFuture for F {}

/// Makes the streams of a client iterators, such as [`purchases`](crate::UserPurchases::purchases)
/// and [`buy_all`](crate::Shop::buy_all).
///
/// ```no_run
/// use shop_client::{BlockingStream, NewPurchase, ShopClient, stream};
///
/// fn import(client: &ShopClient, orders: Vec<NewPurchase>) -> usize {
///     client.buy_all(stream::iter(orders), 64).wait_each().filter(Result::is_ok).count()
/// }
/// ```
pub trait BlockingStream: Stream<Item: Send> + Send + Unpin + Sized {
    /// The items of the stream. Each one blocks the thread until it is there.
    fn wait_each(mut self) -> impl Iterator<Item = Self::Item> {
        std::iter::from_fn(move || self.next().wait())
    }
}

impl<S: Stream<Item: Send> + Send + Unpin> BlockingStream for S {}

#[expect(
    clippy::expect_used,
    reason = "the standard library panics as well if it cannot start a thread"
)]
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("shop-client")
        .enable_all()
        .build()
        .expect("the thread of the blocking client cannot be started")
});
