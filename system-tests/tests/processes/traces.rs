//! One trace from the request of a purchase to its insert.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use shop_http::axum::Router;
use shop_http::axum::extract::State;
use shop_http::axum::routing::post;

use crate::prelude::*;

/// The spans that were exported, by the names of service and span.
type Spans = Arc<Mutex<BTreeMap<String, Span>>>;

async fn collect(State(spans): State<Spans>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap();
        let service = &attributes(&resource.attributes)["service.name"];
        for span in of_resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            if hex(&span.trace_id) == TRACE {
                let name = format!("{service}: {}", span.name);
                spans.lock().unwrap().insert(name, span);
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

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: Option<&AnyValue>| match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let named = attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref())));
    named.collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
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

    let names = [
        "facing: POST /v1/purchases",
        "facing: send purchases",
        "management: process purchases",
    ];
    let has_all = || {
        let spans = spans.lock().unwrap();
        names.iter().all(|name| spans.contains_key(*name))
    };
    until("export the spans", async || has_all()).await;
    let spans = spans.lock().unwrap();
    let [request, send, process] = names.map(|name| &spans[name]);
    assert_eq!(hex(&request.parent_span_id), SENDER);
    assert_eq!(send.parent_span_id, request.span_id);
    assert_eq!(process.parent_span_id, send.span_id);
    // Server, producer, consumer.
    assert_eq!([request.kind, send.kind, process.kind], [2, 4, 5]);
    let [request, send, process] =
        [request, send, process].map(|span| attributes(&span.attributes));
    assert_eq!(request["http.route"], "/v1/purchases");
    assert_eq!(request["http.response.status_code"], "201");
    for name in [
        "messaging.system",
        "messaging.destination.name",
        "messaging.destination.partition.id",
        "messaging.kafka.offset",
        "messaging.message.id",
    ] {
        assert_eq!(send[name], process[name], "{name}");
    }
    assert_eq!(process["messaging.consumer.group.name"], "purchase-group");
}
