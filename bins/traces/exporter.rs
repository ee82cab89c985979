//! The exporter of spans: OTLP over HTTP. The SDK reads the other variables `OTEL_*` itself.

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::settings::Settings;
use crate::{CliError, Result};

/// Exports spans until its shutdown.
pub(crate) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts it, if the settings name a collector. The collector need not be available.
    ///
    /// # Errors
    /// When a variable `OTEL_*` has an invalid value.
    pub(crate) fn start(settings: &Settings) -> Result<Option<Self>> {
        if !settings.exports_traces() {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .build();
        let exporter = exporter
            .map_err(|error| CliError::new(format!("traces cannot be exported: {error}")))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(settings));
        let provider = provider.build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Self(provider)))
    }

    /// Exports the spans that have a kind: those of our crates.
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

    /// Exports what is queued, for at most five seconds.
    pub(crate) async fn shutdown(self) {
        let shutdown = tokio::task::spawn_blocking(move || self.0.shutdown());
        if let Ok(Err(error)) = shutdown.await {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// What exports: the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` name another one.
fn resource(settings: &Settings) -> Resource {
    const SERVICE_NAME: Key = Key::from_static_str("service.name");
    let detected = Resource::builder().build();
    let is_named = detected
        .get(&SERVICE_NAME)
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if is_named {
        resource
    } else {
        resource.with_service_name(settings.service.name())
    }
    .build()
}
