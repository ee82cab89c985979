//! The store in PostgreSQL, on a private cluster that is killed and paused.

use std::path::Path;
use std::process::Output;

use tokio::process::Command;
use uuid::Uuid;

use crate::entities::backends::session;
use crate::entities::post;
use crate::postgres_server::Cluster;
use crate::process::{
    ALL_ROLES, Binary, PATIENCE, Process, buy, get, must_buy, plain, until, within,
};
use crate::servers::skipped;
use crate::verify::text;

const ADA: &str = r#"{"username":"ada","userid":"u1","price":29.90}"#;

pub(crate) fn cluster() -> Option<Cluster> {
    Cluster::start()
        .inspect_err(|why| skipped("postgres", why))
        .ok()
}

async fn facing(folder: &Path, url: &str) -> Process {
    Process::start(Binary::Facing, folder, &[ALL_ROLES, ("DATABASE_URL", url)]).await
}

/// A command of management on the same folder and server.
async fn manage(folder: &Path, url: &str, words: &[&str]) -> Output {
    let data = folder.to_str().unwrap();
    let settings = [("POSTGRES_URL", url), ("SHOP_DATA_DIR", data)];
    Binary::Management.run(words, &settings).await
}

async fn count(facing: &Process) -> u64 {
    get(&facing.path("/v1/summary?userid=u1")).await.1["count"]
        .as_u64()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_store_that_comes_back_empty_is_named_and_filled_again() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let service = facing(folder.path(), &url).await;
    for _ in 0..40 {
        must_buy(&service, ADA).await;
    }
    until("store them", async || count(&service).await == 40).await;
    service.stop().await;
    session(&cluster)
        .await
        .batch_execute("truncate purchases")
        .await
        .unwrap();
    let service = facing(folder.path(), &url).await;
    let health = async || get(&service.path("/health?details=true")).await.1;
    until("name it", async || {
        health().await["ingest"]["gaps"]["pending"][0]["cause"] == "absent"
    })
    .await;
    assert_eq!(health().await["status"], "degraded");
    service.stop().await;
    for (command, finds) in [
        (&["status"][..], true),
        (
            &["groups", "reset", "purchase-group", "--to-beginning"],
            false,
        ),
        (&["dlq", "drop", "--reason", "gap"], false),
    ] {
        let output = manage(folder.path(), &url, command).await;
        assert_eq!(
            output.status.code(),
            Some(finds.into()),
            "{command:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    let service = facing(folder.path(), &url).await;
    until("store them again", async || count(&service).await == 40).await;
    assert_eq!(get(&service.path("/health")).await.1["status"], "healthy");
}

#[tokio::test]
async fn rows_of_the_replaced_system_are_migrated_in_both_directions() {
    let Some(cluster) = cluster() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rehearse-ecommerce");
    let mut command = Command::new(script);
    command
        .arg(cluster.url())
        .arg(Binary::Management.path())
        .kill_on_drop(true);
    let output = within(3 * PATIENCE, "the rehearsal", command.output())
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && printed.ends_with("the move works in both directions\n"),
        "{printed}{wrong}"
    );
    assert!(
        printed
            .lines()
            .filter(|line| line.starts_with("ok: "))
            .count()
            > 20,
        "{printed}"
    );
}

#[tokio::test]
async fn a_full_disk_of_postgres_loses_no_purchase() {
    let cluster = match Cluster::start_on_disk(128) {
        Ok(cluster) => cluster,
        Err((missing, why)) => return skipped(missing, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let service = facing(folder.path(), &url).await;
    let mut all = 0;
    let mut buy_one = async || {
        all += 1;
        // Names that fill pages of the table and of its indexes.
        let name: String = (0..8)
            .map(|_| Uuid::new_v4().simple().to_string())
            .collect();
        let body = format!(r#"{{"username":"{name}","userid":"u1","price":{all}}}"#);
        assert_eq!(buy(&service, &body).await.0, 201, "buying continues");
        all
    };
    let stored_then = buy_one().await;
    until("store it", async || count(&service).await == stored_then).await;
    cluster.ctl("fill");
    until("report the full disk", async || {
        buy_one().await;
        service.ingest().await["waiting_for"]["store"].is_string()
    })
    .await;
    for path in ["/readyz", "/-/ready", "/getAllUserBuys/u1"] {
        assert_eq!(
            plain()
                .get(service.path(path))
                .send()
                .await
                .unwrap()
                .status(),
            200,
            "{path}"
        );
    }
    let (status, body) = post(
        &service,
        "/users",
        r#"{"email":"ada@example.com","name":"Ada"}"#,
    )
    .await;
    assert_eq!(
        (status, &body["outcome"]),
        (503, &"not_sent".into()),
        "{body}"
    );
    let verify = async || {
        let output = manage(folder.path(), &url, &["verify", "--wait", "1"]).await;
        (output.status.code(), text(&output.stdout))
    };
    let (code, printed) = verify().await;
    assert!(
        code == Some(1) && !printed.contains("missing 0,"),
        "{printed}"
    );

    // The write-ahead log too: the server ends.
    let session = session(&cluster).await;
    session
        .batch_execute("select pg_switch_wal(); create table full_disk ()")
        .await
        .unwrap_err();
    until("report the server as unavailable", async || {
        get(&service.path("/getAllUserBuys/u1")).await.0 == 503
    })
    .await;
    let bought = buy_one().await;
    cluster.ctl("kill");
    cluster.ctl("free");
    cluster.ctl("start");
    until("catch up", async || count(&service).await == bought).await;
    let (code, printed) = verify().await;
    assert!(
        code == Some(0) && printed.contains("missing 0, twice 0, dead-lettered 0\n"),
        "{printed}"
    );
    assert_eq!(service.ingest().await["phase"], "running");
    assert_eq!(
        post(
            &service,
            "/users",
            r#"{"email":"ada@example.com","name":"Ada"}"#
        )
        .await
        .0,
        201
    );
}

#[tokio::test]
async fn commands_and_checks_create_no_table() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let data = folder.path().to_str().unwrap();
    let settings = [
        ALL_ROLES,
        ("POSTGRES_URL", url.as_str()),
        ("SHOP_DATA_DIR", data),
    ];
    let output = Binary::Management.run(&["doctor"], &settings).await;
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(3) && printed.contains("the table does not exist"),
        "{printed}"
    );
    let check = async |settings: &[(&str, &str)]| {
        let output = Binary::Facing.run(&["--check-config"], settings).await;
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(printed).unwrap())
    };
    let (works, printed) = check(&settings).await;
    let missing = printed.matches("not there yet").count();
    assert!(
        works && printed.contains("PostgreSQL, ") && missing >= 3,
        "{printed}"
    );
    facing(folder.path(), &url).await.terminate().await;
    let (works, printed) = check(&settings).await;
    assert!(works && printed.contains("all is well"), "{printed}");
    // Commands that read need no other right.
    let rights = "create role reader login; grant select on all tables in schema public to reader";
    session(&cluster).await.batch_execute(rights).await.unwrap();
    let reader = url.replace("postgres@", "reader@");
    for command in ["doctor", "export"] {
        let output = manage(folder.path(), &reader, &[command]).await;
        assert!(
            output.status.success(),
            "{command}: {}",
            text(&output.stderr)
        );
    }
    cluster.ctl("kill");
    let (works, printed) = check(&settings).await;
    assert!(!works && printed.contains("cannot be reached"), "{printed}");
}

#[tokio::test]
async fn tables_of_another_program_fail_the_start_unless_adopted() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let foreign =
        "create table users (id serial primary key, email varchar, name varchar, password_hash varchar);
        insert into users (email, name) values ('ada@corp.example', 'Ada'), ('eve@corp.example', 'Eve')";
    let session = session(&cluster).await;
    session.batch_execute(foreign).await.unwrap();
    let data = folder.path().to_str().unwrap();
    let settings = [
        ("POSTGRES_URL", url.as_str()),
        ("SHOP_DATA_DIR", data),
        ("PORT", "0"),
        ALL_ROLES,
    ];
    for arguments in [&[][..], &["--check-config"]] {
        let output = Binary::Facing.run(arguments, &settings).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(
            printed.contains("tables=users") && printed.contains("SHOP_ADOPT_TABLES=on"),
            "{printed}"
        );
    }
    let adopting = [
        settings[0],
        settings[1],
        settings[2],
        ALL_ROLES,
        ("SHOP_ADOPT_TABLES", "on"),
    ];
    let output = Binary::Facing.run(&["--check-config"], &adopting).await;
    let printed = text(&output.stdout);
    assert!(
        output.status.success() && printed.contains("takes over 2 rows"),
        "{printed}"
    );
    let facing = Process::start(Binary::Facing, folder.path(), &adopting).await;
    until("take it over", async || {
        get(&facing.path("/users/2")).await.1["name"] == "Eve"
    })
    .await;
    facing.stop().await;
    // The table belongs to the service from now on.
    let others = [settings[0], ALL_ROLES, ("POSTGRES_MAX_CONNECTIONS", "12")];
    let facing = Process::start(Binary::Facing, folder.path(), &others).await;
    for number in 0..20 {
        let body = format!(r#"{{"email":"user{number}@example.com","name":"x"}}"#);
        assert_eq!(post(&facing, "/users", &body).await.0, 201);
        must_buy(&facing, ADA).await;
    }
    until("catch up", async || count(&facing).await == 20).await;
    let sql = "select count(*) from pg_stat_activity where application_name = 'shop'";
    let connections: i64 = session.query_one(sql, &[]).await.unwrap().get(0);
    assert!((1..=12).contains(&connections), "{connections}");
}
