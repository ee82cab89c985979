//! Responses, and errors made of them.

use std::io;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use shop_core::api::header;
use shop_core::api::problem::error_kind;
use shop_core::jiff::fmt::rfc2822::DateTimeParser;
use shop_core::{Bytes, Clock, SystemClock};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use crate::error::{ErrorResponse, Problem, ResponseCause, client_error};
use crate::transport::TYPICAL_RESPONSE_BYTES;
use crate::{Error, ErrorKind, Outcome, Result, Retry};

/// The maximum `Retry-After` that is honoured: a misconfigured service cannot block a caller for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The maximum size of an error response that is read. Those of the service have less than 1 kB; a proxy's page is
/// ignored.
const REFUSAL_BYTES: usize = 64 << 10;

/// The maximum length of a service's text in a message.
const MAX_DETAIL_BYTES: usize = 300;

/// A response, with its body if that is needed.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The body of a call that streams.
    pub(crate) stream: Option<reqwest::Response>,
    /// The attempts of the call.
    pub(crate) attempts: u32,
    /// Whether the request cannot have changed anything.
    pub(crate) is_read: bool,
}

impl Response {
    pub(crate) fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body,
            stream: None,
            attempts: 1,
            is_read: false,
        }
    }

    /// Reads at most `limit` bytes of `response`; without a limit it is a stream that is read later.
    pub(crate) async fn read(
        mut response: reqwest::Response,
        limit: Option<usize>,
    ) -> Result<Self> {
        let mut answer = Self::new(response.status(), Vec::new());
        answer.headers = std::mem::take(response.headers_mut());
        let is_refusal = !answer.status.is_success();
        let limit = if is_refusal {
            Some(REFUSAL_BYTES)
        } else {
            limit
        };
        let Some(limit) = limit else {
            return Ok(Self {
                stream: Some(response),
                ..answer
            });
        };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.body.len() + chunk.len() <= limit => {
                    answer.body.extend_from_slice(&chunk);
                }
                // The status of an error response matters more than its body.
                Ok(None) => return Ok(answer),
                _ if is_refusal => return Ok(answer),
                Ok(Some(_)) => return Err(answer.unreadable("the response is too large")),
                // It was not read to its end.
                Err(failure) => {
                    let cause = failure.without_url();
                    return Err(answer.annotate(failed(&cause), None, Some(cause.into())));
                }
            }
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn parsed<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|failure| {
            let message = "the response is not one of this service: check the address";
            self.unreadable_because(message, Some(failure.into()))
        })
    }

    /// The body of a call that streams, if it has this type.
    fn chunks(&mut self, media_type: &str) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let is_expected = self
            .header("content-type")
            .is_some_and(|found| found.starts_with(media_type));
        let Some(body) = self.stream.take().filter(|_| is_expected) else {
            return Err(
                self.unreadable("the response is not one of this service: check the address")
            );
        };
        let chunks = stream::try_unfold(body, async |mut body| {
            let chunk = body
                .chunk()
                .await
                .map_err(|failure| io::Error::other(failure.without_url()))?;
            Ok(chunk.map(|chunk| (chunk, body)))
        });
        Ok(chunks.boxed())
    }

    /// The parts of that body, with at most `idle` between them.
    pub(crate) fn parts(
        mut self,
        media_type: &str,
        idle: Duration,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        Ok(until_silent(self.chunks(media_type)?.map_err(lost), idle))
    }

    /// The lines of that body, with at most `idle` between them.
    pub(crate) fn lines(
        mut self,
        media_type: &str,
        idle: Duration,
    ) -> Result<BoxStream<'static, Result<String>>> {
        let chunks = StreamReader::new(self.chunks(media_type)?);
        let codec = LinesCodec::new_with_max_length(TYPICAL_RESPONSE_BYTES);
        let lines = FramedRead::new(chunks, codec).map_err(|failure| match failure {
            LinesCodecError::Io(failure) => lost(failure),
            LinesCodecError::MaxLineLengthExceeded => foreign_line(),
        });
        Ok(until_silent(lines, idle))
    }

    fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The type of its problem, if that is one of these.
    pub(crate) fn problem_among(&self, types: &'static [&'static str]) -> Option<&'static str> {
        if types.is_empty() || !self.status.is_client_error() {
            return None;
        }
        let uri = self.problem()?.uri?;
        types.iter().copied().find(|known| *known == uri)
    }

    /// Whether the key was used before, for the same content.
    pub(crate) fn is_replayed(&self) -> bool {
        self.header(header::IDEMPOTENT_REPLAYED) == Some("true")
    }

    /// Whether the purchase that was to be awaited is not stored yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.header(header::PURCHASE_PENDING) == Some("true")
    }

    /// Seconds, or a date of <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>, relative to the service's
    /// clock if the response has its date.
    fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        let time = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_no_number) => {
                let date = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
                let now = self
                    .header("date")
                    .and_then(date)
                    .map(shop_core::jiff::Timestamp::as_millisecond)
                    .unwrap_or_else(|| SystemClock.now().as_millis());
                let millis = date(text)?.as_millisecond().saturating_sub(now);
                Duration::from_millis(u64::try_from(millis).unwrap_or_default())
            }
        };
        Some(time.min(MAX_RETRY_AFTER))
    }

    /// The error for a response that cannot be understood. The request may have taken effect.
    pub(crate) fn unreadable(&self, message: &str) -> Error {
        self.unreadable_because(message, None)
    }

    fn unreadable_because(&self, message: &str, cause: Option<ResponseCause>) -> Error {
        let error = client_error(ErrorKind::Unsupported, message).with_outcome(Outcome::Unknown);
        self.annotate(error, None, cause)
    }

    /// The error for a response that is a refusal. `not_found_hint` is the message when nothing is at this address.
    pub(crate) fn refused(&self, not_found_hint: &str) -> Error {
        let response_problem = self.problem();
        let problem = response_problem.clone().unwrap_or_default();
        let named = problem.uri.as_deref().and_then(error_kind);
        let kind = match named.unwrap_or_else(|| kind_of_status(self.status)) {
            // The service is closed, perhaps to be restarted; this client is not.
            ErrorKind::Closed => ErrorKind::Unavailable,
            kind => kind,
        };
        let detail = problem
            .detail
            .as_deref()
            .filter(|detail| Some(*detail) != self.status.canonical_reason())
            .map(in_one_line);
        let message = detail.unwrap_or_else(|| match self.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => not_found_hint.to_owned(),
            StatusCode::UNAUTHORIZED => {
                "the service requires authentication: set a bearer token".to_owned()
            }
            status if status.is_redirection() => {
                "the service responded with a redirect, which is not followed: check the address"
                    .to_owned()
            }
            status => format!("the service responded with {status}"),
        });
        let outcome = match problem.outcome() {
            Some(outcome) => outcome,
            None if self.status.is_client_error() || self.status.is_redirection() => {
                Outcome::NotApplied
            }
            // Another success, or an undefined status: the request may have taken effect.
            None => Outcome::Unknown,
        };
        let error = client_error(kind, message).with_outcome(outcome);
        let mut error = self.annotate(error, response_problem, None);
        if let Some(field) = &problem.field {
            error = error.with_context("field", in_one_line(field));
        }
        match self.retry_after() {
            Some(time) if error.is_retryable() => error.with_retry(Retry::After(time)),
            _ => error,
        }
    }

    /// Adds the response and its headers to the error.
    fn annotate(
        &self,
        error: Error,
        problem: Option<Problem>,
        cause: Option<ResponseCause>,
    ) -> Error {
        let status = self.status.as_u16();
        let mut error = error
            .with_context("status", status)
            .with_source(ErrorResponse {
                status,
                problem,
                cause,
            });
        if self.is_read {
            error = error.with_outcome(Outcome::NotApplied);
        }
        match self.header(header::REQUEST_ID) {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }
}

