//! How far ingest is, by HTTP.

use serde::{Deserialize, Serialize};

use crate::log::Offsets;

/// The positions that ingest has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PositionsBody {
    /// One for each partition that has a position.
    pub positions: Vec<PartitionPosition>,
}

/// The position of ingest in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartitionPosition {
    /// The number of the partition.
    pub partition: u32,
    /// The offset of the next record to ingest.
    pub next_offset: u64,
}

impl From<Offsets> for PositionsBody {
    fn from(offsets: Offsets) -> Self {
        let position = |(partition, next_offset)| PartitionPosition { partition, next_offset };
        Self { positions: offsets.into_iter().map(position).collect() }
    }
}

impl From<PositionsBody> for Offsets {
    fn from(body: PositionsBody) -> Self {
        body.positions.into_iter().map(|position| (position.partition, position.next_offset)).collect()
    }
}
