//! The port [`PurchaseEvents`], which follows purchases as they become visible, and the feed as
//! this port.
//!
//! A [`Subscription`] ends when it is too slow, or when the log cannot be read. The stream of the
//! port then subscribes again at the last position. So callers see an end only after an error that
//! does not pass.

use std::fmt::Debug;
use std::mem::take;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::sleep;

use super::{FeedCursor, FeedItem, PurchaseFeed, Subscription};
use crate::ports::{Selector, read_with_retries};
use crate::{ErrorKind, Result};

/// Follows purchases as they become visible.
///
/// A [`PurchaseFeed`] follows the purchases of a log, and a `ShopClient` follows the purchases of a
/// service.
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
/// - A purchase that becomes visible after the call returns is yielded once, in the order of its
///   user (`events::purchases_are_yielded_in_order_and_once`).
/// - A stream resumes behind the event of its cursor, also in another process
///   (`events::a_cursor_yields_exactly_the_rest`).
/// - A cursor at which the stream cannot resume is refused (`events::a_foreign_cursor_is_refused`).
/// - A purchase that becomes visible after a position was read follows that position
///   (`events::a_cursor_yields_exactly_the_rest`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseEvents: Debug + Send + Sync + 'static {
    /// Returns a stream of the purchases of `selector` that become visible from now on. With
    /// `after`, it begins behind the event with this cursor.
    ///
    /// Each item contains the cursor at which another stream continues. The stream resumes by
    /// itself after failures that pass, and ends after an error. A purchase that the log contains
    /// twice may be yielded again, with the same id, if its records are far apart.
    ///
    /// # Errors
    /// - [`Expired`](crate::ErrorKind::Expired) if the log can no longer resume at `after`: list
    ///   the purchases, and call this function without a cursor
    /// - [`Invalid`](crate::ErrorKind::Invalid) if `after` is not a cursor of this port
    /// - [`Denied`](crate::ErrorKind::Denied) if the caller may not follow `selector`
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log or the service cannot be reached
    /// - [`Overloaded`](crate::ErrorKind::Overloaded) at the maximum number of subscriptions
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if there are no events
    ///
    /// The items of the stream fail alike.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream has no effect. Dropping the future of the next item loses
    /// no item.
    async fn events(
        &self,
        selector: &Selector,
        after: Option<FeedCursor>,
    ) -> Result<BoxStream<'static, Result<FeedItem>>>;

    /// Returns the position at which the events of `selector` begin now.
    ///
    /// # Errors
    /// Returns the errors of [`events`](Self::events).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    async fn position(&self, selector: &Selector) -> Result<FeedCursor>;
}

/// The pause before the stream of an ended subscription subscribes again.
const RESUME_PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl PurchaseEvents for PurchaseFeed {
    /// Yields purchases from a subscription that begins now, or behind the purchase of the cursor
    /// `after`.
    ///
    /// Subscribes again at the last position whenever the subscription ends. If that fails for
    /// about half a minute, the stream yields the last error and ends. The stream ends without an
    /// error after [`close`](Self::close).
    ///
    /// # Errors
    /// Returns the errors of [`subscribe`](Self::subscribe), for the first subscription.
    async fn events(
        &self,
        selector: &Selector,
        after: Option<FeedCursor>,
    ) -> Result<BoxStream<'static, Result<FeedItem>>> {
        let resuming_subscription = ResumingSubscription {
            feed: self.clone(),
            selector: selector.clone(),
            subscription: self.subscribe(selector.clone(), after.as_ref()).await?,
        };
        let items = stream::try_unfold(resuming_subscription, ResumingSubscription::next_item);
        Ok(items.boxed())
    }

    /// Subscribes for a moment, and returns the position at which the subscription begins.
    async fn position(&self, selector: &Selector) -> Result<FeedCursor> {
        let mut subscription = self.subscribe(selector.clone(), None).await?;
        Ok(subscription.position())
    }
}

/// A subscription that is replaced by a new one, which resumes at the same position, whenever it
/// ends.
struct ResumingSubscription {
    feed: PurchaseFeed,
    selector: Selector,
    subscription: Subscription,
}

impl ResumingSubscription {
    /// Waits for the next item, and returns it together with `self`, as [`stream::try_unfold`]
    /// requires. Returns `None` once the feed is closed.
    ///
    /// Whenever a subscription ends, this function subscribes again at its last position.
    ///
    /// # Errors
    /// Returns the error of subscribing, if it does not pass within about half a minute.
    async fn next_item(mut self) -> Result<Option<(FeedItem, Self)>> {
        loop {
            if let Some(item) = self.subscription.next().await {
                return Ok(Some((item, self)));
            }

            let position = self.subscription.position();
            // The new subscription takes over the yielded ids, so that it does not yield a purchase
            // again whose record the log contains twice.
            let yielded_ids = take(&mut self.subscription.yielded);
            // Returns the permit of the ended subscription, so that another one can begin during
            // the pause.
            drop(self.subscription);
            sleep(RESUME_PAUSE).await;

            let result =
                read_with_retries(|| self.feed.subscribe(self.selector.clone(), Some(&position)))
                    .await;
            self.subscription = match result {
                Err(error) if error.kind() == ErrorKind::Closed => return Ok(None),
                result => result?,
            };
            self.subscription.yielded = yielded_ids;
        }
    }
}
