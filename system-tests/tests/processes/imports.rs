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

#[tokio::test]
async fn a_file_with_other_options_than_before_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("shop");
    let file = root.path().join("orders.csv");
    std::fs::write(
        &file,
        "username,userid,price,timestamp\nada,u1,1,2024-01-15 23:30\n",
    )
    .unwrap();
    let _facing = Process::start(Binary::Facing, &folder, &[]).await;
    let import = async |options: &[&str], code: i32, printed: &str| {
        let mut arguments = vec!["import", file.to_str().unwrap()];
        arguments.extend(options);
        assert_ended(&manage(&folder, &arguments).await, code, printed);
    };

    import(&["--time-zone", "Europe/London"], 0, "imported 1,").await;
    let again = ["--time-zone", "Europe/Berlin", "--again"];
    let difference = "time_zone was Europe/London, and is Europe/Berlin";
    import(&again[..2], 2, difference).await;
    import(&again, 0, "imported 1,").await;
    import(&again[..2], 0, "repeated 1,").await;
}
