//! `management import` and `management export`.

use crate::prelude::*;

/// A purchase with characters that CSV escapes, one with a key, and one with an id.
const PURCHASES: &str = include_str!("purchases.ndjson");

/// What `export` prints in `format`, once all purchases are stored.
async fn exported(folder: &Path, format: &str, lines: usize) -> String {
    let mut printed = String::new();
    until("store all", async || {
        let output = manage(folder, &["export", "--format", format]).await;
        printed = text(&output.stdout);
        printed.lines().count() == lines
    })
    .await;
    printed
}

#[tokio::test]
async fn exports_are_imported_unchanged() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    std::fs::write(path("purchases"), PURCHASES).unwrap();
    let import = async |folder: &str, file: &str, printed: &str| {
        let _facing = Process::start(Binary::Facing, &path(folder), &[]).await;
        let output = manage(&path(folder), &["import", path(file).to_str().unwrap()]).await;
        assert_ended(&output, 0, printed);
        exported(&path(folder), "ndjson", 3).await
    };
    let all = import("first", "purchases", "rows 3: ").await;
    // CSV has a line of names.
    let csv = exported(&path("first"), "csv", 4).await;
    std::fs::write(path("purchases.csv"), csv).unwrap();
    let imported = import("second", "purchases.csv", ", rejected 0, conflicting 0\n").await;
    assert_eq!(imported, all);
}
