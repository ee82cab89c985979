//! Reads whole listings, each in one response.
//!
//! [`ShopClient::export`] selects the purchases, and the functions of [`Export`] choose how they
//! are read: as purchases, or as the bytes of a file. Each opens the response when its stream is
//! read for the first time.

use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use shop_api::NDJSON;
use shop_core::Bytes;

use crate::ports::listing_parameters;
use crate::response::{BodyStream, Response, unknown_line_error};
use crate::{ListOrder, Purchase, Result, Selector, ShopClient, TimeRange};

/// A request for all selected purchases in one response, as purchases or as a file.
///
/// The response is read as it arrives, so memory does not depend on its size. Opening the response
/// is retried. Reading is not retried, because a part may have been used. The time-out of a query
/// applies to the beginning of the response, and to the wait for each part.
///
/// Each stream ends after an error. The error is [`Unavailable`](crate::ErrorKind::Unavailable) if
/// the listing breaks off, and [`Unsupported`](crate::ErrorKind::Unsupported) if the response is
/// from another server.
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
    /// Prepares an export of the purchases of `selector`, the newest purchase first.
    ///
    /// Only management exports the purchases of all users.
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

    /// Selects only the purchases in `range`.
    pub const fn with_range(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// Returns a stream of the purchases.
    #[must_use]
    pub fn purchases(self) -> BoxStream<'static, Result<Purchase>> {
        let lines = self.open(NDJSON, Response::into_lines);
        // Unlike `and_then`, `try_unfold` ends the stream after a line that is not a purchase.
        stream::try_unfold(lines, async |mut lines| {
            let Some(line) = lines.try_next().await? else {
                return Ok(None);
            };
            let purchase = serde_json::from_str(&line)
                .map_err(|error| unknown_line_error().with_source(error))?;
            Ok(Some((purchase, lines)))
        })
        .boxed()
    }

    /// Returns a file with one JSON object per line, as a stream of parts of any size.
    #[must_use]
    pub fn ndjson(self) -> BoxStream<'static, Result<Bytes>> {
        self.open(NDJSON, Response::into_chunks)
    }

    /// Returns a file of comma-separated values with a header, as a stream of parts of any size.
    ///
    /// A name or user id that a spreadsheet would take for a formula starts with an added
    /// apostrophe.
    #[must_use]
    pub fn csv(self) -> BoxStream<'static, Result<Bytes>> {
        self.open("text/csv", Response::into_chunks)
    }

    /// Returns a stream that requests the export when it is read for the first time, and then
    /// yields the items that `read` reads from the response.
    ///
    /// The arguments of `read` are the response, the media type of its body, and the maximum time
    /// between two parts of the body.
    fn open<T: Send + 'static>(
        self,
        media_type: &'static str,
        read: fn(Response, &str, Duration) -> Result<BodyStream<T>>,
    ) -> BodyStream<T> {
        let opened = async move {
            let parameters = listing_parameters(&self.selector, self.order, self.range);
            let call = self
                .client
                .transport
                .query("export", "v1/purchases", &parameters)
                .with_streamed_response(media_type);
            let response = self.client.query(&call).await?;
            read(response, media_type, call.timeout)
        };
        stream::once(opened).try_flatten().boxed()
    }
}
