//! What most of these tests use.

pub(crate) use std::path::{Path, PathBuf};
pub(crate) use std::process::{Output, Stdio};
pub(crate) use std::sync::Arc;
pub(crate) use std::time::Duration;

pub(crate) use futures_util::future::join_all;
pub(crate) use rustix::process::Signal;
pub(crate) use serde_json::{Value, json};
pub(crate) use shop_client::{NewPurchase, RetryPolicy, ShopClient};
pub(crate) use shop_core::log::LogRecord;
pub(crate) use shop_core::{Clock as _, SystemClock};
pub(crate) use shop_kafka::KafkaLog;
pub(crate) use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
pub(crate) use tempfile::TempDir;
pub(crate) use tokio::net::TcpListener;
pub(crate) use tokio::process::{Child, Command};
pub(crate) use tokio::task::JoinSet;

pub(crate) use crate::commands::*;
pub(crate) use crate::kills::{chosen, seed};
pub(crate) use crate::postgres::cluster;
pub(crate) use crate::postgres_server::Cluster;
pub(crate) use crate::process::*;
pub(crate) use crate::servers::{Servers, skipped};
