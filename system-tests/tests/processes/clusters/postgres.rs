//! A primary with a standby of which one fails: facing has an embedded log, and stores into whichever takes writes.

use Replication::{Asynchronous, Synchronous};

use super::are_wanted;
use super::buyers::{BUYERS, Load, faults_by_chance};
use crate::entities::backends::session;
use crate::prelude::*;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replication {
    Synchronous,
    Asynchronous,
}

/// A primary with a standby, and facing, which stores into them.
struct Shop {
    servers: Cluster,
    folder: TempDir,
    facing: Process,
}

impl Shop {
    /// `None` if no scenes are wanted, or without PostgreSQL, which is reported.
    async fn start(replication: Replication) -> Option<Self> {
        let servers = are_wanted().then(cluster)??;
        let folder = tempfile::tempdir().unwrap();
        let facing = Self::start_facing(&folder, &servers).await;
        let shop = Self {
            servers,
            folder,
            facing,
        };
        shop.ctl("make_standby");
        let primary = session(&shop.servers).await;
        if replication == Synchronous {
            for sql in [
                "alter system set synchronous_standby_names = '*'",
                "select pg_reload_conf()",
            ] {
                primary.batch_execute(sql).await.unwrap();
            }
        }
        let streaming = "select from pg_stat_replication where state = 'streaming'";
        until("the standby streams", async || {
            !primary.query(streaming, &[]).await.unwrap().is_empty()
        })
        .await;
        Some(shop)
    }

    async fn start_facing(folder: &TempDir, servers: &Cluster) -> Process {
        let url = servers.url_of_both();
        let settings = [("DATABASE_URL", url.as_str())];
        Process::start(Binary::Facing, folder.path(), &settings).await
    }

    fn ctl(&self, command: &str) {
        tokio::task::block_in_place(|| self.servers.ctl(command));
    }

    /// Returns the number of purchases in the store, or 0 while the store is not available.
    async fn stored(&self) -> u64 {
        let mut count = 0;
        for buyer in 0..BUYERS {
            let url = format!("/v1/summary?userid=u{buyer}");
            let (_, body) = get(&self.facing.path(&url)).await;
            count += body["count"].as_u64().unwrap_or_default();
        }
        count
    }

    /// Runs a command of management. Returns its exit code, and what it printed.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let url = self.servers.url_of_both();
        let data = self.folder.path().to_str().unwrap();
        let settings = [("POSTGRES_URL", url.as_str()), ("SHOP_DATA_DIR", data)];
        let output = Binary::Management.run(arguments, &settings).await;
        (output.status.code(), text(&output.stdout))
    }
}

/// Carries out these steps under load, after which all that was acknowledged is stored, once.
async fn scene(name: &str, replication: Replication, steps: &str) {
    let Some(shop) = Shop::start(replication).await else {
        return;
    };
    let load = Load::start(&shop.facing);
    load.goes_on().await;
    for step in steps.split(", ") {
        if !load.buys_or_waits(step).await {
            shop.ctl(step);
        }
    }
    load.goes_on().await;
    load.end(name, async || shop.stored().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_primary_loses_and_doubles_nothing() {
    for (name, replication, steps) in [
        ("primary killed", Synchronous, "promote"),
        (
            "primary frozen for good",
            Synchronous,
            "pause, promote_beside, buy, wait 10",
        ),
        (
            "zombie primary",
            Synchronous,
            "pause, wait 5, promote_beside, wait 10, resume, buy, wait 5",
        ),
        (
            "switch-over and back",
            Asynchronous,
            "switch_over, buy, wait 5, switch_back, buy, wait 5",
        ),
        (
            "standby away",
            Synchronous,
            "kill_standby, wait 15, start_standby",
        ),
        (
            "servers fail by chance",
            Synchronous,
            &faults_by_chance(9, 6, SERVER_FAULTS),
        ),
    ] {
        scene(name, replication, steps).await;
    }
}

const SERVER_FAULTS: &[(&str, &str)] = &[
    ("kill", "start"),
    ("pause", "resume"),
    ("kill_standby", "start_standby"),
];

/// What an asynchronous standby lacks is counted by `verify`, and stored again from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_asynchronous_standby_lacks_is_stored_again_from_the_log() {
    let Some(mut shop) = Shop::start(Asynchronous).await else {
        return;
    };
    let mut load = Load::start(&shop.facing);
    load.goes_on().await;
    shop.ctl("kill_standby");
    load.goes_on().await;
    let acknowledged = load.stop().await;
    until("all is stored", async || {
        shop.stored().await == acknowledged
    })
    .await;

    shop.ctl("promote");
    until("the standby serves", async || shop.stored().await > 0).await;
    load.print("standby behind, promoted", shop.stored().await);
    let missing = acknowledged - shop.stored().await;
    assert!(missing > 0, "the standby was behind");
    let (code, printed) = shop.run(&["verify", "--wait", "1"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains(&format!("missing {missing}, twice 0")),
        "{printed}"
    );

    shop.facing.signal(rustix::process::Signal::TERM);
    until("facing ends", async || shop.facing.end().is_some()).await;
    let (code, printed) = shop
        .run(&["groups", "reset", "purchase-group", "--to-beginning"])
        .await;
    assert_eq!(code, Some(0), "{printed}");
    shop.facing = Shop::start_facing(&shop.folder, &shop.servers).await;
    until("all is stored again", async || {
        shop.stored().await == acknowledged
    })
    .await;
    load.print("… and reset", shop.stored().await);
}
