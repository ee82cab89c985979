//! PostgreSQL on a disk with repeated power cuts. The services and their log are on another machine.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tempfile::TempDir;

use super::disk::Disk;
use super::load::{Load, Place};
use super::mount::{Mount, Owner};
use super::plan::{Moment, Operation, Scene, Survival};
use super::series::{Report, Result, Services, check, count_letters, within};
use crate::entities::backends::{self, session};
use crate::kills::Random;
use crate::postgres_server::Cluster;
use crate::process::{ALL_ROLES, Binary, Process};

/// A server and its disk, and the services that use it.
pub(super) struct PostgresSeries {
    disk: Arc<Disk>,
    owner: Owner,
    cluster: Cluster,
    mount: Option<Mount>,
    /// The mount point of the disk.
    at: TempDir,
    random: Random,
    load: Arc<Load>,
    report: Report,
    services: Services,
    /// The log of the services, whose disk has power.
    folder: TempDir,
}

impl PostgresSeries {
    /// The error says why there is no server.
    pub(super) async fn new(seed: u64) -> Result<Self> {
        let disk = Arc::new(Disk::new(None));
        let at = tempfile::tempdir().unwrap();
        let owner = Owner::postgres();
        let mount = Some(mount(&disk, &at, owner).await);
        let cluster = Cluster::start_in(at.path())?;
        let folder = tempfile::tempdir().unwrap();
        let url = cluster.url();
        let settings = [ALL_ROLES, ("DATABASE_URL", url.as_str())];
        let services = Services {
            facing: Process::start(Binary::Facing, folder.path(), &settings).await,
            management: Process::start(Binary::Management, folder.path(), &settings).await,
        };
        let random = Random::new(seed);
        let load = Arc::new(Load::new());
        load.ledger.moved(&services.facing, &services.facing).await;
        let report = Report::default();
        Ok(Self {
            disk,
            owner,
            cluster,
            mount,
            at,
            random,
            load,
            report,
            services,
            folder,
        })
    }

    /// Reports the cuts.
    pub(super) fn report(&mut self) -> &Report {
        self.report.failed = self.disk.failed();
        &self.report
    }

    /// Cuts the power repeatedly, and judges the state after each cut.
    pub(super) async fn survive(&mut self, cuts: u64) -> Result<()> {
        for cut in 0..cuts {
            let survival = Survival::of(cut, self.disk.is_defective(), &mut self.random);
            self.cut(cut, survival).await?;
            self.report.add_cut(Scene::Load, survival);
            let checked = check(
                &self.load,
                &mut self.report,
                &self.services,
                Load::users(cut),
            )
            .await;
            checked.map_err(|error| format!("cut {cut} ({survival:?}): {error}"))?;
        }
        self.count(cuts).await
    }

    async fn cut(&mut self, round: u64, survival: Survival) -> Result<()> {
        let nth = 1 + self.random.below(3_000);
        let moment = if round.is_multiple_of(2) {
            Moment::any(nth)
        } else {
            Moment::of(Operation::Sync, "", 1 + nth / 10)
        };
        let Services { facing, management } = &self.services;
        let mut calls = self.load.start(round, &Place::new(facing, management));
        self.disk.arm(moment);
        let time = Duration::from_millis(500 + self.random.below(2_000));
        if tokio::time::timeout(time, self.disk.until_cut_off())
            .await
            .is_ok()
        {
            self.report.on_time += 1;
        }
        self.disk.cut_off();
        // The server fails from here on: its boot of the disk has ended.
        self.disk.forget(survival, &mut self.random);
        tokio::task::block_in_place(|| self.cluster.ctl("cut"));
        self.load.stop();
        while let Some(ended) = within("end the calls", calls.join_next()).await? {
            ended.map_err(|error| error.to_string())?;
        }
        self.mount = None;
        self.mount = Some(mount(&self.disk, &self.at, self.owner).await);
        let started =
            AssertUnwindSafe(async { tokio::task::block_in_place(|| self.cluster.ctl("start")) });
        started
            .catch_unwind()
            .await
            .map_err(|_panic| "the server does not start".to_owned())
    }

    /// Counts everything acknowledged, and has the server read all pages.
    async fn count(&mut self, rounds: u64) -> Result<()> {
        check(
            &self.load,
            &mut self.report,
            &self.services,
            (0..rounds).flat_map(Load::users),
        )
        .await?;
        within("finish users and orders", async {
            while !self.load.finish().await {}
        })
        .await?;
        self.report.dead_letters = count_letters(&self.load, self.folder.path()).await?;
        let place = backends::Place::Postgres(&self.cluster, self.folder.path());
        // It panics on missing rows.
        let count = self
            .load
            .ledger
            .count(&place, &self.services.facing, &self.services.facing);
        let counted = AssertUnwindSafe(count).catch_unwind().await;
        counted
            .map_err(|panic| format!("users and orders: {:?}", panic.downcast_ref::<String>()))?;
        (self.report.users, self.report.orders) = self.load.entities();
        let sql = "create extension amcheck;
            select bt_index_check(oid, true) from pg_class where relkind = 'i' and relam = 403";
        let intact = session(&self.cluster).await.batch_execute(sql).await;
        intact.map_err(|error| format!("the database is damaged: {error:?}"))
    }
}

async fn mount(disk: &Arc<Disk>, at: &TempDir, owner: Owner) -> Mount {
    let disk = Arc::clone(disk);
    let at = at.path().to_owned();
    tokio::task::spawn_blocking(move || Mount::new(&disk, &at, owner))
        .await
        .unwrap()
        .unwrap()
}
