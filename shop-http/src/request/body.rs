//! Reads the bodies of requests that write: whole, with limits of size and time.
//!
//! - [`read`] reads the JSON body of one write, and acquires the permit of the write.
//! - [`read_up_to`] reads a body of any media type, for batches and files.
//! - [`is_ndjson`] and [`row_format`] find out the form of a batch and of a file, and [`charset`] the
//!   encoding of a file.
//!
//! A body that is refused is not left in the connection: [`discard_rest`] discards the rest, so
//! that the client can finish sending and read the response instead of finding the connection
//! closed. The exception is a body that was not sent in time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use shop_api::NDJSON;
use shop_api::files::{RowFormat, TextEncoding};
use shop_core::{ErrorKind, Invalid};
use tokio::time::{Instant, timeout_at};

use crate::header_names::ACCEPT_POST;
use crate::options::HttpOptions;
use crate::pipeline::state::RequestState;
use crate::request::write_request::WriteRequest;
use crate::response::{HttpError, HttpResult, ValidationError};

/// The maximum number of bytes of a refused body that are read and discarded.
const MAX_DISCARDED_BYTES: usize = 32 << 20;
/// The maximum time for which a refused body is read and discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The first bytes of a body, which need no permit. Most bodies are smaller.
const BYTES_WITHOUT_PERMIT: usize = 16 << 10;

/// The limits of a body.
pub(crate) struct BodyLimits {
    max_bytes: usize,
    timeout: Duration,
    /// When the client must have sent the body. `None` if that is beyond all times.
    deadline: Option<Instant>,
}

impl BodyLimits {
    /// Returns the limits of the body of a request with this `state`: `max_bytes`, and the time-out
    /// in `options`.
    pub(crate) fn new(max_bytes: usize, options: &HttpOptions, state: &RequestState) -> Self {
        let timeout = options.body_read_timeout;
        Self {
            max_bytes,
            timeout,
            deadline: state.body_since.checked_add(timeout),
        }
    }
}

/// Reads the whole JSON body of a write, and then acquires the permit of the write.
///
/// The permit comes last, so that a body that is sent slowly occupies no room among the writes. A
/// missing media type counts as JSON.
///
/// # Errors
/// - 415 for another media type, or a compressed body
/// - 413 if the body is larger than the limit in `options`
/// - 408 if the client does not send the body in time
/// - 400 if the client ends the body early
/// - 503 if there is no room for the bytes of the body, or for the write
pub async fn read(request: &mut WriteRequest, options: &HttpOptions) -> HttpResult<Bytes> {
    let permit = request.permit()?;
    let limits = BodyLimits::new(options.max_body_bytes, options, &request.state);
    let body = std::mem::take(request.request.body_mut());
    let headers = request.headers();
    if let Some(media_type) = other_media_type(headers) {
        discard_rest(headers, body).await;
        return Err(HttpError::unsupported_media_type(
            ACCEPT_POST,
            "application/json",
            format!("Content-Type must be application/json, not {media_type}"),
        ));
    }

    let mut body_permit = permit.empty_body_permit();
    let mut free_bytes = BYTES_WITHOUT_PERMIT;
    let body = read_up_to(headers, body, limits, |bytes| {
        let counted_bytes = bytes.saturating_sub(free_bytes);
        free_bytes = free_bytes.saturating_sub(bytes);
        if counted_bytes == 0 {
            return Ok(());
        }
        body_permit.extend_for_write(counted_bytes)
    })
    .await?;

    permit.acquire_write(1)?;
    Ok(body)
}

/// Reads the whole `body`, of any media type, within `limits`.
///
/// `acquire` is called with the number of bytes of each frame before the frame is kept. An error
/// of `acquire` ends the reading.
///
/// # Errors
/// - 415 if the body is compressed
/// - 413 if the body is larger than its limit
/// - 408 if the client does not send the body in time
/// - 400 if the client ends the body early
/// - the errors of `acquire`
pub(crate) async fn read_up_to(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    acquire: impl FnMut(usize) -> HttpResult<()>,
) -> HttpResult<Bytes> {
    let max_bytes = limits.max_bytes;
    if is_encoded(headers) {
        discard_rest(headers, body).await;
        return Err(HttpError::unsupported_media_type(
            header::ACCEPT_ENCODING,
            "identity",
            "Content-Encoding must be left out: the body is read as it is".to_owned(),
        ));
    }
    if declared_length(headers) > max_bytes {
        discard_rest(headers, body).await;
        return Err(body_too_large(max_bytes));
    }

    let reading = read_frames(headers, body, max_bytes, acquire);
    let Some(deadline) = limits.deadline else {
        return reading.await;
    };
    timeout_at(deadline, reading)
        .await
        .unwrap_or_else(|_elapsed| Err(body_timed_out(limits.timeout)))
}

/// Reads all frames of `body`, and returns their data in one piece. After an error, the rest of the
/// body is discarded.
///
/// # Errors
/// The errors of [`join_frames`].
async fn read_frames(
    headers: &HeaderMap,
    mut body: Body,
    max_bytes: usize,
    acquire: impl FnMut(usize) -> HttpResult<()>,
) -> HttpResult<Bytes> {
    let result = join_frames(&mut body, max_bytes, acquire).await;
    if result.is_err() {
        discard_rest(headers, body).await;
    }
    result
}

