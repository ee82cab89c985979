//! Sends calls to a service, and retries them.
//!
//! A [`Call`] describes a request and the responses that are expected. [`Transport::write`],
//! [`post`](Transport::post) and [`query`](Transport::query) create calls, whose fields the caller
//! may change. [`Transport::execute`] sends a call:
//!
//! - `execute` retries by the [`RetryPolicy`], and reports to the span and to the observer
//! - `attempt` adds the bearer token, renews a rejected one, and checks the status
//! - `send` exchanges one request for one response, within a time limit

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Serialize;
use shop_api::{NDJSON, header};
use shop_core::Bytes;
use tokio::time::{Instant, timeout};
use tower::retry::budget::TpsBudget;
use tracing::{Instrument, Span};

use crate::batch::PurchaseBatch;
use crate::correlation::Correlation;
use crate::error::client_error;
use crate::observer::{CallObserver, CallState};
use crate::response::{Response, no_response_error, response_timed_out};
use crate::tokens::Tokens;
use crate::{Error, ErrorKind, HttpErrorExt, IdempotencyKey, Outcome, Result, RetryPolicy};

/// The maximum size of a response that contains no stored purchases, and of an event, whose purchase
/// was accepted.
pub(crate) const TYPICAL_RESPONSE_BYTES: usize = 64 << 10;

/// The maximum size of a page, of one stored purchase, and of a line of an export.
///
/// 1,000 purchases with texts of the maximum length take 5 MB, and the other members of a page 4
/// MiB. A purchase that was accepted takes less than 64 KiB, but another program may have written a
/// larger one to the store.
pub(crate) const PAGE_BYTES: usize = 16 << 20;

const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/json, application/problem+json");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(header::IDEMPOTENCY_KEY);

/// The connections to one service, and the settings that all calls share.
pub(crate) struct Transport {
    pub(crate) http_provider: HttpProvider,
    /// The address of the service, which ends with a slash.
    pub(crate) base_url: Url,
    /// The headers of every request, in addition to the headers that this module writes.
    pub(crate) headers: HeaderMap,
    pub(crate) timeouts: Timeouts,
    pub(crate) tokens: Tokens,
    /// The budget of retries.
    pub(crate) budget: TpsBudget,
    pub(crate) observer: CallObserver,
}

/// A function that returns the HTTP client for the next request.
pub(crate) type HttpProvider = Box<dyn Fn() -> BoxFuture<'static, Result<Client>> + Send + Sync>;

/// The time-outs of one attempt, by kind of call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) buy: Duration,
    pub(crate) query: Duration,
    pub(crate) check: Duration,
}

/// A call: its request, and the responses that are expected.
#[derive(Debug)]
pub(crate) struct Call {
    /// The name of the call in spans and in events of the observer.
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: Option<RequestBody>,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
    /// The time-out of one attempt.
    pub(crate) timeout: Duration,
    /// Whether the call may be retried.
    pub(crate) is_repeatable: bool,
    /// The maximum size of the response, or `None` for a stream. The time-out of a streaming call
    /// does not include the stream.
    max_response_bytes: Option<usize>,
    /// The headers of this call, which replace headers of the same name that every call sends.
    pub(crate) headers: HeaderMap,
    /// Returns whether a response with this status is expected.
    pub(crate) expects_status: fn(StatusCode) -> bool,
    /// The problem types that are expected as well: they are results rather than errors.
    pub(crate) expected_problems: &'static [&'static str],
    /// The error message if there is no such path at the address.
    pub(crate) not_found_hint: &'static str,
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// A JSON value.
    Json(Bytes),
    /// The purchases of a batch that still lack a result, one per line.
    Batch(Arc<PurchaseBatch>),
}

impl Call {
    /// Allows a response that is as large as a page.
    pub(crate) fn with_large_response(mut self) -> Self {
        self.max_response_bytes = Some(PAGE_BYTES);
        self
    }

    /// Allows only a response with one entity, of at most [`TYPICAL_RESPONSE_BYTES`]. This is the
    /// default.
    pub(crate) fn with_typical_response(mut self) -> Self {
        self.max_response_bytes = Some(TYPICAL_RESPONSE_BYTES);
        self
    }

    /// Requests a response of `media_type`, which is left as a stream.
    pub(crate) fn with_streamed_response(mut self, media_type: &'static str) -> Self {
        self.max_response_bytes = None;
        self.headers
            .insert(ACCEPT, HeaderValue::from_static(media_type));
        self
    }
}

