//! A span per stored record.

use std::collections::HashMap;
use std::str;

use opentelemetry::global::get_text_map_propagator;
use opentelemetry::trace::TraceContextExt;
use shop_core::log::{Batch, LogRecord};
use shop_core::record::header;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A span for each record of `batch` that belongs to a trace. `group` has read it from `system`.
pub(crate) fn spans(batch: &Batch, system: &str, group: &str) -> Vec<Span> {
    let span = |record: &LogRecord| {
        let text = |value| str::from_utf8(value).ok();
        let headers = record
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name, value.and_then(text)?)));
        let headers: HashMap<_, _> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let sender = get_text_map_propagator(|propagator| propagator.extract(&headers));
        // Without a trace of the sender there is nothing to continue.
        if !sender.span().span_context().is_sampled() {
            return None;
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
            messaging.message.id = headers.get(header::PURCHASE_ID),
        );
        // An error says that no layer exports spans.
        drop(span.set_parent(sender));
        Some(span)
    };
    batch.records.iter().filter_map(span).collect()
}
