//! The feed as a port: it continues by itself.

use std::mem::take;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::sleep;

use super::port::PurchaseEvents;
use super::{FeedCursor, FeedItem, PurchaseFeed, Subscription};
use crate::ports::{Selector, retried};
use crate::{ErrorKind, Result};

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
                let (after, yielded) = (subscription.position(), take(&mut subscription.yielded));
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
