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
    _folder: TempDir,
    facing: Process,
}

impl Shop {
    /// `None` if no scenes are wanted, or without PostgreSQL, which is reported.
    async fn start(replication: Replication) -> Option<Self> {
        let servers = are_wanted().then(cluster)??;
        let url = servers.url_of_both();
        let settings = [("DATABASE_URL", url.as_str())];
        let (folder, facing) = Process::fresh(Binary::Facing, &settings).await;
        let shop = Self {
            servers,
            _folder: folder,
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