impl Transport {
    /// Sends `call`, and returns the response. A call that may be repeated is retried by `retries`.
    ///
    /// # Errors
    /// Returns the error of the last attempt. Its outcome is unknown if the outcome of any attempt
    /// is unknown.
    pub(crate) async fn execute(
        &self,
        call: &Call,
        correlation: &Correlation,
        retries: &RetryPolicy,
    ) -> Result<Response> {
        let id = correlation.request_id();
        let span = tracing::info_span!(
            "shop_client",
            otel.kind = "client",
            otel.name = call.name,
            call = call.name,
            request.id = id.as_str(),
            idempotency.key = call.idempotency_key.as_ref().map(IdempotencyKey::as_str),
            http.response.status_code = tracing::field::Empty,
            attempts = tracing::field::Empty,
        );

        let execution = async {
            let headers = self.build_headers(call, correlation, &id);
            let start = Instant::now();
            let report_state = |attempts, state: CallState<'_>| {
                self.observer
                    .report(call.name, attempts, start.elapsed(), state);
            };
            let (result, attempts) = self
                .attempt_with_retries(call, &headers, retries, |error, attempts, pause| {
                    report_state(attempts, CallState::Retrying { error, pause });
                })
                .await;

            let span = Span::current();
            match result {
                Ok(response) => {
                    span.record("http.response.status_code", response.status.as_u16());
                    span.record("attempts", attempts);
                    report_state(attempts, CallState::Succeeded);
                    Ok(Response {
                        attempts,
                        is_read_request: call.method.is_safe(),
                        ..response
                    })
                }
                Err(error) => {
                    let error = describe_failure(error, attempts, &id);
                    if let Some(status) = error.status() {
                        span.record("http.response.status_code", status);
                    }
                    span.record("attempts", attempts);
                    report_state(attempts, CallState::Failed(&error));
                    Err(error)
                }
            }
        };
        execution.instrument(span).await
    }

    /// Sends `call` with `headers`, and again as `retries` say, if the call may be repeated. Returns
    /// the result of the last attempt, and the number of attempts.
    async fn attempt_with_retries(
        &self,
        call: &Call,
        headers: &HeaderMap,
        retries: &RetryPolicy,
        before_pause: impl Fn(&Error, u32, Duration),
    ) -> (Result<Response>, u32) {
        let is_read_request = call.method.is_safe();
        let attempt = |time_left| {
            let time_limit = call.timeout.min(time_left);
            // Boxed, because the futures of callers would be several times as large otherwise.
            Box::pin(self.attempt(call, headers.clone(), time_limit))
                .map_err(|error| with_outcome_of_read(error, is_read_request))
        };
        let mut retries = retries.clone();
        if !call.is_repeatable {
            retries = retries.without_retries();
        }
        retries.run(&self.budget, attempt, before_pause).await
    }

    /// Builds the headers that every attempt of `call` sends in addition to the bearer token. `id`
    /// is the id of the request.
    fn build_headers(&self, call: &Call, correlation: &Correlation, id: &str) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT, ACCEPTED);

        if let Some(body) = &call.body {
            let content_type = match body {
                RequestBody::Json(_) => "application/json",
                RequestBody::Batch(_) => NDJSON,
            };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }

        // Every key is visible ASCII, and so a valid value.
        if let Some(key) = &call.idempotency_key
            && let Ok(value) = HeaderValue::from_str(key.as_str())
        {
            headers.insert(IDEMPOTENCY_KEY, value);
        }

        correlation.write_headers(&mut headers, id);
        headers.extend(call.headers.clone());
        headers
    }

    /// Sends `call` once, or twice if the service rejects the bearer token and there is a new one.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if `time_limit` passes
    /// - The error of the provider of HTTP clients or of tokens
    /// - The error of a request without a response, or of a response that is unreadable or not
    ///   expected
    async fn attempt(
        &self,
        call: &Call,
        mut headers: HeaderMap,
        time_limit: Duration,
    ) -> Result<Response> {
        let start = Instant::now();
        let time_left = || time_limit.saturating_sub(start.elapsed());

        let no_rejected_token = None;
        let token = self
            .tokens
            .authorization(no_rejected_token, time_limit)
            .await?;
        headers.extend(token.clone().map(|token| (AUTHORIZATION, token)));
        let mut response = self.send(call, headers.clone(), time_left()).await?;

        if response.status == StatusCode::UNAUTHORIZED {
            let rejected_token = token.as_ref();
            let new_token = self
                .tokens
                .authorization(rejected_token, time_left())
                .await?;
            if let Some(new_token) = new_token {
                headers.insert(AUTHORIZATION, new_token);
                response = self.send(call, headers, time_left()).await?;
            }
        }

        if response.status == StatusCode::OK
            && let Some(RequestBody::Batch(batch)) = &call.body
        {
            return batch.record_response(response);
        }
        if (call.expects_status)(response.status)
            || response.find_problem_type(call.expected_problems).is_some()
        {
            return Ok(response);
        }
        Err(response.refusal_error(call.not_found_hint))
    }

    /// Sends one request, and reads its response within `time_limit`. The time that the provider
    /// takes to return an HTTP client does not count.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if `time_limit` passes
    /// - The error of the provider of HTTP clients
    /// - The error of a request without a response, or of an unreadable response
    async fn send(
        &self,
        call: &Call,
        headers: HeaderMap,
        time_limit: Duration,
    ) -> Result<Response> {
        let request = (self.http_provider)()
            .await?
            .request(call.method.clone(), call.url.clone())
            .headers(headers);
        let request = match &call.body {
            Some(RequestBody::Json(body)) => request.body(body.clone()),
            Some(RequestBody::Batch(batch)) => request.body(batch.next_request_body()?),
            None => request,
        };

        let exchange = async {
            let response = request.send().await.map_err(no_response_error)?;
            Response::read(response, call.max_response_bytes).await
        };
        // The time-out of reqwest would also end a stream.
        timeout(time_limit, exchange)
            .await
            .unwrap_or_else(|_elapsed| Err(response_timed_out()))
    }

    /// Creates a write of `body` as JSON with `key`. Its expected status is 201.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if `body` cannot be written as JSON.
    pub(crate) fn write(
        &self,
        name: &'static str,
        path: &str,
        body: &impl Serialize,
        key: IdempotencyKey,
    ) -> Result<Call> {
        let mut call = self.post(name, path, RequestBody::Json(json_body(body)?.into()));
        call.idempotency_key = Some(key);
        call.expects_status = |status| status == StatusCode::CREATED;
        Ok(call)
    }

    /// Creates a request with a body. Its expected status is 200.
    pub(crate) fn post(&self, name: &'static str, path: &str, body: RequestBody) -> Call {
        let no_parameters = [];
        let mut call = self.query(name, path, &no_parameters);
        call.method = Method::POST;
        call.body = Some(body);
        call.timeout = self.timeouts.buy;
        call
    }

    /// Creates a query of `path` below the address of the service. Its expected status is 200.
    pub(crate) fn query(
        &self,
        name: &'static str,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Call {
        let mut url = self.base_url.clone();
        // The base URL ends with a slash. The paths of this crate contain no `..`, and
        // `ShopClient::request` checks the path of a caller.
        url.set_path(&format!("{}{path}", self.base_url.path()));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }

        Call {
            name,
            method: Method::GET,
            url,
            body: None,
            idempotency_key: None,
            timeout: self.timeouts.query,
            is_repeatable: true,
            max_response_bytes: Some(TYPICAL_RESPONSE_BYTES),
            headers: HeaderMap::new(),
            expects_status: |status| status == StatusCode::OK,
            expected_problems: &[],
            not_found_hint: "there is no such service at this address: check it",
        }
    }
}

/// Writes the body of a request as JSON.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) if `body` cannot be written as JSON.
pub(crate) fn json_body(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| {
        client_error(
            ErrorKind::Internal,
            "the request body could not be written as JSON",
        )
        .with_source(error)
    })
}

/// Adds to `error` the number of attempts, and the id of the request, unless the response contained
/// an id: the service may have replaced the id.
fn describe_failure(error: Error, attempts: u32, id: &str) -> Error {
    let error = error.with_attempts(attempts);
    if error.request_id().is_some() {
        return error;
    }
    error.with_request_id(id)
}

/// Returns `error` with the outcome "not applied" if the request only reads, and unchanged if it may
/// write. A read changes nothing, also if its response is lost.
fn with_outcome_of_read(error: Error, is_read_request: bool) -> Error {
    if is_read_request {
        return error.with_outcome(Outcome::NotApplied);
    }
    error
}

/// Shows the transport without its address, which may contain a password.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("host", &self.base_url.host_str().unwrap_or_default())
            .field("port", &self.base_url.port())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
