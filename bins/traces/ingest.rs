//! A span per stored record.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use shop_core::ingest::{BatchReport, IngestObserver};
use shop_core::log::{Batch, Headers, LogRecord};
use shop_core::record::header;

use crate::settings::Settings;

/// `observer`, with a span per stored record of a trace, if traces are exported.
pub(crate) fn with_spans(observer: Arc<dyn IngestObserver>, settings: &Settings) -> Arc<dyn IngestObserver> {
    if !settings.exports_traces() {
        return observer;
    }
    Arc::new(TracedIngest {
        observer,
        tracer: global::tracer("shop"),
        propagator: TraceContextPropagator::new(),
        system: settings.messaging_system(),
        group: settings.kafka_group_id.clone(),
    })
}

#[derive(Debug)]
struct TracedIngest {
    observer: Arc<dyn IngestObserver>,
    tracer: BoxedTracer,
    propagator: TraceContextPropagator,
    system: &'static str,
    group: String,
}

impl IngestObserver for TracedIngest {
    fn batch_completed(&self, batch: &BatchReport) {
        self.observer.batch_completed(batch);
    }

    fn records_durable(&self, batch: &Batch, duration: Duration) {
        self.observer.records_durable(batch, duration);
        let end = opentelemetry::time::now();
        let start = end.checked_sub(duration).unwrap_or(end);
        for record in &batch.records {
            let sender = self.propagator.extract_with_context(&Context::new(), &OfRecord(&record.headers));
            // Without a trace of the sender there is nothing to continue.
            if sender.span().span_context().is_sampled() {
                let span = SpanBuilder::from_name(format!("process {}", batch.partition.topic))
                    .with_kind(SpanKind::Consumer)
                    .with_start_time(start)
                    .with_attributes(self.attributes(batch, record));
                self.tracer.build_with_context(span, &sender).end_with_timestamp(end);
            }
        }
    }
}

impl TracedIngest {
    fn attributes(&self, batch: &Batch, record: &LogRecord) -> Vec<KeyValue> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let id = record.headers.get(header::PURCHASE_ID).and_then(|id| std::str::from_utf8(id).ok());
        let mut attributes = vec![
            KeyValue::new("messaging.system", self.system),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", batch.partition.topic.to_string()),
            KeyValue::new("messaging.destination.partition.id", batch.partition.index.to_string()),
            KeyValue::new("messaging.consumer.group.name", self.group.clone()),
            KeyValue::new("messaging.kafka.offset", number(record.offset)),
            KeyValue::new("messaging.batch.message_count", number(batch.records.len() as u64)),
        ];
        attributes.extend(id.map(|id| KeyValue::new("messaging.message.id", id.to_owned())));
        attributes
    }
}

struct OfRecord<'a>(&'a Headers);

impl Extractor for OfRecord<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.0.get(name)?).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}
