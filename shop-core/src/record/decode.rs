//! From what stands in a log to a purchase, whoever wrote it.

use std::str::FromStr;

use super::{LogRecord, SCHEMA_VERSION, header};
use crate::json::{Members, Scalar};
use crate::ports::Partition;
use crate::{ForeignOrigin, Price, Purchase, PurchaseId, foreign_id};

/// Why a record is no purchase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UndecodableRecord {
    /// It has no value.
    #[error("the record has no value")]
    Empty,
    /// Its value is no JSON object.
    #[error("the value is no JSON object: {0}")]
    NotAnObject(String),
    /// A member is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member is there, but cannot be what it should be.
    #[error("{member} {problem}")]
    Member {
        /// The member.
        member: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Its value is none of the event's.
    #[error("the value is no such event: {0}")]
    NotAnEvent(String),
    /// Its id is none.
    #[error("the header purchase-id is neither a UUID nor 24 hex digits")]
    BadId,
    /// It was written by a version of this program that is newer.
    #[error("the record has schema {0}, and this version reads schema {SCHEMA_VERSION} only")]
    UnknownSchema(String),
}

/// The purchase in `record`, which stands in `partition`.
///
/// Reads what we write and what all replaced systems write: price as number or numeric text; `userid` and
/// `username` as text or integer; `timestamp` as text with or without a zone, in seconds or milliseconds, or
/// not at all (then the record's time counts, as it does when the timestamp cannot be read); further members
/// are ignored. A record without an id gets one from where it stands. The request's context is not read: it
/// stays in the record's headers.
///
/// # Errors
/// [`UndecodableRecord`] when this is no purchase; decoding it again will not change that.
pub fn decode(record: &LogRecord, partition: &Partition) -> Result<Purchase, UndecodableRecord> {
    let value = record.value.as_deref().ok_or(UndecodableRecord::Empty)?;
    let mut id = None;
    for (name, value) in record.headers.iter() {
        match (name, value) {
            (header::PURCHASE_ID, value) => id = Some(read_id(value)?),
            (header::SCHEMA, Some(version)) if version != SCHEMA_VERSION.as_bytes() => {
                return Err(UndecodableRecord::UnknownSchema(String::from_utf8_lossy(version).into_owned()));
            }
            _ => {}
        }
    }
    let members = Members::parse(value).map_err(|error| UndecodableRecord::NotAnObject(error.to_string()))?;
    Ok(Purchase::new(
        id.unwrap_or_else(|| place_id(record, partition)),
        text(members.userid, "userid")?,
        text(members.username, "username")?,
        price(members.price)?,
        members.timestamp.and_then(|value| value.timestamp()).unwrap_or(record.time),
    ))
}

fn read_id(value: Option<&[u8]>) -> Result<PurchaseId, UndecodableRecord> {
    let text = value.and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok()).ok_or(UndecodableRecord::BadId)
}

/// The id of the place at which `record` stands in `partition`: that of its purchase, if it carries none of its own.
///
/// No other record has it, not even in a topic that was deleted and made again. The epoch does not count.
#[must_use]
pub fn place_id(record: &LogRecord, partition: &Partition) -> PurchaseId {
    let place = (partition.index, record.offset);
    foreign_id(&ForeignOrigin::new(&partition.cluster, &partition.topic, place, record.time))
}

fn text<T>(value: Option<Scalar<'_>>, member: &'static str) -> Result<T, UndecodableRecord>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let value = value.ok_or(UndecodableRecord::Missing(member))?;
    let problem = |problem: String| UndecodableRecord::Member { member, problem };
    let text = value.text_or_integer().ok_or_else(|| problem("is neither text nor an integer".into()))?;
    text.parse().map_err(|error: T::Err| problem(error.to_string()))
}

fn price(value: Option<Scalar<'_>>) -> Result<Price, UndecodableRecord> {
    let value = value.ok_or(UndecodableRecord::Missing("price"))?;
    value.price().map_err(|error| UndecodableRecord::Member { member: "price", problem: error.to_string() })
}
