//! `management backup` and `management restore`: copies of the embedded files.

use std::path::Path;

use serde_json::json;

use super::output::{Progress, print_report};
use crate::Result;
use crate::backend::{self, CopiedFile};
use crate::settings::Settings;

pub(super) async fn backup(settings: &Settings, into: &Path) -> Result<()> {
    let progress = Progress::begin();
    progress.show(format!("copying {}", settings.data_dir.display()));
    let copied = backend::for_files(settings).backup(into).await;
    drop(progress);
    report(settings, into, &copied?)
}

pub(super) async fn restore(settings: &Settings, from: &Path) -> Result<()> {
    let progress = Progress::begin();
    progress.show(format!("copying {}", from.display()));
    let copied = backend::for_files(settings).restore(from).await;
    drop(progress);
    report(settings, &settings.data_dir, &copied?)
}

fn report(settings: &Settings, folder: &Path, copied: &[CopiedFile]) -> Result<()> {
    let path = |file: &CopiedFile| folder.join(&file.name).display().to_string();
    let text: Vec<_> = copied.iter().map(|file| format!("{}  {} bytes", path(file), file.bytes)).collect();
    let files = copied.iter().map(|file| json!({ "path": path(file), "bytes": file.bytes }));
    print_report(settings.json, &[], text.join("\n"), &json!({ "files": files.collect::<Vec<_>>() }))
}
