//! `POST /v1/purchases:import` of management: imports a file of purchases, as `management import`
//! does.
//!
//! The whole file is read before the import begins. A file that cannot be read is refused by the
//! status of the response. After that, the response is a stream of lines with the progress of the
//! import, which runs while the client reads these lines: see [`respond`].

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use shop_api::NDJSON;
use shop_api::files::Import;
use shop_core::import::ImportReport;
use shop_core::{Error, ErrorKind};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::auth::{Action, Audited, Caller};
use crate::permits::{Permit, RequestPermit};
use crate::pipeline::browsers::ForeignOrigin;
use crate::request::body::BodyLimits;
use crate::request::query::ImportRequest;
use crate::request::write_request::WriteRequest;
use crate::request::{self, Query};
use crate::response::{HttpError, HttpResult};
use crate::service::PurchaseService;

/// The units of the pool of writes that an import acquires, as many as a batch.
const WRITE_UNITS: usize = 8;

/// Handles `POST /v1/purchases:import`: imports the file in the body, or shows in a dry run how the
/// file would be read.
///
/// # Errors
/// - the errors of [`check_head`], before the body is read
/// - the errors of [`read_up_to`](request::body::read_up_to)
/// - 503 if there is no room for the file, or for the writes
/// - 422 if the file cannot be read
/// - 409 if the file was imported before with other options
/// - 503 if the store cannot be reached, and so cannot tell whether the file was imported before
pub(crate) async fn post(purchases: Arc<PurchaseService>, request: WriteRequest) -> HttpResult {
    let permit = request.permit()?;
    let limits = BodyLimits::new(
        purchases.options.max_import_bytes,
        &purchases.options,
        &request.state,
    );
    let (parts, body) = request.into_request().into_parts();
    let caller = Caller::from_extensions(&parts.extensions);
    let ImportRequest { import, is_dry_run } = match check_head(&purchases, &caller, &parts) {
        Ok(import_request) => import_request,
        Err(error) => {
            request::body::discard_rest(&parts.headers, body).await;
            return Err(error);
        }
    };

    let mut body_permit = permit.empty_body_permit();
    let file = request::body::read_up_to(&parts.headers, body, limits, |bytes| {
        body_permit.extend_for_write(bytes)
    })
    .await?;
    permit.acquire_write(WRITE_UNITS)?;

    // The preview finds out whether the file can be read, while the status can still say so.
    let preview = import
        .preview(&file[..])
        .map_err(|error| file_error(StatusCode::UNPROCESSABLE_ENTITY, &error))?;
    if is_dry_run {
        return Ok(Json(preview).into_response());
    }
    import
        .check_repetition(&purchases.shop, &file[..])
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::Conflict => file_error(StatusCode::CONFLICT, &error),
            _ => HttpError::failed_query(error, purchases.subject()),
        })?;

    caller.audit(Audited {
        action: "import",
        is_allowed: true,
        ..Audited::default()
    });
    Ok(respond(purchases, import, file, body_permit, permit))
}

/// Returns the response to a fault of the file, with the text of `error`.
fn file_error(status: StatusCode, error: &Error) -> HttpError {
    HttpError::with_kind(status, error.kind(), error.message().to_owned())
}

/// Checks the head of a request before its body is read, and returns the requested import.
///
/// # Errors
/// - 403 if the caller is no operator, or if a page of another origin sends the request
/// - 415 if the file is neither CSV nor NDJSON, or its charset is unknown
/// - 503 if the currency of the shop is not known yet, or the store has another one
/// - 422 for invalid parameters
fn check_head(
    purchases: &PurchaseService,
    caller: &Caller,
    parts: &Parts,
) -> HttpResult<ImportRequest> {
    purchases.policy.check(caller, &Action::Operate)?;
    ForeignOrigin::refuse(&parts.extensions)?;
    let format = request::body::row_format(&parts.headers)?;

    let options = &purchases.options;
    let import = Import::new(format)
        .encoding(request::body::charset(&parts.headers)?)
        .retention(options.purchase_retention)
        .currency(purchases.known_currency()?)
        .refunds(options.refunds);
    let (import_request, _no_wait) = Query::read_from(&parts.uri, Query::IMPORT, |query| {
        Some(query.import(import))
    })?;
    Ok(import_request)
}

/// Returns the response that runs `import` and streams its reports as NDJSON.
///
/// There is a line after each batch, and a last line with `done`, which also contains a `problem`
/// if the import failed. The import is part of the stream, so it stops when the client disconnects.
/// It keeps the permits until it ends.
fn respond(
    purchases: Arc<PurchaseService>,
    import: Import,
    file: Bytes,
    body_permit: Permit,
    permit: RequestPermit,
) -> Response {
    let (line_sender, mut line_receiver) = unbounded_channel();
    let run_import = async move {
        // The permits are dropped when the import ends.
        let _permits = (body_permit, permit);
        let mut report = ImportReport::default();
        let on_batch = |report: &ImportReport| send_progress(&line_sender, report);
        let result = import
            .run(&purchases.shop, Cursor::new(file), &mut report, on_batch)
            .await;
        let problem = result.err().map(|error| error.to_string());
        send_last_report(&line_sender, &report, problem);
    };

    // The import itself yields no items. When it ends, its sender is dropped, and the lines end
    // too.
    let no_lines = run_import.into_stream().filter_map(|()| async { None });
    let lines = stream::poll_fn(move |context| line_receiver.poll_recv(context))
        .map(Ok::<Bytes, Infallible>);
    let body = Body::from_stream(stream::select(lines, no_lines));
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

/// Sends the `report` of an import that continues.
fn send_progress(line_sender: &UnboundedSender<Bytes>, report: &ImportReport) {
    let mut line = json!(report);
    line["done"] = false.into();
    send_line(line_sender, &line);
}

/// Sends the `report` of an import that ended, with its `problem` if it failed.
fn send_last_report(
    line_sender: &UnboundedSender<Bytes>,
    report: &ImportReport,
    problem: Option<String>,
) {
    let mut line = json!(report);
    line["done"] = true.into();
    if let Some(problem) = problem {
        line["problem"] = problem.into();
    }
    send_line(line_sender, &line);
}

/// Sends `line` to the client as a line of NDJSON.
fn send_line(line_sender: &UnboundedSender<Bytes>, line: &Value) {
    // Sending fails if the client disconnected, and then no client needs the line.
    _ = line_sender.send(format!("{line}\n").into());
}
