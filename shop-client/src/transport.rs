//! One call: its attempts and their responses, with limits of time and size.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Serialize;
use shop_core::Bytes;
use shop_core::api::{NDJSON, header};
use tokio::time::{Instant, timeout};
use tower::retry::budget::TpsBudget;
use tracing::{Instrument, Span};

use crate::batch::PurchaseBatch;
use crate::correlation::Correlation;
use crate::error::client_error;
use crate::observer::{CallObserver, CallState};
use crate::response::{Response, not_answered};
use crate::tokens::Tokens;
use crate::{Error, ErrorKind, HttpErrorExt, IdempotencyKey, Outcome, Result, RetryPolicy};

/// The maximum size of a response that is not a page.
pub(crate) const TYPICAL_RESPONSE_BYTES: usize = 64 << 10;

/// The maximum size of a page: 1,000 purchases with names of the maximum length have 2 MB.
const PAGE_BYTES: usize = 16 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/json, application/problem+json");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(header::IDEMPOTENCY_KEY);

/// The connection to one service.
pub(crate) struct Transport {
    pub(crate) http: HttpProvider,
    pub(crate) base: Url,
    /// The headers of every request, besides those of the client.
    pub(crate) headers: HeaderMap,
    pub(crate) timeouts: Timeouts,
    pub(crate) tokens: Tokens,
    pub(crate) budget: TpsBudget,
    pub(crate) observer: CallObserver,
}

/// Returns the HTTP client that sends a request.
pub(crate) type HttpProvider = Box<dyn Fn() -> BoxFuture<'static, Result<Client>> + Send + Sync>;

/// The time-outs of one attempt, by call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) buy: Duration,
    pub(crate) query: Duration,
    pub(crate) check: Duration,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The name in the span.
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) sent: Option<Sent>,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) timeout: Duration,
    /// Whether it is retried.
    pub(crate) repeats: bool,
    /// The maximum size of the response; `None` for a stream, which the time-out does not include.
    answer_bytes: Option<usize>,
    /// Headers beside those of every call, or in place of them.
    pub(crate) head: HeaderMap,
    /// Whether a response with this status is the expected one.
    pub(crate) accepts: fn(StatusCode) -> bool,
    /// The problem types that are outcomes rather than errors.
    pub(crate) outcomes: &'static [&'static str],
    /// The error message when nothing of the kind is at this address.
    pub(crate) not_found_hint: &'static str,
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum Sent {
    One(Bytes),
    Batch(Arc<PurchaseBatch>),
}

/// The default hint.
const NO_SERVICE: &str = "there is no such service at this address: check it";

impl Call {
    /// The same call, whose response may be as large as a page.
    pub(crate) fn large(self) -> Self {
        Self {
            answer_bytes: Some(PAGE_BYTES),
            ..self
        }
    }

    /// The same call, whose response is a stream of this type.
    pub(crate) fn streaming(self, media_type: &'static str) -> Self {
        let head = [(ACCEPT, HeaderValue::from_static(media_type))]
            .into_iter()
            .collect();
        Self {
            answer_bytes: None,
            head,
            ..self
        }
    }
}

