//! The dead letters of a service, for its operators.
//!
//! A [`DeadLetterRequest`] reads dead letters: a page, a single one, or all. It also changes them:
//! each of `replay`, `discard` and `park` sends the positions of the records to one path, and
//! checks that the response is about the same positions.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shop_api::problem::UNKNOWN_DEAD_LETTER;
use shop_api::{DeadLetterBody, DeadLettersBody, ResolvedBody};
use shop_core::log::{ReasonKind, RecordPosition};

use crate::transport::RequestBody;
use crate::{Error, Invalid, PageLimit, Result, ShopClient, Timestamp};

/// A request for the pending dead letters of management, which lists, shows, replays or discards
/// dead letters, or parks records on which ingest is stuck.
///
/// The caller needs the right to observe, and the right to operate for calls that change something.
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
    /// The query parameters that select dead letters.
    filter: Vec<(&'static str, String)>,
    dry_run: bool,
}

/// The body of the response if dead letters are resolved.
#[derive(Deserialize)]
struct ResolvedLetters {
    dry_run: bool,
    results: Vec<ResolvedBody>,
}

impl ShopClient {
    /// Prepares a request for the dead letters of the service.
    pub fn dead_letters(&self) -> DeadLetterRequest {
        DeadLetterRequest {
            client: self.clone(),
            filter: Vec::new(),
            dry_run: false,
        }
    }
}

impl DeadLetterRequest {
    /// Selects by the query parameter `name`, in place of an earlier value.
    fn with_filter(mut self, name: &'static str, value: String) -> Self {
        self.filter
            .retain(|(earlier_name, _value)| *earlier_name != name);
        self.filter.push((name, value));
        self
    }

    /// Lists only the dead letters of `topic`.
    pub fn topic(self, topic: impl Into<String>) -> Self {
        self.with_filter("topic", topic.into())
    }

    /// Lists only the dead letters with this reason.
    pub fn reason(self, reason: ReasonKind) -> Self {
        self.with_filter("reason", reason.as_str().to_owned())
    }

    /// Lists only the dead letters whose record is not older than `time`.
    pub fn since(self, time: Timestamp) -> Self {
        self.with_filter("since", time.to_string())
    }

