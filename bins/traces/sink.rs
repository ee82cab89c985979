//! A span per published purchase.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use shop_core::ports::{Durability, PurchaseSink, Receipt};
use shop_core::{Purchase, Result};
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
    /// The context of a new span.
    fn begin(&self, purchase: &Purchase) -> Context {
        let attributes = [
            KeyValue::new("messaging.system", self.system),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", self.topic.clone()),
            KeyValue::new("messaging.message.id", purchase.id.to_string()),
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
        let context = self.begin(purchase);
        let span = context.span();
        let mut purchase = purchase.clone();
        if span.span_context().is_valid() {
            let request = purchase.context.get_or_insert_default();
            request.traceparent = Some(traceparent(span.span_context()));
        }
        let published = self.sink.publish(&purchase).await;
        match &published {
            Ok(receipt) => {
                if let Some(position) = &receipt.position {
                    let partition = position.partition.to_string();
                    span.set_attribute(KeyValue::new("messaging.destination.partition.id", partition));
                    let offset = i64::try_from(position.offset).unwrap_or(i64::MAX);
                    span.set_attribute(KeyValue::new("messaging.kafka.offset", offset));
                }
            }
            Err(error) => {
                span.set_attribute(KeyValue::new("error.type", format!("{:?}", error.kind())));
                span.set_status(Status::error(""));
            }
        }
        span.end();
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

/// The header of a span, by W3C Trace Context.
fn traceparent(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}
