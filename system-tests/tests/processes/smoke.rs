//! The smoke script, with the documented requests of the replaced systems.

use std::path::Path;
use std::process::Output;

use tokio::process::Command;

use crate::process::{ALL_ROLES, Binary, Process, soon};

/// Runs `deploy/smoke.sh` on facing in the dialect `spoken`, and compares with the responses of `expected`.
async fn smoke(spoken: &str, expected: &str) -> Output {
    let (_folder, facing) =
        Process::fresh(Binary::Facing, &[ALL_ROLES, ("SHOP_DIALECT", spoken)]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/smoke.sh");
    let mut command = Command::new("sh");
    command
        .arg(script)
        .args([&facing.url, expected])
        .kill_on_drop(true);
    soon("the script", command.output()).await.unwrap()
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
    for dialect in dialects {
        let output = smoke(dialect, dialect).await;
        let printed = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && printed.ends_with("all is as documented\n"),
            "{dialect}: {printed}{wrong}"
        );
        assert!(
            printed
                .lines()
                .filter(|line| line.starts_with("ok: "))
                .count()
                > 30,
            "{printed}"
        );
    }
}

#[tokio::test]
async fn smoke_script_fails_at_the_first_difference() {
    let output = smoke("user-buy-list", "scalable-shop").await;
    assert_eq!(output.status.code(), Some(1));
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(wrong.matches("FAILED").count(), 1, "{wrong}");
    assert!(
        wrong.contains("expected: ") && wrong.contains("answered: "),
        "{wrong}"
    );
}

/// Of the flags, this is the one that SQLite lists. The other makes it sync by fdatasync.
#[test]
fn the_flags_of_sqlite_reach_its_build() {
    let used = "SELECT sqlite_compileoption_used('DEFAULT_MEMSTATUS=0')";
    let database = rusqlite::Connection::open_in_memory().unwrap();
    assert!(
        database
            .query_row(used, [], |row| row.get::<_, bool>(0))
            .unwrap(),
        ".cargo/config.toml"
    );
}
