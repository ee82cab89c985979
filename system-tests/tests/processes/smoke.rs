//! The smoke script, with the documented requests of the replaced systems.

use crate::prelude::*;

/// Runs `deploy/smoke.sh` on facing in the dialect `spoken`, and compares with the responses of `expected`.
async fn smoke(spoken: &str, expected: &str) -> Output {
    let settings = [ALL_ROLES, ("SHOP_DIALECT", spoken)];
    let (_folder, facing) = Process::fresh(Binary::Facing, &settings).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/smoke.sh");
    let mut command = Command::new("sh");
    command.arg(script).args([&facing.url, expected]);
    let output = command.kill_on_drop(true).output();
    soon("the script", output).await.unwrap()
}

#[tokio::test]
async fn facing_responds_as_documented_in_every_dialect() {
    let dialects = [
        "default",
        "ecommerce",
        "shopping-system",
        "scalable-shop",
        "user-buy-list",
        "purchase-tracking",
    ];
    for output in join_all(dialects.map(|dialect| smoke(dialect, dialect))).await {
        assert_ended(&output, 0, "all is as documented\n");
        let checks = text(&output.stdout).matches("ok: ").count();
        assert!(checks > 30, "{output:?}");
    }
}

#[tokio::test]
async fn smoke_script_fails_at_the_first_difference() {
    let output = smoke("user-buy-list", "scalable-shop").await;
    assert_ended(&output, 1, "expected: ");
    assert_eq!(text(&output.stderr).matches("FAILED").count(), 1);
}

/// Of the flags, this is the one that SQLite lists. The other makes it sync by fdatasync.
#[test]
fn the_flags_of_sqlite_reach_its_build() {
    let used = "SELECT sqlite_compileoption_used('DEFAULT_MEMSTATUS=0')";
    let database = rusqlite::Connection::open_in_memory().unwrap();
    let is_used: bool = database.query_row(used, [], |row| row.get(0)).unwrap();
    assert!(is_used, ".cargo/config.toml");
}
