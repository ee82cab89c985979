//! What most tests of requests need: `use crate::prelude::*;`

pub(crate) use std::collections::{BTreeMap, BTreeSet};
pub(crate) use std::net::SocketAddr;
pub(crate) use std::sync::Arc;
pub(crate) use std::time::Duration;

pub(crate) use axum::Router;
pub(crate) use axum::body::Body;
pub(crate) use axum::http::{Method, Request, StatusCode};
pub(crate) use axum::middleware::{Next, from_fn};
pub(crate) use futures_util::StreamExt as _;
pub(crate) use http_body_util::BodyExt;
pub(crate) use serde_json::{Value, json};
pub(crate) use shop_core::conformance::fault::{Call, Fault, Faults};
pub(crate) use shop_core::ingest::{Ingest, IngestOptions};
pub(crate) use shop_core::log::{Log as _, LogRecord};
pub(crate) use shop_core::memory::{InMemoryLog, InMemoryStore};
pub(crate) use shop_core::ports::{Durability, PurchaseSink as _, PurchaseStore as _};
pub(crate) use shop_core::{Clock, Error, ErrorKind, Purchase, Timestamp};
pub(crate) use shop_http::{
    Authenticate, HttpOptions, Metrics, Parts, Principal, Rejection, async_trait, router, routes,
};
pub(crate) use tokio::time::timeout;
pub(crate) use tower::ServiceExt;
pub(crate) use uuid::Uuid;

pub(crate) use crate::all_roles::AllRoles;
pub(crate) use crate::shop::{
    JSON, Shop, TestResponse, get, management_parts_of, post, purchase, request, send,
};
