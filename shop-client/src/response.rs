//! Reads responses, and converts unexpected ones to errors.
//!
//! [`Response::read`] reads the body of a response within a limit, or leaves the body as a stream.
//! The caller then takes from the [`Response`] what it expects: JSON, chunks or lines.
//!
//! The error of a whole response is made in one of three ways:
//! - [`Response::refusal_error`]: the service responds with an error, which this module reads from
//!   the problem in the body, or else derives from the status
//! - [`Response::unreadable_error`]: the response is not one that this service sends
//! - [`no_response_error`]: there is no response at all
//!
//! A stream that breaks off ends with the error of a lost connection, or of an unknown line.

use std::io;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use shop_api::header;
use shop_api::problem::error_kind;
use shop_core::jiff::fmt::rfc2822::DateTimeParser;
use shop_core::{Bytes, Clock, SystemClock};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use crate::error::{ErrorResponse, Problem, ResponseCause, client_error};
use crate::transport::PAGE_BYTES;
use crate::{Error, ErrorKind, Outcome, Result, Retry};

/// A stream of the parts of the body of a response.
pub(crate) type BodyStream<T> = BoxStream<'static, Result<T>>;

/// The maximum `Retry-After` that is honoured: a misconfigured service cannot block a caller for
/// days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The maximum size of an error response that is read. The error responses of the service are
/// smaller than 1 kB; a larger page of a proxy is ignored.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// The maximum number of characters of a service's text in an error message.
const MAX_DETAIL_CHARS: usize = 300;

/// A response with its body, which is either read already or a stream.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, unless it is left as a stream.
    pub(crate) body: Vec<u8>,
    /// The response whose body is still to be read, if the call streams.
    pub(crate) stream: Option<reqwest::Response>,
    /// The number of attempts of the call.
    pub(crate) attempts: u32,
    /// Whether the request only reads, and so cannot have changed anything.
    pub(crate) is_read_request: bool,
}