/// `items`, until an error or none for `idle`.
fn until_silent<T: Send + 'static>(
    items: impl Stream<Item = Result<T>> + Send + 'static,
    idle: Duration,
) -> BoxStream<'static, Result<T>> {
    stream::try_unfold(items.boxed(), move |mut items| async move {
        let item = timeout(idle, items.try_next())
            .await
            .unwrap_or_else(|_elapsed| Err(lost(io::ErrorKind::TimedOut.into())))?;
        Ok(item.map(|item| (item, items)))
    })
    .boxed()
}

fn lost(failure: io::Error) -> Error {
    let message = "the connection was lost or silent before the end of the response";
    client_error(ErrorKind::Unavailable, message)
        .with_outcome(Outcome::NotApplied)
        .with_source(failure)
}

/// The error for a line of a stream that cannot be understood.
pub(crate) fn foreign_line() -> Error {
    let message = "a line of the response is too long, or not one of this service";
    client_error(ErrorKind::Unsupported, message).with_outcome(Outcome::NotApplied)
}

/// Untrusted text, made fit for a line of a log.
fn in_one_line(text: &str) -> String {
    text.chars()
        .take(MAX_DETAIL_BYTES)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// For responses of other servers, such as a proxy in front of the service.
fn kind_of_status(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            ErrorKind::Unsupported
        }
        StatusCode::CONFLICT => ErrorKind::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::TooLarge,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Overloaded,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => ErrorKind::DeadlineExceeded,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Unavailable,
        status if status.is_client_error() => ErrorKind::Invalid,
        status if status.is_server_error() => ErrorKind::Internal,
        // An unexpected success or redirection.
        _ => ErrorKind::Unsupported,
    }
}