    /// Only reports what [`replay`](Self::replay), [`discard`](Self::discard) and
    /// [`park`](Self::park) would do.
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Reads one page of the list, in the order of the positions.
    ///
    /// `cursor` is the member `next` of the previous page, or `None` for the first page. A page
    /// also contains the records that block an ingest.
    ///
    /// # Errors
    /// - [`Denied`](crate::ErrorKind::Denied) without the right to observe
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) and other kinds if the log cannot be read
    pub async fn page(&self, limit: PageLimit, cursor: Option<&str>) -> Result<DeadLettersBody> {
        let mut parameters = self.filter.clone();
        parameters.push(("limit", limit.get().to_string()));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));

        let call = self
            .client
            .transport
            .query("dead_letters", "v1/dead-letters", &parameters)
            .with_large_response();
        let response = self.client.query(&call).await?;
        let page: DeadLettersBody = response.parse_json()?;
        if cursor.is_some() && page.next.as_deref() == cursor {
            let message = "the cursor of a page does not advance: the list would never end";
            return Err(response.unreadable_error(message));
        }
        Ok(page)
    }

    /// Returns a stream of all dead letters, without their records.
    ///
    /// Pages are requested as the stream is read. The stream ends after an error.
    #[must_use]
    pub fn list(&self) -> BoxStream<'static, Result<DeadLetterBody>> {
        let no_cursor = None::<String>;
        let first_page = Some((self.clone(), no_cursor));
        let pages = stream::try_unfold(first_page, async |next_page| {
            let Some((request, cursor)) = next_page else {
                return Ok::<_, Error>(None);
            };
            let page = request.page(PageLimit::MAX, cursor.as_deref()).await?;
            let next_page = page.next.map(|next| (request, Some(next)));
            Ok(Some((
                stream::iter(page.items.into_iter().map(Ok)),
                next_page,
            )))
        });
        pages.try_flatten().boxed()
    }

    /// Reads the dead letter at this position, with its record. Returns `None` if no dead letter is
    /// pending there.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if `position` is not valid
    /// - The errors of [`page`](Self::page)
    pub async fn get(
        &self,
        position: impl TryInto<RecordPosition, Error: Into<Invalid>>,
    ) -> Result<Option<DeadLetterBody>> {
        let path = format!(
            "v1/dead-letters/{}",
            position.try_into().map_err(Into::<Invalid>::into)?
        );
        let mut call = self
            .client
            .transport
            .query("dead_letter", &path, &[])
            .with_large_response();
        call.expected_problems = &[UNKNOWN_DEAD_LETTER];

        let response = self.client.query(&call).await?;
        if response.status == StatusCode::OK {
            response.parse_json().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Publishes the records at these positions again, 1 to 1,000, and resolves their dead letters.
    /// Returns a result for each position, in the order of the positions.
    ///
    /// The client retries a replay only as a [dry run](Self::dry_run). If the outcome of a call is
    /// unknown, repeat the call. Dead letters that the first call resolved then have the result
    /// [`Unknown`](shop_api::ResolvedStatus::Unknown).
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if a position or the number of positions is not
    ///   valid
    /// - [`Denied`](crate::ErrorKind::Denied) without the right to operate
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) and other kinds if the log cannot be read
    ///   or written
    ///
    /// # Cancel safety
    /// Once the future was polled, the request is sent even if the future is dropped.
    pub async fn replay(
        &self,
        positions: impl IntoIterator<Item = impl TryInto<RecordPosition, Error: Into<Invalid>>>,
    ) -> Result<Vec<ResolvedBody>> {
        let no_reason = None;
        self.resolve("replay", positions, no_reason).await
    }

    /// Discards the dead letters at these positions, 1 to 1,000. Returns a result for each
    /// position, in the order of the positions.
    ///
    /// A discard is retried only as a [dry run](Self::dry_run), as a [`replay`](Self::replay) is.
    ///
    /// # Errors
    /// Returns the errors of [`replay`](Self::replay).
    ///
    /// # Cancel safety
    /// Once the future was polled, the request is sent even if the future is dropped.
    pub async fn discard(
        &self,
        positions: impl IntoIterator<Item = impl TryInto<RecordPosition, Error: Into<Invalid>>>,
    ) -> Result<Vec<ResolvedBody>> {
        let no_reason = None;
        self.resolve("discard", positions, no_reason).await
    }

    /// Makes dead letters of the records at these positions, so that an ingest that is stuck on them
    /// continues. Returns a result for each position, in the order of the positions.
    ///
    /// The dead letters and the audit log contain `reason`, one line of at most 200 characters.
    ///
    /// # Errors
    /// Returns the errors of [`replay`](Self::replay).
    ///
    /// # Cancel safety
    /// Once the future was polled, the request is sent even if the future is dropped.
    pub async fn park(
        &self,
        positions: impl IntoIterator<Item = impl TryInto<RecordPosition, Error: Into<Invalid>>>,
        reason: &str,
    ) -> Result<Vec<ResolvedBody>> {
        self.resolve("park", positions, Some(reason)).await
    }

    /// Sends the positions, and the reason if `action` needs one, to the path for `action`. Returns
    /// a result for each position.
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if the response is about other positions,
    ///   about a dry run that was not requested, or about no dry run although one was requested
    /// - The errors of [`replay`](Self::replay)
    async fn resolve(
        &self,
        action: &'static str,
        positions: impl IntoIterator<Item = impl TryInto<RecordPosition, Error: Into<Invalid>>>,
        reason: Option<&str>,
    ) -> Result<Vec<ResolvedBody>> {
        let positions = positions
            .into_iter()
            .map(|position| {
                Ok(position
                    .try_into()
                    .map_err(Into::<Invalid>::into)?
                    .to_string())
            })
            .collect::<Result<Vec<_>>>()?;
        let mut body = json!({ "positions": positions, "dry_run": self.dry_run });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }

        let path = format!("v1/dead-letters:{action}");
        let request_body = RequestBody::Json(body.to_string().into());
        let mut call = self
            .client
            .transport
            .post(action, &path, request_body)
            .with_large_response();
        // Only a dry run returns the same result if it is sent twice.
        call.is_repeatable = self.dry_run;

        let own_context = None;
        let response = self.client.send(call, own_context).await?;
        let ResolvedLetters { dry_run, results } = response.parse_json()?;
        let resolved_positions = results.iter().map(|result| &result.position);
        if dry_run != self.dry_run || !resolved_positions.eq(&positions) {
            return Err(response.unreadable_error("the response is about other dead letters"));
        }
        Ok(results)
    }
}
