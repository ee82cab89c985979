//! What three or more files of these tests import.

pub(crate) use std::time::Duration;

pub(crate) use futures_util::{StreamExt, TryStreamExt, poll, stream};
pub(crate) use shop_client::shop_core::conformance::assert_fails;
pub(crate) use shop_client::shop_core::conformance::fault::{Call, Fault, Faults};
pub(crate) use shop_client::{
    Error, ErrorKind, HttpErrorExt, NewPurchase, Outcome, PageLimit, Purchase, PurchaseSink,
    Result, RetryPolicy, Selector, ShopClient, Timestamp,
};
pub(crate) use shop_http::{HttpOptions, Parts};
pub(crate) use tokio::time::Instant;

pub(crate) use crate::shop::{Script, Shop, Turn, ada, refusal, served, silent_after};
