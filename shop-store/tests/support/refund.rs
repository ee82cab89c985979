//! An event of an embedder.

use serde::{Deserialize, Serialize};
use shop_core::record::JsonEvent;

/// An event of an embedder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) order: String,
}

impl JsonEvent for Refund {
    const TOPIC: &'static str = "refunds";

    fn key(&self) -> String {
        self.order.clone()
    }
}
