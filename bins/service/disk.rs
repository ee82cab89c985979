//! Notices that the disk of the embedded files is full.
//!
//! A write that fails is reported by the service itself. A process that has not written since then
//! would still look healthy, although its next write fails.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustix::process::geteuid;
use shop_http::{PartReport, PartReports};

use crate::backend::components;
use crate::settings::Settings;

/// The free space, in bytes, below which a disk counts as full: a group of writes may need as much.
const MIN_FREE_BYTES: u64 = 1 << 20;

/// Adds a report about the disk of the data folder to `reports`, if a part of the service is a file
/// there.
pub(crate) fn watch_disk(settings: &Settings, reports: &PartReports) {
    let mut files = components(settings).filter_map(|component| component.file);
    let folder: Option<PathBuf> = files.find_map(|file| Some(file.parent()?.to_owned()));
    if let Some(folder) = folder {
        reports.add("disk", "space", move || {
            full_disk(&folder).map_or(PartReport::Works, PartReport::Fails)
        });
    }
}

/// Returns an explanation for operators if the disk of `folder` is full, or `None` if it is not.
///
/// A file system that does not tell its free space counts as not full.
pub(crate) fn full_disk(folder: &Path) -> Option<String> {
    let disk = statvfs(folder).ok()?;
    // Some file systems keep blocks that only root can use.
    let free_blocks = if geteuid().is_root() {
        disk.f_bfree
    } else {
        disk.f_bavail
    };
    let free_bytes = free_blocks.saturating_mul(disk.f_frsize);
    let is_full = disk.f_blocks > 0 && free_bytes < MIN_FREE_BYTES;
    is_full.then(|| {
        format!(
            "the disk of the data folder (SHOP_DATA_DIR) is full: {free_bytes} bytes are free; free some space"
        )
    })
}
