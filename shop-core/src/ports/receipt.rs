//! The acknowledgement of a published purchase, and the durability that it states.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::log::RecordPosition;
use crate::{Purchase, PurchaseId};

/// The acknowledgement of a durable purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReceiptJson", into = "ReceiptJson")]
#[non_exhaustive]
pub struct Receipt {
    /// The id of the purchase.
    pub id: PurchaseId,
    /// The durability of the purchase.
    pub durability: Durability,
    /// The position in the log, if the sink knows it.
    pub position: Option<RecordPosition>,
    /// Whether the sink already had the purchase. Only a sink that writes into a store knows.
    pub is_duplicate: bool,
    /// The first purchase with this id, if the sink already had it and read it.
    pub first_purchase: Option<Box<Purchase>>,
}

impl Receipt {
    /// Creates the receipt of a new purchase, without a position in the log.
    #[must_use]
    pub const fn new(id: PurchaseId, durability: Durability) -> Self {
        Self {
            id,
            durability,
            position: None,
            is_duplicate: false,
            first_purchase: None,
        }
    }

    /// Returns this receipt with the position of the record in the log.
    #[must_use]
    pub fn with_position(mut self, position: RecordPosition) -> Self {
        self.position = Some(position);
        self
    }
}

/// The JSON of a [`Receipt`], which names the durability and the number of replicas in two members.
#[derive(Serialize, Deserialize)]
struct ReceiptJson {
    id: PurchaseId,
    durability: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<RecordPosition>,
}

impl From<Receipt> for ReceiptJson {
    /// Drops `is_duplicate` and `first_purchase`: they are facts of one call, and not written.
    fn from(receipt: Receipt) -> Self {
        let (durability, replicas) = receipt.durability.name();
        Self {
            id: receipt.id,
            durability: durability.into(),
            replicas,
            position: receipt.position,
        }
    }
}

impl From<ReceiptJson> for Receipt {
    fn from(json: ReceiptJson) -> Self {
        let durability = match &*json.durability {
            "local_disk" => Durability::LocalDisk,
            "broker" => Durability::Broker {
                replicas: json.replicas,
            },
            "replicated" => Durability::Replicated,
            // A name that only newer services use guarantees nothing.
            _ => Durability::Memory,
        };
        Self {
            position: json.position,
            ..Self::new(json.id, durability)
        }
    }
}

/// The durability of an acknowledged purchase: the failures that the purchase survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The purchase survives no failure, because it is only in the memory of this process. For
    /// tests.
    Memory,
    /// The purchase survives a crash of the process and of the machine, because it is on a local
    /// disk.
    LocalDisk,
    /// The purchase survives the loss of all but one of the brokers that acknowledged it.
    Broker {
        /// The minimum number of brokers that acknowledge a purchase, as guaranteed by `acks=all`:
        /// the smaller of the topic's `min.insync.replicas` and its number of replicas. `None` when
        /// the topic's settings cannot be read.
        replicas: Option<u32>,
    },
    /// The purchase survives the loss of a minority of the servers of the store, because the
    /// journals of a majority contain it. A single server is its own majority.
    Replicated,
}

impl Durability {
    /// Returns the name of this durability in JSON, and the number of replicas if it is known.
    pub(crate) const fn name(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Memory => ("memory", None),
            Self::LocalDisk => ("local_disk", None),
            Self::Broker { replicas } => ("broker", replicas),
            Self::Replicated => ("replicated", None),
        }
    }
}