/// Reads all frames of `body`, and returns their data in one piece.
///
/// # Errors
/// The errors of [`read_up_to`] about the frames: 413, 400, and the errors of `acquire`.
async fn join_frames(
    body: &mut Body,
    max_bytes: usize,
    mut acquire: impl FnMut(usize) -> HttpResult<()>,
) -> HttpResult<Bytes> {
    let mut bytes = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            HttpError::not_an_object(ValidationError::no_json(
                bytes.len(),
                format!("it ended early: {error}"),
            ))
        })?;
        // A frame without data contains trailers, which are ignored.
        let Ok(data) = frame.into_data() else {
            continue;
        };

        if bytes.len() + data.len() > max_bytes {
            return Err(body_too_large(max_bytes));
        }
        acquire(data.len())?;

        // Most bodies are one frame, which is not copied.
        if bytes.is_empty() {
            bytes = data;
            continue;
        }
        let mut joined_bytes = BytesMut::from(bytes);
        joined_bytes.extend_from_slice(&data);
        bytes = joined_bytes.freeze();
    }
    Ok(bytes)
}

/// Returns whether the body is compressed, or encoded in another way.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Creates the error 413 of a body with more than `max_bytes` bytes.
fn body_too_large(max_bytes: usize) -> HttpError {
    HttpError::too_large(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("Request body must not have more than {max_bytes} bytes"),
    )
}

/// Creates the error 408 of a body that was not received within `timeout`.
fn body_timed_out(timeout: Duration) -> HttpError {
    let seconds = timeout.as_secs();
    HttpError::with_kind(
        StatusCode::REQUEST_TIMEOUT,
        ErrorKind::DeadlineExceeded,
        format!("Request body must be sent within {seconds} seconds"),
    )
}

/// Returns the number of bytes that the header `Content-Length` declares, or 0 if the header is
/// missing or is not a number.
fn declared_length(headers: &HeaderMap) -> usize {
    let content_length = headers.get(header::CONTENT_LENGTH);
    content_length
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}

/// Returns the media type of the body in lower case, or `None` if it is JSON.
///
/// A missing or empty media type, and a type such as `application/problem+json`, count as JSON.
fn other_media_type(headers: &HeaderMap) -> Option<String> {
    let media_type = media_type(headers)?;
    if media_type.is_empty() || media_type.eq_ignore_ascii_case(b"application/json") {
        return None;
    }

    let media_type = String::from_utf8_lossy(media_type).to_ascii_lowercase();
    let is_json = media_type.starts_with("application/") && media_type.ends_with("+json");
    (!is_json).then_some(media_type)
}

/// Returns the media type in the header `Content-Type`, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    let content_type = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let mut parts = content_type.split(|byte| *byte == b';');
    Some(parts.next()?.trim_ascii())
}

/// Returns true if a batch is NDJSON, and false if it is a JSON array.
///
/// # Errors
/// 415 if the batch is neither.
pub(crate) fn is_ndjson(headers: &HeaderMap) -> HttpResult<bool> {
    if media_type(headers).is_some_and(|name| name.eq_ignore_ascii_case(NDJSON.as_bytes())) {
        return Ok(true);
    }
    let Some(media_type) = other_media_type(headers) else {
        return Ok(false);
    };
    Err(HttpError::unsupported_media_type(
        ACCEPT_POST,
        "application/json, application/x-ndjson",
        format!("Content-Type must be application/x-ndjson or application/json, not {media_type}"),
    ))
}

/// Returns the format of a file of purchases.
///
/// # Errors
/// 415 if the file is neither CSV nor NDJSON.
pub(crate) fn row_format(headers: &HeaderMap) -> HttpResult<RowFormat> {
    let media_type = media_type(headers).unwrap_or_default();
    for format in RowFormat::ALL {
        if media_type.eq_ignore_ascii_case(format.media_type().as_bytes()) {
            return Ok(format);
        }
    }
    Err(HttpError::unsupported_media_type(
        ACCEPT_POST,
        "text/csv, application/x-ndjson",
        "Content-Type must be text/csv or application/x-ndjson".to_owned(),
    ))
}

/// Returns the encoding of a file of purchases: the one in the parameter `charset` of its media type,
/// or `None` without this parameter.
///
/// # Errors
/// 415 if the parameter names no encoding.
pub(crate) fn charset(headers: &HeaderMap) -> HttpResult<Option<TextEncoding>> {
    // A header that is not text has no parameters.
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parameters = content_type.split(';').skip(1);
    let encoding_name = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"'))
    });
    let Some(encoding_name) = encoding_name else {
        return Ok(None);
    };
    encoding_name.parse().map(Some).map_err(|invalid: Invalid| {
        HttpError::unsupported_media_type(
            ACCEPT_POST,
            "text/csv, application/x-ndjson",
            format!("The charset of Content-Type {}", invalid.reason()),
        )
    })
}

/// Reads and discards the rest of a `body` that is refused, within limits of size and time.
///
/// If the rest exceeds a limit, or if the client expects 100, the rest is not read. The connection, or
/// the stream of HTTP/2, is then closed after the response.
///
/// The returned future is boxed, because refused bodies are rare, and the future of each request
/// would become larger.
pub(crate) fn discard_rest(headers: &HeaderMap, mut body: Body) -> BoxFuture<'static, ()> {
    // A client that expects 100 waits for the response before it sends the body.
    let waits_for_response = headers.contains_key(header::EXPECT);
    if waits_for_response || declared_length(headers) > MAX_DISCARDED_BYTES {
        return std::future::ready(()).boxed();
    }

    let discarding = async move {
        let mut discarded_bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded_bytes += frame.data_ref().map_or(0, Bytes::len);
            if discarded_bytes > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    tokio::time::timeout(DISCARD_TIMEOUT, discarding)
        .map(drop)
        .boxed()
}
