//! One trace from the request of a purchase to its insert, and one request id in both services.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use shop_http::axum::Router;
use shop_http::axum::extract::State;
use shop_http::axum::routing::post;
use tokio::net::TcpListener;

use crate::process::{Binary, Process, plain, until};

/// Spans with the name of their service.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector of traces. Returns its address.
async fn collector() -> (String, Spans) {
    async fn collect(State(spans): State<Spans>, body: Bytes) {
        for of_resource in ExportTraceServiceRequest::decode(body)
            .unwrap()
            .resource_spans
        {
            let resource = of_resource.resource.unwrap().attributes;
            let name = resource
                .iter()
                .find(|attribute| attribute.key == "service.name")
                .unwrap();
            let name = text(name.value.as_ref());
            let of_scopes = of_resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            spans
                .lock()
                .unwrap()
                .extend(of_scopes.map(|span| (name.clone(), span)));
        }
    }
    let spans = Spans::default();
    let router = Router::new()
        .route("/v1/traces", post(collect))
        .with_state(Arc::clone(&spans));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { shop_http::axum::serve(listener, router).await });
    (address, spans)
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// The attributes of a span.
fn attributes(span: &Span) -> BTreeMap<&str, String> {
    span.attributes
        .iter()
        .map(|attribute| (attribute.key.as_str(), text(attribute.value.as_ref())))
        .collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn one_trace_shows_a_purchase_from_its_request_to_its_insert() {
    let (address, spans) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let traces = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let management = Process::start(Binary::Management, folder.path(), &traces).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let facing = Process::start(
        Binary::Facing,
        folder.path(),
        &[&traces[..], &[url]].concat(),
    )
    .await;
    let request = plain()
        .post(facing.path("/v1/purchases"))
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{SENDER}-01"))
        .body(r#"{"username":"ada","userid":"u1","price":7}"#);
    assert_eq!(request.send().await.unwrap().status(), 201);

    let of_trace = || {
        let all = spans.lock().unwrap();
        let of_trace = all.iter().filter(|(_, span)| hex(&span.trace_id) == TRACE);
        let named =
            of_trace.map(|(service, span)| (format!("{service}: {}", span.name), span.clone()));
        named.collect::<BTreeMap<String, Span>>()
    };
    let names = [
        "facing: POST /v1/purchases",
        "facing: send purchases",
        "management: process purchases",
    ];
    until("export the spans", async || {
        names.iter().all(|name| of_trace().contains_key(*name))
    })
    .await;
    let found = of_trace();
    let [request, send, process] = names.map(|name| &found[name]);
    assert_eq!(hex(&request.parent_span_id), SENDER);
    assert_eq!(
        (&send.parent_span_id, &process.parent_span_id),
        (&request.span_id, &send.span_id)
    );
    assert_eq!(
        [request.kind, send.kind, process.kind],
        [2, 4, 5],
        "server, producer, consumer"
    );
    assert!(process.start_time_unix_nano <= process.end_time_unix_nano);
    let request = attributes(request);
    let send = attributes(send);
    let process = attributes(process);
    assert_eq!(
        (
            &*request["http.route"],
            &*request["http.response.status_code"]
        ),
        ("/v1/purchases", "201")
    );
    for name in [
        "messaging.system",
        "messaging.destination.name",
        "messaging.message.id",
    ] {
        assert_eq!(send[name], process[name], "{name}");
    }
    for name in [
        "messaging.destination.partition.id",
        "messaging.kafka.offset",
    ] {
        assert_eq!(send[name], process[name], "{name}");
    }
    assert_eq!(process["messaging.consumer.group.name"], "purchase-group");
}
