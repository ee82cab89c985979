//! The port that follows purchases as they become visible, and the feed as this port: it continues by itself.

use std::fmt::Debug;
use std::mem::take;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::sleep;

use super::{FeedCursor, FeedItem, PurchaseFeed, Subscription};
use crate::ports::{Selector, retried};
use crate::{ErrorKind, Result};

/// Follows purchases as they become visible: those of a log by a [`PurchaseFeed`], those of a
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

/// The pause before an ended subscription is continued.
const PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl PurchaseEvents for PurchaseFeed {
    /// [`Overloaded`](ErrorKind::Overloaded) at the maximum number of subscriptions; one that ends is continued, with
    /// retries for about half a minute. [`close`](Self::close) ends the stream, and then it is
    /// [`Closed`](ErrorKind::Closed).
    async fn events(
        &self,
        selector: &Selector,
        after: Option<FeedCursor>,
    ) -> Result<BoxStream<'static, Result<FeedItem>>> {
        let subscription = self.subscribe(selector.clone(), after.as_ref()).await?;
        let start = (self.clone(), selector.clone(), subscription);
        let items = stream::try_unfold(start, |(feed, selector, mut subscription)| async move {
            loop {
                if let Some(item) = subscription.next().await {
                    return Ok(Some((item, (feed, selector, subscription))));
                }
                let after = subscription.position();
                let yielded = take(&mut subscription.yielded);
                // Others may have its place.
                drop(subscription);
                sleep(PAUSE).await;
                let continued = retried(|| feed.subscribe(selector.clone(), Some(&after))).await;
                subscription = match continued {
                    Err(error) if error.kind() == ErrorKind::Closed => return Ok(None),
                    continued => Subscription {
                        yielded,
                        ..continued?
                    },
                };
            }
        });
        Ok(items.boxed())
    }

    async fn position(&self, selector: &Selector) -> Result<FeedCursor> {
        Ok(self.subscribe(selector.clone(), None).await?.position())
    }
}
