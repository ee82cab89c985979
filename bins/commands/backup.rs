//! `management backup` and `management restore`: copies of the embedded files.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::output::{Progress, print, print_json};
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
    if settings.json {
        let file = |file: &CopiedFile| json!({ "path": path(file), "bytes": file.bytes });
        return print_json(&json!({ "files": copied.iter().map(file).collect::<Vec<_>>() })).map(drop);
    }
    let mut text = String::new();
    for file in copied {
        // Writing into a String does not fail.
        let _infallible = writeln!(text, "{}  {} bytes", path(file), file.bytes);
    }
    print(&text).map(drop)
}
