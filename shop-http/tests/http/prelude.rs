//! What most tests of requests need: `use crate::prelude::*;`

pub(crate) use std::sync::Arc;
pub(crate) use std::time::Duration;

pub(crate) use axum::Router;
pub(crate) use axum::body::Body;
pub(crate) use axum::http::{Method, StatusCode};
pub(crate) use http_body_util::BodyExt;
pub(crate) use serde_json::{Value, json};
pub(crate) use shop_core::conformance::fault::{Call, Fault, Faults};
pub(crate) use shop_core::memory::{InMemoryLog, InMemoryStore};
pub(crate) use shop_http::{HttpOptions, Parts, router};
pub(crate) use tower::ServiceExt;

pub(crate) use crate::shop::{
    JSON, Shop, TestResponse, get, management_parts_of, post, purchase, request, send,
};
