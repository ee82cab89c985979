//! The dead letters of a service, for its operators.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shop_core::api::problem::UNKNOWN_DEAD_LETTER;
use shop_core::api::{DeadLetterBody, DeadLettersBody, ResolvedBody};
use shop_core::log::{ReasonKind, RecordPosition};

use crate::transport::{Sent, json};
use crate::{Error, IntoValid, PageLimit, Result, ShopClient, Timestamp};

/// The pending dead letters of management: lists, shows, replays and discards them. The caller needs the right to
/// observe, and to operate for what changes something.
///
/// ```no_run
/// use shop_client::{ShopClient, TryStreamExt};
///
/// # async fn example(client: ShopClient) -> Result<(), shop_client::Error> {
/// let dead_letters = client.dead_letters().topic("purchases");
/// let parked: Vec<_> = dead_letters.list().try_collect().await?;
/// for one in dead_letters.replay(parked.iter().map(|one| &one.position)).await? {
///     println!("{}: {:?} {:?}", one.position, one.status, one.detail);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is sent until the dead letters are listed, shown or resolved"]
pub struct DeadLetterRequest {
    client: ShopClient,
    filter: Vec<(&'static str, String)>,
    dry_run: bool,
}

/// The response to a replay.
#[derive(Deserialize)]
struct Resolved {
    dry_run: bool,
    results: Vec<ResolvedBody>,
}

impl ShopClient {
    /// The dead letters of the service.
    pub fn dead_letters(&self) -> DeadLetterRequest {
        DeadLetterRequest {
            client: self.clone(),
            filter: Vec::new(),
            dry_run: false,
        }
    }
}

impl DeadLetterRequest {
    fn filter(mut self, name: &'static str, value: String) -> Self {
        self.filter.retain(|(other, _)| *other != name);
        self.filter.push((name, value));
        self
    }

    /// Lists those of this topic alone.
    pub fn topic(self, topic: impl Into<String>) -> Self {
        self.filter("topic", topic.into())
    }

    /// Lists those with this reason alone.
    pub fn reason(self, reason: ReasonKind) -> Self {
        self.filter("reason", reason.as_str().to_owned())
    }

    /// Lists those whose record is not older than this.
    pub fn since(self, time: Timestamp) -> Self {
        self.filter("since", time.to_string())
    }

    /// Only reports what [`replay`](Self::replay) and [`discard`](Self::discard) would do.
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// One page, in the order of the positions, after `cursor`: the `next` of the page before. It also has the records
    /// that block an ingest.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied), [`Unavailable`](crate::ErrorKind::Unavailable) and others when the log
    /// cannot be read.
    pub async fn page(&self, limit: PageLimit, cursor: Option<&str>) -> Result<DeadLettersBody> {
        let mut parameters = self.filter.clone();
        parameters.push(("limit", limit.get().to_string()));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let call = self
            .client
            .inner
            .transport
            .query("dead_letters", "v1/dead-letters", &parameters)
            .large();
        let answer = self.client.query(&call).await?;
        let page: DeadLettersBody = answer.parsed()?;
        if page.next.is_some() && page.next.as_deref() == cursor {
            return Err(answer
                .unreadable("the cursor of a page does not advance: the list would never end"));
        }
        Ok(page)
    }

    /// All of them, without their records. Pages are requested as the stream is read. It ends after an error.
    #[must_use]
    pub fn list(&self) -> BoxStream<'static, Result<DeadLetterBody>> {
        stream::try_unfold(
            (self.clone(), Some(None::<String>)),
            async |(this, cursor)| {
                let Some(cursor) = cursor else {
                    return Ok::<_, Error>(None);
                };
                let page = this.page(PageLimit::MAX, cursor.as_deref()).await?;
                Ok(Some((
                    stream::iter(page.items.into_iter().map(Ok)),
                    (this, page.next.map(Some)),
                )))
            },
        )
        .try_flatten()
        .boxed()
    }

    /// The one at this position, with its record; `None` when none is pending there.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn get(
        &self,
        position: impl IntoValid<RecordPosition>,
    ) -> Result<Option<DeadLetterBody>> {
        let path = format!("v1/dead-letters/{}", position.into_valid()?);
        let mut call = self
            .client
            .inner
            .transport
            .query("dead_letter", &path, &[])
            .large();
        call.outcomes = &[UNKNOWN_DEAD_LETTER];
        let answer = self.client.query(&call).await?;
        if answer.status == StatusCode::OK {
            answer.parsed().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Publishes the records at these positions again, 1 to 1,000, and resolves their dead letters. Returns a result
    /// for each, in their order.
    ///
    /// It is retried only as a [dry run](Self::dry_run). Repeat it when its outcome is unknown: what was resolved before
    /// is then [`Unknown`](shop_core::api::ResolvedStatus::Unknown).
    ///
    /// # Errors
    /// As [`page`](Self::page), and [`Invalid`](crate::ErrorKind::Invalid).
    ///
    /// # Cancel safety
    /// Once polled, it is sent even if the future is dropped.
    pub async fn replay(
        &self,
        positions: impl IntoIterator<Item = impl IntoValid<RecordPosition>>,
    ) -> Result<Vec<ResolvedBody>> {
        self.resolve("replay", positions, None).await
    }

    /// Discards the dead letters at these positions, as [`replay`](Self::replay).
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    ///
    /// # Cancel safety
    /// As [`replay`](Self::replay).
    pub async fn discard(
        &self,
        positions: impl IntoIterator<Item = impl IntoValid<RecordPosition>>,
    ) -> Result<Vec<ResolvedBody>> {
        self.resolve("discard", positions, None).await
    }

    /// Dead-letters the records at these positions, on which an ingest of the service is stuck, so that it continues. The
    /// dead letters and the audit log have the reason, one line of at most 200 characters.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    ///
    /// # Cancel safety
    /// As [`replay`](Self::replay).
    pub async fn park(
        &self,
        positions: impl IntoIterator<Item = impl IntoValid<RecordPosition>>,
        reason: &str,
    ) -> Result<Vec<ResolvedBody>> {
        self.resolve("park", positions, Some(reason)).await
    }

    async fn resolve(
        &self,
        how: &'static str,
        positions: impl IntoIterator<Item = impl IntoValid<RecordPosition>>,
        reason: Option<&str>,
    ) -> Result<Vec<ResolvedBody>> {
        let positions = positions
            .into_iter()
            .map(|position| Ok(position.into_valid()?.to_string()))
            .collect::<Result<Vec<_>>>()?;
        let mut body = json!({ "positions": positions, "dry_run": self.dry_run });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        let sent = Sent::One(json(&body)?.into());
        let path = format!("v1/dead-letters:{how}");
        let mut call = self.client.inner.transport.post(how, &path, sent).large();
        call.repeats = self.dry_run;
        let answer = self.client.send(call, None).await?;
        let Resolved { dry_run, results } = answer.parsed()?;
        let is_same = results.iter().map(|result| &result.position).eq(&positions);
        if is_same && dry_run == self.dry_run {
            return Ok(results);
        }
        Err(answer.unreadable("the response is about other dead letters"))
    }
}