impl Transport {
    /// The response to `call`, retried as far as that is safe and allowed.
    pub(crate) async fn answer(
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
            idempotency.key = call.key.as_ref().map(IdempotencyKey::as_str),
            http.response.status_code = tracing::field::Empty,
            attempts = tracing::field::Empty,
        );
        let answered = async {
            let head = self.head(call, correlation, &id);
            let start = Instant::now();
            let report = |attempts, state: CallState<'_>| {
                self.observer
                    .report(call.name, attempts, start.elapsed(), state);
            };
            let is_read = call.method.is_safe();
            let attempt = |left| {
                // Boxed, as it would make the futures of callers several times as large.
                Box::pin(self.attempt(call, head.clone(), call.timeout.min(left)))
                    .map_err(|error| read_has_no_effect(error, is_read))
            };
            let retries = if call.repeats {
                retries.clone()
            } else {
                retries.without_retries()
            };
            let (answer, attempts) = retries
                .run(&self.budget, attempt, |error, attempts, pause| {
                    report(attempts, CallState::Retrying { error, pause });
                })
                .await;
            let answer = answer
                .map(|answer| Response {
                    attempts,
                    is_read,
                    ..answer
                })
                .map_err(|error| {
                    let error = error.with_attempts(attempts);
                    // The service may have replaced the id.
                    if error.request_id().is_some() {
                        error
                    } else {
                        error.with_request_id(&id)
                    }
                });
            record(&answer, attempts);
            report(
                attempts,
                answer
                    .as_ref()
                    .map_or_else(CallState::Failed, |_| CallState::Succeeded),
            );
            answer
        };
        answered.instrument(span).await
    }

    /// The headers of every attempt.
    fn head(&self, call: &Call, correlation: &Correlation, id: &str) -> HeaderMap {
        let mut head = self.headers.clone();
        head.insert(ACCEPT, ACCEPTED);
        match &call.sent {
            Some(Sent::One(_)) => drop(head.insert(CONTENT_TYPE, JSON)),
            Some(Sent::Batch(_)) => {
                drop(head.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON)));
            }
            None => {}
        }
        // A key is visible ASCII.
        let key = call
            .key
            .as_ref()
            .and_then(|key| HeaderValue::from_str(key.as_str()).ok());
        head.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
        correlation.write(&mut head, id);
        head.extend(call.head.clone());
        head
    }

    async fn attempt(&self, call: &Call, mut head: HeaderMap, limit: Duration) -> Result<Response> {
        let start = Instant::now();
        let left = || limit.saturating_sub(start.elapsed());
        let token = self.tokens.header(None, limit).await?;
        head.extend(token.clone().map(|token| (AUTHORIZATION, token)));
        let mut answer = self.send(call, head.clone(), left()).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(fresh) = self.tokens.header(token.as_ref(), left()).await?
        {
            head.insert(AUTHORIZATION, fresh);
            answer = self.send(call, head, left()).await?;
        }
        judged(call, answer)
    }

    async fn send(&self, call: &Call, head: HeaderMap, limit: Duration) -> Result<Response> {
        let request = (self.http)()
            .await?
            .request(call.method.clone(), call.url.clone())
            .headers(head);
        let request = match &call.sent {
            Some(Sent::One(body)) => request.body(body.clone()),
            Some(Sent::Batch(batch)) => request.body(batch.body()?),
            None => request,
        };
        let answered = async {
            let response = request.send().await.map_err(not_answered)?;
            Response::read(response, call.answer_bytes).await
        };
        // reqwest's own time-out would end a stream as well.
        timeout(limit, answered).await.unwrap_or_else(|_elapsed| {
            let late = client_error(ErrorKind::DeadlineExceeded, "no response in time");
            Err(late.with_outcome(Outcome::Unknown))
        })
    }

    /// A write of `body` with `key`, whose expected status is 201.
    pub(crate) fn write(
        &self,
        name: &'static str,
        path: &str,
        body: &impl Serialize,
        key: IdempotencyKey,
    ) -> Result<Call> {
        let call = self.post(name, path, Sent::One(json(body)?.into()));
        Ok(Call {
            key: Some(key),
            accepts: |status| status == StatusCode::CREATED,
            ..call
        })
    }

    /// A request with a body.
    pub(crate) fn post(&self, name: &'static str, path: &str, sent: Sent) -> Call {
        let call = self.query(name, path, &[]);
        Call {
            method: Method::POST,
            sent: Some(sent),
            timeout: self.timeouts.buy,
            ..call
        }
    }

    /// A query of `path` below the address of the service. Its expected status is 200.
    pub(crate) fn query(
        &self,
        name: &'static str,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Call {
        let mut url = self.base.clone();
        // The base ends with a slash, and the paths contain nothing that leads elsewhere.
        url.set_path(&format!("{}{path}", self.base.path()));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        Call {
            name,
            method: Method::GET,
            url,
            sent: None,
            key: None,
            timeout: self.timeouts.query,
            repeats: true,
            answer_bytes: Some(TYPICAL_RESPONSE_BYTES),
            head: HeaderMap::new(),
            accepts: |status| status == StatusCode::OK,
            outcomes: &[],
            not_found_hint: NO_SERVICE,
        }
    }
}

/// The body of a request, as JSON.
pub(crate) fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| {
        client_error(
            ErrorKind::Internal,
            "the request body could not be written as JSON",
        )
        .with_source(error)
    })
}

/// Returns `error` with the outcome "not applied" if the call only reads, because a read changes nothing.
fn read_has_no_effect(error: Error, is_read: bool) -> Error {
    if is_read {
        error.with_outcome(Outcome::NotApplied)
    } else {
        error
    }
}

fn judged(call: &Call, answer: Response) -> Result<Response> {
    if let (Some(Sent::Batch(batch)), StatusCode::OK) = (&call.sent, answer.status) {
        return batch.judged(answer);
    }
    if (call.accepts)(answer.status) || answer.problem_among(call.outcomes).is_some() {
        Ok(answer)
    } else {
        Err(answer.refused(call.not_found_hint))
    }
}

/// Records the outcome of the call in the span.
fn record(answer: &Result<Response>, attempts: u32) {
    let status = match answer {
        Ok(answer) => Some(answer.status.as_u16()),
        Err(error) => error.status(),
    };
    let span = Span::current();
    status.map(|status| span.record("http.response.status_code", status));
    span.record("attempts", attempts);
}

/// Without the address, which may contain a password.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.base.host_str().unwrap_or_default();
        f.debug_struct("Transport")
            .field("host", &host)
            .field("port", &self.base.port())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
