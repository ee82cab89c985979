//! The client's spans and events, in a separate process: the set of enabled callsites is global to a process.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "wire/shop.rs"]
#[expect(dead_code, reason = "most of it is for other tests")]
mod shop;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use shop_client::RequestContext;
use tempfile::NamedTempFile;
use tracing::subscriber::DefaultGuard;
use tracing::{Instrument, Level};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;

use crate::shop::{Script, Turn, ada, refusal};

/// Logs the events of the client in this thread, and each of its spans when it ends.
fn listen() -> (NamedTempFile, DefaultGuard) {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let lines = NamedTempFile::new().unwrap();
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(lines.reopen().unwrap())
        .with_filter(Targets::new().with_target("shop_client", Level::TRACE));
    let tracer = SdkTracerProvider::default().tracer("test");
    let traces = tracing_opentelemetry::layer().with_tracer(tracer);
    let subscriber = tracing_subscriber::registry().with(traces).with(log);
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn a_call_is_a_span_and_nothing_is_logged_above_debug() {
    for (last, status) in [(Turn::Say(refusal(400, &[], "")), 400), (Turn::Pass, 201)] {
        let (lines, _guard) = listen();
        let script = Script::new([Turn::Say(refusal(503, &[], "")), last]);
        let client = script.client().await;
        let client = client.with_context(RequestContext::new(Some("r-1".to_owned()), None));
        assert_eq!(client.shop().buy(ada("1")).await.is_ok(), status == 201);

        let lines = std::fs::read_to_string(lines.path()).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        let [retry, end] = lines[..] else {
            panic!("{lines:#?}")
        };
        assert!(
            retry.contains(" DEBUG ") && retry.contains("retrying"),
            "{retry}"
        );
        for part in [
            " INFO ",
            "call=\"buy\"",
            "request.id=\"r-1\"",
            &format!("status_code={status}"),
            "attempts=2",
        ] {
            assert!(end.contains(part), "{end}");
        }
    }
}

#[tokio::test]
async fn the_current_span_is_the_parent_of_the_service_s() {
    let (_lines, _guard) = listen();
    let script = Script::new([]);
    let client = script.client().await;
    let span = tracing::info_span!("of my own");
    client
        .shop()
        .buy(ada("1"))
        .instrument(span.clone())
        .await
        .unwrap();
    // A context that is set explicitly takes precedence.
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let client = client.with_context(RequestContext::new(None, Some(given.to_owned())));
    client
        .shop()
        .buy(ada("1"))
        .instrument(span.clone())
        .await
        .unwrap();

    let trace = span.context().span().span_context().trace_id().to_string();
    let sent = script.headers("traceparent");
    assert!(
        sent[0].starts_with(&format!("00-{trace}-")) && sent[0].ends_with("-01"),
        "{sent:?}"
    );
    assert_eq!(sent[1], given);
}
