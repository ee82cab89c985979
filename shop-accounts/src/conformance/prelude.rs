//! What three or more files of the kit import.

pub(super) use std::sync::Arc;

pub(super) use shop_core::conformance::{soon, succeed};

pub(super) use super::fixtures::{
    EntityPorts, EraseUsersFixture, OutboxFixture, SampleEntity, UsersFixture, insert, inserted,
    new_order, pending, ready_store,
};
pub(super) use crate::entity::{Entity, Insertion};
pub(super) use crate::orders::{NewOrder, Order, OrderNumber};
pub(super) use crate::outbox::{Outbox, OutboxEntry};
pub(super) use crate::users::{NewUser, User, UserNumber};
