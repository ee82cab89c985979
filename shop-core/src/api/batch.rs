//! The response of `/v1/purchases:batch`, and the lines of its NDJSON.

use bytes::BufMut as _;
use serde::{Deserialize, Serialize};

use super::ProblemError;
use crate::json::write_member;
use crate::ports::{PublishedPurchase, Receipt};
use crate::{PurchaseId, Timestamp};

/// The media type of bodies with one JSON value per line.
pub const NDJSON: &str = "application/x-ndjson";

/// The result of one purchase of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchResultBody {
    /// The index of the element, or of the line, from 0.
    pub line: usize,
    /// Its outcome.
    pub status: BatchStatus,
    /// Of an acknowledged purchase: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PurchaseId>,
    /// Of an acknowledged purchase: when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Of an acknowledged purchase: the proof that it is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Whether it was acknowledged before, with the same key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Whether it is a refund that the store has not decided over yet: it is in the log, and may still be refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Of an unknown one: the key to repeat it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of one that is not acknowledged: the type of the problem.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<String>,
    /// Of one that is not acknowledged: a description of the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of an unknown one: `not_sent`, or `unknown` if it may have taken effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Of a rejected one: its errors, if it has specific ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
}

/// The outcome of a purchase of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchStatus {
    /// It is durable.
    Acknowledged,
    /// It is invalid, and is not recorded.
    Rejected,
    /// It may have been recorded: repeat it with its key.
    #[default]
    Unknown,
}

impl BatchResultBody {
    /// A result without any details.
    #[must_use]
    pub fn new(line: usize, status: BatchStatus) -> Self {
        Self {
            line,
            status,
            ..Self::default()
        }
    }
}

/// Appends the result of the purchase at `line` of a batch, as that of a [`BatchResultBody`].
pub fn write_acknowledged(line: usize, published: &PublishedPurchase, to: &mut Vec<u8>) {
    let PublishedPurchase {
        purchase,
        receipt,
        replayed,
        pending,
        ..
    } = published;
    write_member(to, "{\"line\":", &(line as u64));
    write_member(to, ",\"status\":\"acknowledged\",\"id\":", &receipt.id);
    write_member(to, ",\"timestamp\":", &purchase.timestamp);
    write_member(to, ",\"receipt\":", receipt);
    if *replayed {
        to.put_slice(b",\"replayed\":true");
    }
    if *pending {
        to.put_slice(b",\"pending\":true");
    }
    to.put_slice(b"}");
}

/// The lines of `text`, without their ends. A line ends with LF, CR LF or CR alone, in a file of any system: no value has
/// these characters.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        rest = end.map(|end| {
            text[end..]
                .strip_prefix(b"\r\n")
                .unwrap_or(&text[end + 1..])
        });
        Some(&text[..end.unwrap_or(text.len())])
    })
}
