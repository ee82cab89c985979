//! One trace from the request of a purchase to its insert.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use shop_http::axum::Router;
use shop_http::axum::extract::State;
use shop_http::axum::routing::post;

use crate::prelude::*;

/// The spans that were exported, with the attributes of the services that have exported them.
type Spans = Arc<Mutex<Vec<Span>>>;

async fn collect(State(spans): State<Spans>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_service in request.resource_spans {
        let service = of_service.resource.unwrap();
        for scope in of_service.scope_spans {
            for mut span in scope.spans {
                span.attributes.extend(service.attributes.clone());
                spans.lock().unwrap().push(span);
            }
        }
    }
}

/// Starts a collector of traces. Returns its address.
async fn start_collector(spans: &Spans) -> String {
    let router = Router::new()
        .route("/v1/traces", post(collect))
        .with_state(Arc::clone(spans));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { shop_http::axum::serve(listener, router).await });
    address
}

/// A span with its attributes, a line for each.
fn show(span: &Span) -> String {
    let attributes = span.attributes.iter();
    let lines: BTreeSet<_> = attributes
        .map(|attribute| format!("  {}  {:?}\n", attribute.key, attribute.value))
        .collect();
    format!("{}\n{}", span.name, Vec::from_iter(lines).concat())
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

#[tokio::test]
async fn one_trace_shows_a_purchase_from_its_request_to_its_insert() {
    let spans = Spans::default();
    let address = start_collector(&spans).await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let management = Process::start(Binary::Management, folder.path(), &settings).await;
    settings.push(("MANAGEMENT_URL", &management.url));
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let request = plain()
        .post(facing.path("/v1/purchases"))
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{SENDER}-01"));
    assert_eq!(exchange(request.body(ADA)).await.0, 201);

    let of_trace = || {
        let mut spans = spans.lock().unwrap().clone();
        spans.retain(|span| HEXLOWER.encode(&span.trace_id) == TRACE);
        // Server, producer, consumer.
        spans.sort_by_key(|span| span.kind);
        spans
    };
    until("export the spans", async || of_trace().len() == 3).await;
    let spans = of_trace();
    assert_eq!(HEXLOWER.encode(&spans[0].parent_span_id), SENDER);
    assert_eq!(spans[1].parent_span_id, spans[0].span_id);
    assert_eq!(spans[2].parent_span_id, spans[1].span_id);
    let shown: String = spans.iter().map(show).collect();
    assert_snapshot("trace", &shown);
}
