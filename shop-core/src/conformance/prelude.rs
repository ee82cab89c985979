//! What most tests of the kit use.

pub(super) use std::collections::{BTreeMap, BTreeSet};
pub(super) use std::ops::Range;
pub(super) use std::sync::Arc;
pub(super) use std::time::Duration;

pub(super) use bytes::Bytes;
pub(super) use futures_util::TryStreamExt;
pub(super) use futures_util::future::join_all;

pub(super) use super::fault::{Call, Fault, Faults};
pub(super) use super::fixture::{BATCH_BYTES, BATCH_RECORDS, declared};
pub(super) use super::log_calls::{
    DEADLINE, GROUP, append, close, commit, decoded, deletes_records, ids, ids_from, ids_of, next,
    positions, publish, read, read_as_member, read_until,
};
pub(super) use super::sample::{
    at, contradicting, foreign, id, odd_records, price, purchase, purchase_of, purchases,
    purchases_of, user,
};
pub(super) use super::store_calls::{
    assert_listed, get, insert, insert_one, listed, of_name, of_user, outcome_codes, scanned,
    selected, summary_of,
};
pub(super) use super::watchdog::{fail, soon, succeed};
pub(super) use super::{EraseFixture, LogFixture, ShopFixture, StoreFixture};
pub(super) use crate::log::{
    Batch, CommitOffset, CommitOutcome, DeadLetter, Gap, GapCause, Headers, Log, LogExt, LogRecord,
    LogSource, Offsets, Partition, Reason, ReasonKind, RecordPosition, Resolution, SourceEvent,
};
pub(super) use crate::ports::{
    ListOrder, Lookup, PageLimit, PageRequest, Period, PurchaseQuery, PurchaseQueryExt,
    PurchaseStore, Selector, Summary, TimeRange, TotalsRequest,
};
pub(super) use crate::record::{Record, decode};
pub(super) use crate::{
    ErrorKind, NewPurchase, Purchase, PurchaseId, Result, Shop, Timestamp, Total,
};
