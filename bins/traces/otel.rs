//! The exporter of spans, OTLP over HTTP, and the span of each stored record.
//!
//! The settings decide whether spans are exported, and refuse variables `OTEL_*` that the SDK cannot
//! follow. The SDK reads these variables itself, but for the attributes of the resource.

use std::collections::HashMap;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use shop_core::log::Batch;
use shop_core::record::header;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::settings::Settings;
use crate::{CliError, Result};

/// An exporter of spans, which exports until its shutdown.
pub(crate) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts the exporter, if the settings name a collector. The collector need not be available.
    ///
    /// # Errors
    /// An error if the value of a variable `OTEL_*` is invalid.
    pub(crate) fn start(settings: &Settings) -> Result<Option<Self>> {
        if !settings.exports_traces() {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(|error| CliError::new(format!("traces cannot be exported: {error}")))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(settings))
            .build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Self(provider)))
    }

    /// Returns the layer that exports the spans with a kind, which are the spans of this workspace.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync>(
        &self,
    ) -> impl Layer<S> + Send + Sync + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("shop"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| {
                metadata.is_span() && metadata.fields().field("otel.kind").is_some()
            }))
    }

    /// Exports the spans that are queued, for at most five seconds.
    pub(crate) async fn shutdown(self) {
        let shutdown = tokio::task::spawn_blocking(move || self.0.shutdown());
        // The outer error is a panic of the thread, which is reported as such.
        if let Ok(Err(error)) = shutdown.await {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Returns the resource that exports: the service, unless `OTEL_SERVICE_NAME` or
/// `OTEL_RESOURCE_ATTRIBUTES` name another one.
///
/// The SDK reads these variables, too. But it prefers the attributes to the name, and does not
/// percent-decode the attributes
/// (<https://github.com/open-telemetry/opentelemetry-rust/issues/1577>). What is set here replaces
/// what it has read.
fn resource(settings: &Settings) -> Resource {
    let mut attributes = settings.resource_attributes.clone();
    attributes
        .entry("service.name".to_owned())
        .or_insert_with(|| settings.service.name().to_owned());

    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| KeyValue::new(name, value));
    Resource::builder()
        .with_attribute(version)
        .with_attributes(attributes)
        .build()
}

/// Starts a span for each record of `batch` whose sender's trace is sampled, and returns the spans.
///
/// The attributes of a span name the messaging `system`, such as `kafka`, and the consumer `group`
/// that read the record.
pub(crate) fn start_record_spans(batch: &Batch, system: &str, group: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for record in &batch.records {
        // The headers of a trace context and the purchase id are text, so all other values are left
        // out.
        let text_headers: HashMap<_, _> = record
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((name.to_owned(), str::from_utf8(value?).ok()?.to_owned()))
            })
            .collect();
        let sender_context =
            global::get_text_map_propagator(|propagator| propagator.extract(&text_headers));
        // The sender exports no span, or sent no trace context, so there is no trace to continue.
        if !sender_context.span().span_context().is_sampled() {
            continue;
        }
        let span = tracing::info_span!(
            parent: None,
            "process",
            otel.kind = "consumer",
            otel.name = format!("process {}", batch.partition.topic),
            otel.status_code = tracing::field::Empty,
            messaging.system = system,
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = %batch.partition.topic,
            messaging.destination.partition.id = %batch.partition.index,
            messaging.consumer.group.name = group,
            messaging.kafka.offset = record.offset.cast_signed(),
            messaging.batch.message_count = i64::try_from(batch.records.len()).ok(),
            messaging.message.id = text_headers.get(header::PURCHASE_ID),
        );
        // This fails only if no layer exports spans. Then the span has no effect.
        drop(span.set_parent(sender_context));
        spans.push(span);
    }
    spans
}
