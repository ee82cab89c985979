//! The port that follows purchases as they become visible.

use std::fmt::Debug;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{FeedCursor, FeedItem};
use crate::Result;
use crate::ports::Selector;

/// Follows purchases as they become visible: those of a log by a [`PurchaseFeed`](crate::feed::PurchaseFeed), those of a
/// service by a `ShopClient`.
///
/// ```
/// use shop_core::TryStreamExt;
/// use shop_core::ports::{PurchaseEvents, Selector};
///
/// # async fn example(events: &dyn PurchaseEvents) -> shop_core::Result<()> {
/// let mut purchases = events.events(&Selector::All, None).await?;
/// while let Some(item) = purchases.try_next().await? {
///     println!("{}, continue at {}", item.purchase.price, item.cursor);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - What becomes visible after the call has returned is yielded once, in the order of each user
///   (`events::purchases_are_yielded_in_order_and_once`).
/// - A cursor continues behind its event, also in another process (`events::a_cursor_yields_exactly_the_rest`).
/// - A cursor that cannot be continued is refused (`events::a_foreign_cursor_is_refused`).
/// - What becomes visible after a position was read follows it (`events::a_position_yields_what_follows`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseEvents: Debug + Send + Sync + 'static {
    /// The purchases of `selector` that become visible from now on, or since the event of `after`, each with the place
    /// behind it. The stream continues by itself after failures that pass, and ends after an error.
    ///
    /// A purchase that the log has twice may be yielded again, with the same id, if the two are far apart.
    ///
    /// # Errors
    /// [`Expired`](crate::ErrorKind::Expired) when the log no longer continues at `after`: list the purchases, and
    /// call it without a cursor. [`Invalid`](crate::ErrorKind::Invalid) for a cursor of something else,
    /// [`Denied`](crate::ErrorKind::Denied), [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Overloaded`](crate::ErrorKind::Overloaded), and [`Unsupported`](crate::ErrorKind::Unsupported) where there are
    /// no events. The items have the same errors.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream has no effect. Dropping the future of the next item loses nothing.
    async fn events(
        &self,
        selector: &Selector,
        after: Option<FeedCursor>,
    ) -> Result<BoxStream<'static, Result<FeedItem>>>;

    /// The place at which the events of `selector` begin now.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    async fn position(&self, selector: &Selector) -> Result<FeedCursor>;
}