/// The error for a request without a response.
pub(crate) fn not_answered(failure: reqwest::Error) -> Error {
    // Without the address, which may contain a password.
    failed(&failure).with_source(failure.without_url())
}

fn failed(failure: &reqwest::Error) -> Error {
    let (kind, outcome, message) = if failure.is_connect() {
        (
            ErrorKind::Unavailable,
            Outcome::NotApplied,
            "the service cannot be reached",
        )
    } else if failure.is_timeout() {
        (
            ErrorKind::DeadlineExceeded,
            Outcome::Unknown,
            "no response in time",
        )
    } else if failure.is_builder() {
        (
            ErrorKind::Invalid,
            Outcome::NotApplied,
            "the request could not be built",
        )
    } else if failure.is_redirect() {
        (
            ErrorKind::Unsupported,
            Outcome::Unknown,
            "too many redirects: check the address",
        )
    } else {
        (
            ErrorKind::Unavailable,
            Outcome::Unknown,
            "the connection failed before the response was read",
        )
    };
    client_error(kind, message).with_outcome(outcome)
}

#[cfg(test)]
mod tests {
    use shop_core::conformance::assert_fails;

    use super::*;
    use crate::HttpErrorExt;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Response {
            headers,
            ..Response::new(StatusCode::from_u16(status).unwrap(), body.into())
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (after, seconds) in [
            ("3", Some(3)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("999999999", Some(60)),
            ("-1", None),
            ("soon", None),
        ] {
            let error = answer(429, &[date, ("retry-after", after)], "").refused("absent");
            assert_eq!(
                error.retry_after(),
                seconds.map(Duration::from_secs),
                "{after}"
            );
            assert!(error.is_retryable());
        }
        assert_eq!(
            answer(400, &[("retry-after", "3")], "")
                .refused("absent")
                .retry_after(),
            None
        );
    }

    #[test]
    fn a_problem_is_kept_and_its_text_sanitized() {
        let body = r#"{"type":"/problems/conflict","title":"Conflict","detail":"a\nb","field":"price",
            "outcome":"unknown","more":{"deep":[1]}}"#;
        let error = answer(500, &[("x-request-id", "r-1")], body).refused("absent");
        assert_fails(&error, ErrorKind::Conflict, Outcome::Unknown);
        assert_eq!(
            (error.status(), error.request_id(), error.message()),
            (Some(500), Some("r-1"), "a b")
        );
        assert_eq!(error.problem().unwrap().field.as_deref(), Some("price"));
        assert_eq!(
            error.to_string(),
            "shop-client: a b (status=500, field=price, request_id=r-1)"
        );
        let long = format!(r#"{{"detail":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(
            answer(400, &[], &long).refused("absent").message().len(),
            MAX_DETAIL_BYTES
        );
    }

    #[test]
    fn a_closed_service_is_retryable() {
        let error = answer(
            503,
            &[],
            r#"{"type":"/problems/closed","outcome":"not_sent"}"#,
        )
        .refused("absent");
        assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
        assert!(error.is_retryable());
    }
}
