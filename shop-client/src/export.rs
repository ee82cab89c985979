//! Whole listings in one response.

use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use shop_core::Bytes;
use shop_core::api::NDJSON;

use crate::ports::listing;
use crate::response::{Response, foreign_line};
use crate::{ListOrder, Purchase, Result, Selector, ShopClient, TimeRange};

const CSV: &str = "text/csv";

/// All selected purchases in one response, as purchases or as a file.
///
/// It is read as it arrives, so memory does not depend on its size. Opening it is retried; reading it is not, because a
/// part may have been used. The time-out of a query applies to the beginning, and to the wait for each part.
///
/// Each stream ends after an error. A listing that breaks off is
/// [`Unavailable`](crate::ErrorKind::Unavailable), one of another server [`Unsupported`](crate::ErrorKind::Unsupported).
///
/// ```no_run
/// use std::io::Write;
///
/// use shop_client::{Selector, ShopClient, TryStreamExt};
///
/// # async fn example(client: ShopClient) -> Result<(), Box<dyn std::error::Error>> {
/// let mut file = std::fs::File::create("purchases.csv")?;
/// let mut parts = client.export(Selector::All).csv();
/// while let Some(part) = parts.try_next().await? {
///     file.write_all(&part)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is requested until a stream is read"]
pub struct Export {
    client: ShopClient,
    selector: Selector,
    order: ListOrder,
    range: TimeRange,
}

impl ShopClient {
    /// All purchases of `selector`, newest first, in one response. Only management exports those of all users.
    pub fn export(&self, selector: Selector) -> Export {
        Export {
            client: self.clone(),
            selector,
            order: ListOrder::NewestFirst,
            range: TimeRange::ALL,
        }
    }
}

impl Export {
    /// Begins with the oldest purchase.
    pub const fn oldest_first(mut self) -> Self {
        self.order = ListOrder::OldestFirst;
        self
    }

    /// Selects the purchases in `range` alone.
    pub const fn within(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// The purchases.
    #[must_use]
    pub fn purchases(self) -> BoxStream<'static, Result<Purchase>> {
        let lines = self.open(NDJSON, |answer, idle| answer.lines(NDJSON, idle));
        // Nothing follows an error.
        stream::try_unfold(lines, async |mut lines| {
            let Some(line) = lines.try_next().await? else {
                return Ok(None);
            };
            let purchase =
                serde_json::from_str(&line).map_err(|error| foreign_line().with_source(error))?;
            Ok(Some((purchase, lines)))
        })
        .boxed()
    }

    /// The file of an object of JSON per line, in parts of any size.
    #[must_use]
    pub fn ndjson(self) -> BoxStream<'static, Result<Bytes>> {
        self.open(NDJSON, |answer, idle| answer.parts(NDJSON, idle))
    }

    /// The file of comma-separated values with a header, in parts of any size. A name or user id that a spreadsheet
    /// would take for a formula has an apostrophe in front.
    #[must_use]
    pub fn csv(self) -> BoxStream<'static, Result<Bytes>> {
        self.open(CSV, |answer, idle| answer.parts(CSV, idle))
    }

    fn open<T: Send + 'static>(
        self,
        media_type: &'static str,
        read: fn(Response, Duration) -> Result<BoxStream<'static, Result<T>>>,
    ) -> BoxStream<'static, Result<T>> {
        let opened = async move {
            let transport = &self.client.inner.transport;
            let parameters = listing(&self.selector, self.order, self.range);
            let call = transport
                .query("export", "v1/purchases", &parameters)
                .streaming(media_type);
            read(self.client.query(&call).await?, call.timeout)
        };
        stream::once(opened).try_flatten().boxed()
    }
}