impl Response {
    /// Creates the response to a single attempt of a write, without headers.
    pub(crate) fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body,
            stream: None,
            attempts: 1,
            is_read_request: false,
        }
    }

    /// Reads the body of `http_response`. Without `max_bytes`, the body of a success is left as a
    /// stream.
    ///
    /// An error response whose body is too large or breaks off is returned with a part of the body,
    /// because its status matters more than its body.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the body of a success is larger than
    ///   `max_bytes`
    /// - [`Unavailable`](ErrorKind::Unavailable) or another kind if the body of a success breaks
    ///   off
    pub(crate) async fn read(
        mut http_response: reqwest::Response,
        max_bytes: Option<usize>,
    ) -> Result<Self> {
        let mut response = Self::new(http_response.status(), Vec::new());
        response.headers = std::mem::take(http_response.headers_mut());

        let is_error = !response.status.is_success();
        let max_bytes = if is_error {
            Some(MAX_ERROR_BYTES)
        } else {
            max_bytes
        };
        let Some(max_bytes) = max_bytes else {
            response.stream = Some(http_response);
            return Ok(response);
        };

        loop {
            match http_response.chunk().await {
                Ok(Some(chunk)) if response.body.len() + chunk.len() <= max_bytes => {
                    response.body.extend_from_slice(&chunk);
                }
                Ok(None) => return Ok(response),
                // The body of an error response is too large or breaks off.
                _ if is_error => return Ok(response),
                Ok(Some(_)) => return Err(response.unreadable_error("the response is too large")),
                Err(error) => {
                    let cause = error.without_url();
                    let problem = None;
                    return Err(response.annotate(
                        transport_error(&cause),
                        problem,
                        Some(cause.into()),
                    ));
                }
            }
        }
    }

    /// Returns the value of a header, or `None` if the header is missing or not visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the body is not the JSON of a `T`.
    pub(crate) fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            self.unreadable_error_because(
                "the response is not one of this service: check the address",
                Some(error.into()),
            )
        })
    }

    /// Returns the body of a call that streams, in chunks of any size.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the body is not of `media_type`.
    fn into_body_stream(
        mut self,
        media_type: &str,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let content_type = self.header("content-type").unwrap_or_default();
        let is_expected = content_type.starts_with(media_type);
        let Some(response) = self.stream.take().filter(|_| is_expected) else {
            return Err(
                self.unreadable_error("the response is not one of this service: check the address")
            );
        };

        let chunks = stream::try_unfold(response, async |mut response| {
            let chunk = response
                .chunk()
                .await
                .map_err(|error| io::Error::other(error.without_url()))?;
            Ok(chunk.map(|chunk| (chunk, response)))
        });
        Ok(chunks.boxed())
    }

    /// Returns the body of a call that streams, in chunks of any size. The stream ends with an
    /// error after `max_idle` without a chunk.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the body is not of `media_type`.
    pub(crate) fn into_chunks(
        self,
        media_type: &str,
        max_idle: Duration,
    ) -> Result<BodyStream<Bytes>> {
        let chunks = self
            .into_body_stream(media_type)?
            .map_err(connection_lost_error);
        Ok(with_idle_timeout(chunks, max_idle))
    }

    /// Returns the lines of the body of a call that streams. The stream ends with an error after
    /// `max_idle` without a line.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the body is not of `media_type`.
    pub(crate) fn into_lines(
        self,
        media_type: &str,
        max_idle: Duration,
    ) -> Result<BodyStream<String>> {
        self.into_lines_up_to(PAGE_BYTES, media_type, max_idle)
    }

    /// Returns the lines as [`into_lines`](Self::into_lines) does, each of at most `max_bytes`.
    pub(crate) fn into_lines_up_to(
        self,
        max_bytes: usize,
        media_type: &str,
        max_idle: Duration,
    ) -> Result<BodyStream<String>> {
        let reader = StreamReader::new(self.into_body_stream(media_type)?);
        let codec = LinesCodec::new_with_max_length(max_bytes);
        let lines = FramedRead::new(reader, codec).map_err(|error| match error {
            LinesCodecError::Io(error) => connection_lost_error(error),
            LinesCodecError::MaxLineLengthExceeded => unknown_line_error(),
        });
        Ok(with_idle_timeout(lines, max_idle))
    }

    /// Parses the body as a problem. Returns `None` if it is not one, such as the page of a proxy.
    fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Returns the type of the problem in a client error, if it is one of `types`.
    pub(crate) fn find_problem_type(&self, types: &'static [&'static str]) -> Option<&'static str> {
        if types.is_empty() || !self.status.is_client_error() {
            return None;
        }
        let problem_type = self.problem()?.uri?;
        types
            .iter()
            .copied()
            .find(|expected_type| *expected_type == problem_type)
    }

    /// Returns whether the key of the request was used before, for the same content.
    pub(crate) fn is_replayed(&self) -> bool {
        self.header(header::IDEMPOTENT_REPLAYED) == Some("true")
    }

    /// Returns whether the purchase that was to be awaited is not stored yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.header(header::PURCHASE_PENDING) == Some("true")
    }

    /// Returns the pause before a retry that the service asks for, at most [`MAX_RETRY_AFTER`].
    ///
    /// The header [`Retry-After`](https://www.rfc-editor.org/rfc/rfc9110#field.retry-after)
    /// contains seconds or a date. A date is compared with the date of the response, if there is
    /// one, because the clocks of the service and of this machine may differ.
    fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        }

        let now = self
            .header("date")
            .and_then(parse_date_millis)
            .unwrap_or_else(|| SystemClock.now().as_millis());
        let millis = parse_date_millis(text)?.saturating_sub(now);
        // A negative difference is a date in the past, after which there is no pause.
        let pause = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        Some(pause.min(MAX_RETRY_AFTER))
    }

    /// Returns the error of a response that cannot be understood. The request may have taken
    /// effect.
    pub(crate) fn unreadable_error(&self, message: &str) -> Error {
        self.unreadable_error_because(message, None)
    }

    /// Returns the error of a response that cannot be understood, because of `cause`.
    fn unreadable_error_because(&self, message: &str, cause: Option<ResponseCause>) -> Error {
        let error = client_error(ErrorKind::Unsupported, message).with_outcome(Outcome::Unknown);
        let problem = None;
        self.annotate(error, problem, cause)
    }

    /// Returns the error of a response that refuses the call.
    ///
    /// Kind, message and outcome come from the problem in the response, or else from the status.
    /// `not_found_hint` is the message if nothing is at the address of the request.
    pub(crate) fn refusal_error(&self, not_found_hint: &str) -> Error {
        let response_problem = self.problem();
        // Without a problem, all members are absent, and the status decides.
        let problem = response_problem.clone().unwrap_or_default();

        let kind = match problem.uri.as_deref().and_then(error_kind) {
            // The service is closed, perhaps to be restarted. This client is not closed.
            Some(ErrorKind::Closed) => ErrorKind::Unavailable,
            Some(kind) => kind,
            None => kind_from_status(self.status),
        };
        let message = match &problem.detail {
            // A detail that only repeats the status, such as "Not Found", says less than the hint.
            Some(detail) if Some(detail.as_str()) != self.status.canonical_reason() => {
                in_one_line(detail)
            }
            _ => message_from_status(self.status, not_found_hint),
        };
        let status_outcome = if self.status.is_client_error() || self.status.is_redirection() {
            Outcome::NotApplied
        } else {
            // After another success, or an undefined status, the request may have taken effect.
            Outcome::Unknown
        };
        let outcome = problem.outcome().unwrap_or(status_outcome);

        let error = client_error(kind, message).with_outcome(outcome);
        let unreadable_cause = None;
        let mut error = self.annotate(error, response_problem, unreadable_cause);
        if let Some(field) = &problem.field {
            error = error.with_context("field", in_one_line(field));
        }
        match self.retry_after() {
            Some(pause) if error.is_retryable() => error.with_retry(Retry::After(pause)),
            _ => error,
        }
    }

    /// Adds the status of this response, its request id and its `problem` to `error`. `cause` is the
    /// reason why the response could not be read, if it could not. If the request only reads, the
    /// outcome becomes "not applied".
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

        if self.is_read_request {
            error = error.with_outcome(Outcome::NotApplied);
        }
        if let Some(id) = self.header(header::REQUEST_ID) {
            error = error.with_request_id(id);
        }
        error
    }
}

