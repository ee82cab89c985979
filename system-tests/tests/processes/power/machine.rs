//! A machine whose power is cut, the calls to the services meanwhile, and what was found.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use futures_util::FutureExt as _;
use shop_client::UserId;
use shop_faults::disk::{Disk, Survivors};

use super::disk::PoweredDisk;
use super::load::{Load, Services};
use super::mount::{Mount, Owner};
use crate::entities::backends;
use crate::prelude::*;

/// The error is the violation.
pub(super) type Result<T> = std::result::Result<T, String>;

/// The figures of a run, by name.
pub(super) type Report = BTreeMap<String, u64>;

pub(super) struct Machine {
    pub(super) disk: Arc<PoweredDisk>,
    owner: Owner,
    /// The mount point of the disk.
    at: TempDir,
    mount: Option<Mount>,
    pub(super) random: Rng,
    pub(super) load: Arc<Load>,
    pub(super) report: Report,
}

impl Machine {
    pub(super) async fn new(seed: u64, disk: Disk, owner: Owner) -> Self {
        let mut machine = Self {
            disk: Arc::new(PoweredDisk::new(disk, seed)),
            owner,
            at: tempfile::tempdir().unwrap(),
            mount: None,
            random: Rng::with_seed(seed),
            load: Arc::new(Load::new()),
            report: Report::default(),
        };
        machine.mount().await;
        machine
    }

    /// The mounted disk.
    pub(super) fn folder(&self) -> &Path {
        self.at.path()
    }

    pub(super) fn unmount(&mut self) {
        self.mount = None;
    }

    async fn mount(&mut self) {
        self.unmount();
        let disk = Arc::clone(&self.disk);
        let at = self.folder().to_owned();
        let owner = self.owner;
        let mounted = tokio::task::spawn_blocking(move || Mount::new(&disk, &at, owner));
        self.mount = Some(mounted.await.unwrap().unwrap());
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.report.entry(what.to_owned()).or_default() += 1;
    }

    /// Waits until the power is cut at its moment, or for a random time. Then it is off. Returns which of both.
    pub(super) async fn cut_power(&mut self) -> &'static str {
        let time = Duration::from_millis(500 + self.random.u64(..2_000));
        let cut_off = tokio::time::timeout(time, self.disk.until_cut_off()).await;
        self.disk.cut_off();
        self.load.stop();
        if cut_off.is_ok() {
            "at its moment"
        } else {
            "by time"
        }
    }

    /// Discards unsynced changes but for the survivors. Programs of this boot get errors from here on.
    pub(super) fn forget(&mut self, survivors: Survivors) {
        self.disk.forget(survivors);
        self.count("cuts");
    }

    /// Waits for the end of the calls, and turns the power on.
    pub(super) async fn boot(&mut self, mut calls: JoinSet<()>) -> Result<()> {
        while let Some(ended) = within("end the calls", calls.join_next()).await? {
            ended.map_err(|error| error.to_string())?;
        }
        self.mount().await;
        Ok(())
    }

    /// Waits until the services have caught up, reads all purchases of these users, and judges the history.
    pub(super) async fn check(
        &mut self,
        services: &Services,
        users: impl Iterator<Item = UserId>,
    ) -> Result<()> {
        let client = self.load.client(&services.facing);
        // Once this is stored, one service reads the log. Only that one knows the lag.
        within("store the last purchase", self.load.buy_last(&client)).await?;
        let lag = async |service: &Process| {
            get(&service.path("/health")).await.1["ingest"]["lag"].as_u64()
        };
        within("catch up", async {
            while ![lag(&services.facing).await, lag(&services.management).await].contains(&Some(0))
            {
                pause().await;
            }
        })
        .await?;
        let history = &self.load.history;
        for user in users {
            within("read it all", history.list_and_sum(&client, &user)).await?;
        }
        let verdict = history.judge();
        for (name, figure) in &verdict.figures {
            self.report.insert((*name).to_owned(), *figure);
        }
        match verdict.violations.first() {
            Some(first) => Err(format!("{:?}: {first}", verdict.figures)),
            None => Ok(()),
        }
    }

    /// Counts users and orders: each that was acknowledged is there once.
    pub(super) async fn count_rest(
        &mut self,
        services: &Services,
        place: &backends::Place<'_>,
    ) -> Result<()> {
        within("finish users and orders", self.load.finish_rows()).await?;
        let ledger = &self.load.ledger;
        // It panics on missing rows.
        let counted = ledger.count(place, &services.facing, &services.facing);
        let counted = AssertUnwindSafe(counted).catch_unwind().await;
        counted
            .map_err(|panic| format!("users and orders: {:?}", panic.downcast_ref::<String>()))?;
        for (name, figure) in [("users", &self.load.users), ("orders", &self.load.orders)] {
            let figure = figure.load(Ordering::Relaxed);
            self.report.insert(name.to_owned(), figure);
        }
        Ok(())
    }
}

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_late| format!("{what}: not within {PATIENCE:?}"))
}
