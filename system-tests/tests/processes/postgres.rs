//! The store in PostgreSQL, on a private cluster.

use crate::entities::backends::session;
use crate::prelude::*;

pub(crate) fn cluster() -> Option<Cluster> {
    Cluster::start()
        .inspect_err(|why| skipped("postgres", why))
        .ok()
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
    let output = within(2 * PATIENCE, "the rehearsal", command.output()).await;
    assert_ended(&output.unwrap(), 0, "the move works in both directions\n");
}

#[tokio::test]
async fn commands_and_checks_create_no_table() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let settings = [ALL_ROLES, ("POSTGRES_URL", &*url)];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "management doctor
            management --check-config",
        )
        .await;
    let service = Process::start(Binary::Facing, folder.path(), &settings).await;
    must_buy(&service, ADA).await;
    until_stored(&service, "u1", 1).await;
    service.stop().await;

    // Commands that read need no other right.
    let rights = "create role reader login; grant select on all tables in schema public to reader";
    session(&cluster).await.batch_execute(rights).await.unwrap();
    let reader = url.replace("postgres@", "reader@");
    terminal
        .run(&format!(
            "management --check-config
            management status
            management verify
            POSTGRES_URL={reader} management doctor
            POSTGRES_URL={reader} management export"
        ))
        .await;
    terminal.assert_shown("postgres");
}

/// As a restore of the data alone leaves the table.
#[tokio::test]
async fn a_table_without_its_primary_key_fails_the_start_and_is_a_finding() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let settings = [("POSTGRES_URL", &*url)];
    let service = Process::start(Binary::Management, folder.path(), &settings).await;
    service.stop().await;

    let drop_key = "alter table purchases drop constraint purchases_pkey";
    session(&cluster)
        .await
        .batch_execute(drop_key)
        .await
        .unwrap();
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "management --check-config
            management
            management status
            management doctor
            management export",
        )
        .await;
    terminal.assert_shown("no-primary-key");
}

/// A service starts while the server is away, and then does not know the table.
#[tokio::test]
async fn a_table_without_its_primary_key_ends_a_service_that_could_not_inspect_it() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let settings = [("POSTGRES_URL", &*url)];
    let service = Process::start(Binary::Management, folder.path(), &settings).await;
    service.stop().await;
    let drop_key = "alter table purchases drop constraint purchases_pkey";
    let changed = session(&cluster).await.batch_execute(drop_key).await;
    changed.unwrap();
    cluster.ctl("kill");

    let service = Process::start(Binary::Management, folder.path(), &settings).await;
    cluster.ctl("start");
    assert_eq!(service.ended().await.code(), Some(1));
}

#[tokio::test]
async fn tables_of_another_program_fail_the_start_unless_adopted() {
    let Some(cluster) = cluster() else { return };
    let foreign =
        "create table users (id serial primary key, email varchar, name varchar, password_hash varchar);
        insert into users (email, name) values ('ada@corp.example', 'Ada'), ('eve@corp.example', 'Eve')";
    session(&cluster)
        .await
        .batch_execute(foreign)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = cluster.url();
    let settings = [("POSTGRES_URL", &*url), ("PORT", "0"), ALL_ROLES];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "facing --check-config
            SHOP_ADOPT_TABLES=on facing --check-config
            LOG_LEVEL=off facing",
        )
        .await;
    terminal.assert_shown("adopt");
    let adopts = [&settings[..], &[("SHOP_ADOPT_TABLES", "on")]].concat();
    let facing = Process::start(Binary::Facing, folder.path(), &adopts).await;
    until("take it over", async || {
        get(&facing.path("/users/2")).await.1["name"] == "Eve"
    })
    .await;
}