/// Returns the stream of `items` with a time-out: if there is no item for `max_idle`, the stream
/// yields an error. The stream ends after the first error.
fn with_idle_timeout<T: Send + 'static>(
    items: impl Stream<Item = Result<T>> + Send + Unpin + 'static,
    max_idle: Duration,
) -> BodyStream<T> {
    stream::try_unfold(items, move |mut items| async move {
        let item = timeout(max_idle, items.try_next())
            .await
            .unwrap_or_else(|_elapsed| {
                Err(connection_lost_error(io::ErrorKind::TimedOut.into()))
            })?;
        Ok(item.map(|item| (item, items)))
    })
    .boxed()
}

/// Parses a date in a header, as milliseconds since 1970.
fn parse_date_millis(text: &str) -> Option<i64> {
    let time = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(time.as_millisecond())
}

/// Returns the error of a stream that breaks off or is silent. Only reads are streamed, so nothing
/// was changed.
fn connection_lost_error(cause: io::Error) -> Error {
    let message = "the connection was lost or silent before the end of the response";
    client_error(ErrorKind::Unavailable, message)
        .with_outcome(Outcome::NotApplied)
        .with_source(cause)
}

/// Returns the error of a line of a stream that cannot be understood. Only reads are streamed, so
/// nothing was changed.
pub(crate) fn unknown_line_error() -> Error {
    client_error(
        ErrorKind::Unsupported,
        "a line of the response is too long, or not one of this service",
    )
}

