//! A span per published purchase.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use shop_core::ports::{Durability, PurchaseSink, Receipt};
use shop_core::{Error, Purchase, Result};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::settings::Settings;

/// `sink`, with a span per publish, if traces are exported. The record has the span as its trace context.
pub(crate) fn with_spans(
    sink: Arc<dyn PurchaseSink>,
    topic: &str,
    settings: &Settings,
) -> Arc<dyn PurchaseSink> {
    if !settings.exports_traces() {
        return sink;
    }
    Arc::new(TracedSink {
        sink,
        tracer: global::tracer("shop"),
        name: format!("send {topic}"),
        topic: topic.to_owned(),
        system: settings.messaging_system(),
    })
}

#[derive(Debug)]
struct TracedSink {
    sink: Arc<dyn PurchaseSink>,
    tracer: BoxedTracer,
    name: String,
    topic: String,
    system: &'static str,
}

impl TracedSink {
    /// The context of a new span with this attribute.
    fn begin(&self, about: KeyValue) -> Context {
        let attributes = [
            KeyValue::new("messaging.system", self.system),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", self.topic.clone()),
            about,
        ];
        let span = SpanBuilder::from_name(self.name.clone())
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes);
        let request = Span::current().context();
        let span = self.tracer.build_with_context(span, &request);
        request.with_span(span)
    }
}

#[async_trait]
impl PurchaseSink for TracedSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let context = self.begin(KeyValue::new("messaging.message.id", purchase.id.to_string()));
        let published = self.sink.publish(&in_span(purchase, &context)).await;
        if let Ok(Receipt { position: Some(position), .. }) = &published {
            let offset = i64::try_from(position.offset).unwrap_or(i64::MAX);
            context.span().set_attributes([
                KeyValue::new("messaging.destination.partition.id", position.partition.to_string()),
                KeyValue::new("messaging.kafka.offset", offset),
            ]);
        }
        end(&context, published.as_ref().err());
        published
    }

    /// One span for all of them.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let count = i64::try_from(purchases.len()).unwrap_or(i64::MAX);
        let context = self.begin(KeyValue::new("messaging.batch.message_count", count));
        let purchases: Vec<_> = purchases.iter().map(|purchase| in_span(purchase, &context)).collect();
        let published = self.sink.publish_many(&purchases).await;
        end(&context, published.iter().find_map(|result| result.as_ref().err()));
        published
    }

    fn durability(&self) -> Durability {
        self.sink.durability()
    }

    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.sink.close(deadline).await
    }
}

/// `purchase` with the span of `context` as its trace context, by W3C Trace Context.
fn in_span(purchase: &Purchase, context: &Context) -> Purchase {
    let (mut purchase, span) = (purchase.clone(), context.span().span_context().clone());
    if span.is_valid() {
        let traceparent =
            format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        purchase.context.get_or_insert_default().traceparent = Some(traceparent);
    }
    purchase
}

/// Ends the span of `context`.
fn end(context: &Context, error: Option<&Error>) {
    let span = context.span();
    if let Some(error) = error {
        span.set_attribute(KeyValue::new("error.type", error.kind().as_str()));
        span.set_status(Status::error(""));
    }
    span.end();
}
