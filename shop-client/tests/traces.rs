//! The client's spans and events, in a separate process: the set of enabled callsites is global to a process.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "wire/shop.rs"]
#[expect(dead_code, reason = "most of it is for other tests")]
mod shop;

use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::{ThreadId, current};

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use shop_client::RequestContext;
use tracing::field::{Field, Visit};
use tracing::{Event, Instrument, Level, Subscriber, span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::shop::{Script, Turn, ada, refusal};

/// Spans with their fields, and events of this crate, by the thread of the test.
static KEPT: Mutex<Vec<(ThreadId, Level, String)>> = Mutex::new(Vec::new());

fn kept() -> MutexGuard<'static, Vec<(ThreadId, Level, String)>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keep;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

fn keep(metadata: &tracing::Metadata<'_>, record: impl FnOnce(&mut dyn Visit)) {
    if metadata.target().starts_with("shop_client") {
        let mut text = Text(metadata.name().to_owned());
        record(&mut text);
        kept().push((current().id(), *metadata.level(), text.0));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keep {
    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        _id: &span::Id,
        _context: Context<'_, S>,
    ) {
        keep(attributes.metadata(), |visit| attributes.record(visit));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        keep(context.metadata(id).unwrap(), |visit| values.record(visit));
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        keep(event.metadata(), |visit| event.record(visit));
    }
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let traces =
            tracing_opentelemetry::layer().with_tracer(SdkTracerProvider::default().tracer("test"));
        let subscriber = tracing_subscriber::registry().with(Keep).with(traces);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn a_call_is_a_span_and_nothing_is_logged_above_debug() {
    listen();
    for (last, status) in [(Turn::Say(refusal(400, &[], "")), 400), (Turn::Pass, 201)] {
        kept().retain(|(thread, ..)| *thread != current().id());
        let script = Script::new([Turn::Say(refusal(503, &[], "")), last]);
        let client = script.client().await;
        let client = client.with_context(RequestContext::new(Some("r-1".to_owned()), None));
        assert_eq!(client.buy(ada("1")).await.is_ok(), status == 201);
        let kept: Vec<_> = kept()
            .iter()
            .filter(|(thread, ..)| *thread == current().id())
            .cloned()
            .collect();
        let [
            (_, Level::INFO, span),
            (_, Level::DEBUG, event),
            recorded @ ..,
        ] = &kept[..]
        else {
            panic!("{kept:?}")
        };
        assert!(
            span.contains("call=\"buy\"") && span.contains("request.id=\"r-1\""),
            "{span}"
        );
        assert!(event.contains("retrying"), "{event}");
        let recorded: String = recorded.iter().map(|(_, _, text)| text.as_str()).collect();
        assert!(
            recorded.contains(&format!("status_code={status}")),
            "{recorded}"
        );
        assert!(recorded.contains("attempts=2"), "{recorded}");
    }
}

#[tokio::test]
async fn the_current_span_is_the_parent_of_the_service_s() {
    listen();
    let script = Script::new([]);
    let client = script.client().await;
    let span = tracing::info_span!("of my own");
    client.buy(ada("1")).instrument(span.clone()).await.unwrap();
    let trace = span.context().span().span_context().trace_id().to_string();
    let seen = script.seen();
    let sent = seen[0].header("traceparent");
    assert!(
        sent.starts_with(&format!("00-{trace}-")) && sent.ends_with("-01"),
        "{sent}"
    );
    // A context that is set explicitly takes precedence.
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let client = client.with_context(RequestContext::new(None, Some(given.to_owned())));
    client.buy(ada("1")).instrument(span).await.unwrap();
    assert_eq!(script.seen()[1].header("traceparent"), given);
}
