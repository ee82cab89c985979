//! `POST /v1/purchases:import` of management: imports a file of purchases, as `management import`
//! does.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::json;
use shop_core::api::NDJSON;
use shop_core::import::{Import, ImportReport};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::auth::{Action, Audited, Caller};
use crate::permits::{Permit, RequestPermit};
use crate::request::{self, Query};
use crate::response::{HttpError, HttpResult};
use crate::server::browsers::ForeignOrigin;
use crate::service::PurchaseService;

/// The units of the pool of writes that an import takes, as many as a batch.
const WRITES: usize = 8;

pub(crate) async fn post(
    State(purchases): State<Arc<PurchaseService>>,
    request: Request,
) -> HttpResult {
    let (parts, body) = request.into_parts();
    let caller = Caller::of(&parts.extensions);
    let checked = purchases
        .policy
        .check(&caller, &Action::Operate)
        .and_then(|()| ForeignOrigin::refuse(&parts.extensions))
        .and_then(|()| requested(&parts.uri, &parts.headers, &purchases));
    let (import, is_dry_run) = match checked {
        Ok(requested) => requested,
        Err(failure) => {
            request::body::read_on(&parts.headers, body).await;
            return Err(failure);
        }
    };

    let permit = RequestPermit::of(&parts.extensions)?;
    let mut body_permit = permit.empty_body_permit();
    let options = &purchases.options;
    let limit = options.max_import_bytes;
    let file = request::body::read_up_to(&parts.headers, body, limit, options, |bytes| {
        body_permit.extend_for_write(bytes)
    })
    .await?;
    permit.acquire_write(WRITES)?;
    // A file that cannot be read is refused by the status of the response.
    let preview = import.preview(&file[..]).map_err(|error| {
        HttpError::with_kind(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.kind(),
            error.message().to_owned(),
        )
    })?;
    if is_dry_run {
        return Ok(Json(preview).into_response());
    }
    caller.audit(Audited {
        action: "import",
        is_allowed: true,
        ..Audited::default()
    });
    Ok(respond(purchases, import, file, body_permit, permit))
}

/// Reads the import that a request asks for, and whether it is only to show how the file would be
/// read.
fn requested(
    uri: &Uri,
    headers: &HeaderMap,
    purchases: &PurchaseService,
) -> HttpResult<(Import, bool)> {
    let format = request::body::row_format(headers)?;
    let options = &purchases.options;
    let import = Import::new(format)
        .retention(options.purchase_retention)
        .currency(options.currency.clone())
        .refunds(options.refunds);
    let (requested, _no_wait) =
        Query::read_from(uri, Query::IMPORT, |query| Some(query.import(import)))?;
    Ok(requested)
}

/// Responds with the report after each batch as a line of NDJSON. The last line has `done`, and a
/// `problem` if the import has failed. A client that disconnects stops the import.
fn respond(
    purchases: Arc<PurchaseService>,
    import: Import,
    file: Bytes,
    body_permit: Permit,
    permit: RequestPermit,
) -> Response {
    let (lines, mut reports) = unbounded_channel();
    let importing = async move {
        let _until_the_end = (body_permit, permit);
        let mut report = ImportReport::default();
        let sink = purchases.sink.inner();
        let problem = import
            .run(
                sink,
                &*purchases.query,
                Cursor::new(file),
                &mut report,
                |report| send(&lines, report, false, None),
            )
            .await
            .err()
            .map(|error| error.to_string());
        send(&lines, &report, true, problem);
    };
    // The lines end when the import has ended, as it has the sender.
    let nothing = importing.into_stream().filter_map(|()| async { None });
    let lines =
        stream::poll_fn(move |context| reports.poll_recv(context)).map(Ok::<Bytes, Infallible>);
    let body = Body::from_stream(stream::select(lines, nothing));
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

fn send(
    lines: &UnboundedSender<Bytes>,
    report: &ImportReport,
    done: bool,
    problem: Option<String>,
) {
    let mut line = json!(report);
    line["done"] = done.into();
    if let Some(problem) = problem {
        line["problem"] = problem.into();
    }
    // The client may have gone.
    _ = lines.send(format!("{line}\n").into());
}
