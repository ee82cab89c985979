//! `management import` and `management export`.

use crate::prelude::*;

/// A purchase with characters that CSV escapes, one with a key, and one with an id.
const PURCHASES: &str = include_str!("purchases.ndjson");

/// What `export` prints in `format`, once all purchases are stored.
async fn exported(folder: &Path, format: &str, lines: usize) -> String {
    let mut printed = String::new();
    until("store all", async || {
        let output = manage(folder, &["export", "--format", format]).await;
        assert_ended(&output, 0, "");
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
    let import = async |folder: &str, file: &str| {
        manage(&path(folder), &["import", path(file).to_str().unwrap()]).await
    };
    let output = import("first", "purchases").await;
    assert_ended(&output, 3, "there is nothing here");
    let _first = Process::start(Binary::Facing, &path("first"), &[]).await;
    for _again in [false, true] {
        let output = import("first", "purchases").await;
        assert_ended(&output, 0, "rows 3: ");
    }
    let all = exported(&path("first"), "ndjson", 3).await;
    // CSV has a line of names.
    for (format, lines) in [("ndjson", 3), ("csv", 4)] {
        let printed = exported(&path("first"), format, lines).await;
        let file = format!("purchases.{format}");
        std::fs::write(path(&file), printed).unwrap();
        let _other = Process::start(Binary::Facing, &path(format), &[]).await;
        let output = import(format, &file).await;
        assert_ended(&output, 0, ", rejected 0, conflicting 0\n");
        assert_eq!(exported(&path(format), "ndjson", 3).await, all, "{format}");
    }
}
