//! Calls that block the thread, for programs without a Tokio runtime. Feature `blocking`.
//!
//! [`BlockingFuture`] waits for a call, and [`BlockingStream`] for each item of a stream. Both are
//! implemented for every future and every unpinned stream that can be sent to another thread with
//! its results, so the client needs no second, blocking set of calls.
//!
//! The calls run on one runtime of the process, which the first call starts. Its one thread drives
//! the connections, and the tasks of writes for which no caller waits any more.

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread;

use futures_util::{Stream, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};

/// Makes every call of a client blocking, including the calls of [`user`](crate::Shop::user) and
/// of other crates.
///
/// For streams, there is [`BlockingStream`].
///
/// ```no_run
/// use shop_client::{BlockingFuture, BlockingStream, NewPurchase, ShopClient};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shop = ShopClient::builder("http://localhost:3000").build()?.shop();
/// let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")).wait()?;
///
/// let user = shop.user("u1").wait_for(&bought.receipt);
/// println!("{} purchases", user.summary().wait()?.count);
/// for purchase in user.purchases().wait_each() {
///     println!("{}", purchase?.price);
/// }
/// # Ok(())
/// # }
/// ```
///
/// The calls run on one runtime of this process with one thread, which is started by the first
/// call. Within an asynchronous task, `await` the call instead: a call that blocks holds up the
/// other tasks of its thread. When the process ends, writes in flight are aborted:
/// [`close`](crate::Shop::close) waits for the writes before.
pub trait BlockingFuture: Future<Output: Send> + Send + Sized {
    /// Blocks the thread until the call completes, and returns its result.
    ///
    /// # Panics
    /// Panics if the operating system cannot start a thread, or if the call panics.
    fn wait(self) -> Self::Output {
        let handle = RUNTIME.handle();
        if Handle::try_current().is_err() {
            return handle.block_on(self);
        }

        // A thread of another runtime must not enter a second runtime.
        thread::scope(|scope| scope.spawn(|| handle.block_on(self)).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<F: Future<Output: Send> + Send> BlockingFuture for F {}

/// Turns the streams of a client into iterators, such as
/// [`purchases`](crate::UserPurchases::purchases) and [`buy_all`](crate::Shop::buy_all).
///
/// ```no_run
/// use shop_client::{BlockingStream, NewPurchase, Shop, stream};
///
/// fn import(shop: &Shop, orders: Vec<NewPurchase>) -> usize {
///     shop.buy_all(stream::iter(orders), 64).wait_each().filter(Result::is_ok).count()
/// }
/// ```
pub trait BlockingStream: Stream<Item: Send> + Send + Unpin + Sized {
    /// Returns an iterator over the items of the stream, which blocks the thread until the next
    /// item is there.
    ///
    /// # Panics
    /// The iterator panics if the operating system cannot start a thread, or if the stream panics.
    fn wait_each(mut self) -> impl Iterator<Item = Self::Item> {
        std::iter::from_fn(move || self.next().wait())
    }
}

impl<S: Stream<Item: Send> + Send + Unpin> BlockingStream for S {}

/// The runtime of all blocking calls of this process.
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
