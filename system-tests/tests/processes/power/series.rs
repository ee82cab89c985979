//! Both services on one disk with repeated power cuts.

use rusqlite::Connection;
use shop_faults::disk::{Disk, Survivors};

use super::load::{Load, Services};
use super::machine::{Machine, Report, Result, within};
use super::mount::Owner;
use super::plan::{CUTS, Scene};
use crate::entities::backends::Place;
use crate::prelude::*;

/// The folder of the services.
const FOLDER: &str = "data";

/// The files whose syncs fail, in turn.
pub(super) const SYNCED: [&str; 10] = [
    "shop.db-wal",
    "users.db-wal",
    "orders.db-wal",
    "log-user_created.db-wal",
    "log-order_created.db-wal",
    "shop.db",
    "users.db",
    "orders.db",
    "log-user_created.db",
    "log-order_created.db",
];
/// The bytes that are free where a write-ahead log is to be copied soon.
const ROOM: usize = 512 << 10;

pub(super) struct Series {
    machine: Machine,
    /// The services, while they run.
    services: Option<Services>,
}

impl Series {
    pub(super) async fn new(seed: u64, disk: Disk) -> Self {
        Self {
            machine: Machine::new(seed, disk, Owner::this_process()).await,
            services: None,
        }
    }

    pub(super) fn report(self) -> Report {
        self.machine.report
    }

    /// Cuts the power repeatedly, also after failed syncs, and judges the state after each cut.
    pub(super) async fn survive(&mut self, cuts: u64) -> Result<()> {
        let is_defective = self.machine.disk.is_defective();
        let mut scenes = CUTS.to_vec();
        if !is_defective {
            scenes.extend(SYNCED.map(Scene::failing));
        }
        for (cut, scene) in (0..cuts).zip(scenes.iter().cycle()) {
            // What survives is as good as synced: a defect is not found.
            let survivors = if is_defective {
                Survivors::Nothing
            } else {
                Survivors::random(&mut self.machine.random)
            };
            let survived = async {
                self.cut_in(scene, cut, survivors).await?;
                self.check(cut).await
            };
            let context = |error| format!("cut {cut} ({}): {error}", scene.name);
            survived.await.map_err(context)?;
        }
        Box::pin(self.count_all(cuts)).await
    }

    async fn check(&mut self, round: u64) -> Result<()> {
        let services = self.services.as_ref().unwrap();
        self.machine.check(services, Load::users(round)).await
    }

    /// Cuts the power in a scene, and restarts the services.
    async fn cut_in(&mut self, scene: &Scene, round: u64, survivors: Survivors) -> Result<()> {
        let disk = Arc::clone(&self.machine.disk);
        let moment = scene.moment(&mut self.machine.random);
        if scene.fails_sync {
            disk.fail_sync(moment);
        } else {
            disk.arm(moment);
        }
        if let Some(signal) = scene.ends_by {
            self.end_by(signal).await;
        }
        if self.services.is_none() {
            tokio::select! {
                biased;
                () = disk.until_cut_off() => {}
                started = self.start() => started?,
            };
        }
        let mut calls = self.call(round);
        if scene.needs_checkpoint {
            tokio::time::sleep(Duration::from_millis(self.machine.random.u64(..600))).await;
            disk.limit(ROOM);
        }
        if scene.fails_sync {
            let failed = async {
                while disk.is_failing() {
                    pause().await;
                }
            };
            within("fail a sync", failed).await?;
            // The page cache outlives the processes.
            if self.machine.random.u64(..2) == 0 {
                disk.limit(usize::MAX);
                self.machine.load.stop();
                self.kill().await;
                while within("end the calls", calls.join_next()).await?.is_some() {}
                self.start().await?;
                calls = self.call(round);
            }
        }
        let cut = self.machine.cut_power().await;
        disk.limit(usize::MAX);
        self.machine.count(&format!("cuts in {} {cut}", scene.name));
        self.restart(survivors, calls).await
    }

    /// Calls the services, if they run.
    fn call(&self, round: u64) -> JoinSet<()> {
        let services = self.services.as_ref();
        services.map_or_else(JoinSet::new, |services| {
            self.machine.load.start(round, services)
        })
    }

    /// Ends the services by a signal, if they run.
    async fn end_by(&mut self, signal: Signal) {
        let Some(Services { facing, management }) = self.services.take() else {
            return;
        };
        facing.signal(signal);
        management.signal(signal);
        let ended = async { tokio::join!(facing.ended(), management.ended()) };
        // They are killed if the power is cut meanwhile.
        tokio::select! { () = self.machine.disk.until_cut_off() => {}, _ = ended => {} }
    }

    async fn kill(&mut self) {
        if let Some(Services { facing, management }) = self.services.take() {
            facing.kill().await;
            management.kill().await;
        }
    }

    /// Starts the services again, which have lost their power.
    async fn restart(&mut self, survivors: Survivors, calls: JoinSet<()>) -> Result<()> {
        for service in self
            .services
            .iter()
            .flat_map(|both| [&both.facing, &both.management])
        {
            service.signal(Signal::KILL);
        }
        self.machine.forget(survivors);
        within("end", self.kill()).await?;
        self.machine.boot(calls).await?;
        self.start().await
    }

    async fn start(&mut self) -> Result<()> {
        let folder = self.machine.folder().join(FOLDER);
        self.start_on(&folder).await
    }

    async fn start_on(&mut self, folder: &Path) -> Result<()> {
        // The log gets smaller after each start.
        let settings = [ALL_ROLES, ("SHOP_LOG_RETENTION", "1s")];
        let started = async {
            tokio::try_join!(
                Process::try_start(Binary::Facing, folder, &settings),
                Process::try_start(Binary::Management, folder, &settings),
            )
        };
        let (facing, management) = within("start", started).await??;
        self.machine.load.ledger.moved(&facing, &facing).await;
        self.services = Some(Services { facing, management });
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        let Services { facing, management } = self.services.take().unwrap();
        for service in [facing, management] {
            let end = service.terminate().await;
            if !end.success() {
                return Err(format!("a service has ended with {end}"));
            }
        }
        Ok(())
    }

    /// Counts everything acknowledged, in a copy of the files.
    async fn count_all(&mut self, rounds: u64) -> Result<()> {
        let services = self.services.as_ref().ok_or("no cut")?;
        let users = (0..rounds).flat_map(Load::users);
        self.machine.check(services, users).await?;
        self.stop().await?;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        self.machine.unmount();
        self.machine.disk.export(FOLDER, folder).unwrap();
        self.start_on(folder).await?;
        let services = self.services.as_ref().unwrap();
        let place = Place::Files(folder);
        self.machine.count_rest(services, &place).await?;
        self.stop().await?;
        check_files(folder)
    }
}

/// No file is damaged.
fn check_files(folder: &Path) -> Result<()> {
    for file in &SYNCED[5..] {
        let connection = Connection::open(folder.join(file)).unwrap();
        let checked =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        if checked.as_deref() != Ok("ok") {
            return Err(format!("{file} is damaged: {checked:?}"));
        }
    }
    Ok(())
}
