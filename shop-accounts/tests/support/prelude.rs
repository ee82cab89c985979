//! What three or more files of these tests import.

pub(crate) use std::sync::Arc;

pub(crate) use async_trait::async_trait;
pub(crate) use shop_accounts::conformance::{EntityStores, OutboxFixture};
pub(crate) use shop_accounts::entity::{Entity as _, EntityStore, Insertion};
pub(crate) use shop_accounts::outbox::Outbox;
pub(crate) use shop_accounts::postgres::{PostgresOrders, PostgresOutbox, PostgresUsers};
pub(crate) use shop_accounts::users::{User, UserNumber};
pub(crate) use shop_core::conformance::assert_fails;
pub(crate) use shop_core::log::LogRecord;
pub(crate) use shop_core::record::Event as _;
pub(crate) use shop_core::{ErrorKind, Outcome};
pub(crate) use shop_store::postgres::PostgresStoreOptions;

pub(crate) use crate::fixture::{OwnTable, PostgresEntitiesFixture, event, new_event, new_user};
pub(crate) use crate::postgres::{TestServer, fresh_schema, session, until};