/// Returns the first [`MAX_DETAIL_CHARS`] characters of an untrusted text. Control characters, which
/// could break the line of a log, become spaces.
fn in_one_line(text: &str) -> String {
    text.chars()
        .take(MAX_DETAIL_CHARS)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// Returns the kind of the error in a response whose body names no known type of a problem, such as
/// the response of a proxy in front of the service.
fn kind_from_status(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 | 405 | 501 => ErrorKind::Unsupported,
        408 | 504 => ErrorKind::DeadlineExceeded,
        409 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::Overloaded,
        502 | 503 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Invalid,
        500..=599 => ErrorKind::Internal,
        // An unexpected success or redirection.
        _ => ErrorKind::Unsupported,
    }
}

/// Returns the message of the error in a response without a detail. `not_found_hint` is the message
/// if nothing is at the address of the request.
fn message_from_status(status: StatusCode, not_found_hint: &str) -> String {
    let message = match status.as_u16() {
        404 | 405 => not_found_hint,
        401 => "the service requires authentication: set a bearer token",
        300..=399 => {
            "the service responded with a redirect, which is not followed: check the address"
        }
        _ => return format!("the service responded with {status}"),
    };
    message.to_owned()
}

/// Returns the error of a request without a response.
pub(crate) fn no_response_error(error: reqwest::Error) -> Error {
    // The source is without the address, which may contain a password.
    transport_error(&error).with_source(error.without_url())
}

/// Returns the error of a request that was not sent, or whose response was not read to its end.
///
/// The outcome is unknown, unless the service cannot have received the request.
fn transport_error(error: &reqwest::Error) -> Error {
    if error.is_connect() {
        return client_error(ErrorKind::Unavailable, "the service cannot be reached")
            .with_outcome(Outcome::NotApplied);
    }
    if error.is_timeout() {
        return response_timed_out();
    }
    if error.is_builder() {
        return client_error(ErrorKind::Invalid, "the request could not be built");
    }
    if error.is_redirect() {
        let message = "too many redirects: check the address";
        return client_error(ErrorKind::Unsupported, message).with_outcome(Outcome::Unknown);
    }
    client_error(
        ErrorKind::Unavailable,
        "the connection failed before the response was read",
    )
}

/// Returns the error of a request whose response takes too long. Its outcome is unknown.
pub(crate) fn response_timed_out() -> Error {
    client_error(ErrorKind::DeadlineExceeded, "no response in time")
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
            let error = answer(429, &[date, ("retry-after", after)], "").refusal_error("absent");
            assert_eq!(
                error.retry_after(),
                seconds.map(Duration::from_secs),
                "{after}"
            );
            assert!(error.is_retryable());
        }
        let permanent = answer(400, &[("retry-after", "3")], "").refusal_error("absent");
        assert_eq!(permanent.retry_after(), None);
    }

    #[test]
    fn a_problem_is_kept_and_its_text_sanitized() {
        let body = r##"{"type":"/problems/conflict","title":"Conflict","detail":"a\nb","field":"price",
            "errors":[{"pointer":"#/price","detail":"a"},{"parameter":"limit","detail":"b"}],
            "outcome":"unknown","more":{"deep":[1]}}"##;
        let error = answer(500, &[("x-request-id", "r-1")], body).refusal_error("absent");
        assert_fails(&error, ErrorKind::Conflict, Outcome::Unknown);
        assert_eq!(
            error.to_string(),
            "shop-client: a b (status=500, field=price, request_id=r-1)"
        );
        let errors = &error.problem().unwrap().errors;
        assert_eq!(errors[0].pointer.as_deref(), Some("#/price"));
        assert_eq!(errors[1].parameter.as_deref(), Some("limit"));

        let long = format!(r#"{{"detail":"{}"}}"#, "x".repeat(10_000));
        let error = answer(400, &[], &long).refusal_error("absent");
        assert_eq!(error.message().len(), MAX_DETAIL_CHARS);
    }
}
