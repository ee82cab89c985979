//! PostgreSQL on a disk with repeated power cuts. The services and their log are on another machine.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shop_faults::disk::{Disk, Survivors};

use super::load::{Load, Services};
use super::machine::{Machine, Result};
use super::mount::Owner;
use super::plan::{Moment, Operation};
use crate::entities::backends::{Place, session};
use crate::prelude::*;

/// A server and its disk, and the services that use it.
pub(super) struct PostgresSeries {
    pub(super) machine: Machine,
    cluster: Cluster,
    services: Services,
    /// The log of the services, whose disk has power.
    folder: TempDir,
}

impl PostgresSeries {
    /// The error says why there is no server.
    pub(super) async fn new(seed: u64) -> Result<Self> {
        let owner = Owner::postgres().ok_or("there is no user postgres")?;
        let machine = Machine::new(seed, Disk::new(), owner).await;
        let cluster = Cluster::start_in(machine.folder())?;
        let folder = tempfile::tempdir().unwrap();
        let url = cluster.url();
        let settings = [ALL_ROLES, ("DATABASE_URL", url.as_str())];
        let services = Services {
            facing: Process::start(Binary::Facing, folder.path(), &settings).await,
            management: Process::start(Binary::Management, folder.path(), &settings).await,
        };
        let ledger = &machine.load.ledger;
        ledger.moved(&services.facing, &services.facing).await;
        Ok(Self {
            machine,
            cluster,
            services,
            folder,
        })
    }

    /// Cuts the power repeatedly, and judges the state after each cut.
    pub(super) async fn survive(&mut self, cuts: u64) -> Result<()> {
        for cut in 0..cuts {
            let survivors = Survivors::random(&mut self.machine.random);
            let survived = async {
                self.cut(cut, survivors).await?;
                let users = Load::users(cut);
                self.machine.check(&self.services, users).await
            };
            let context = |error| format!("cut {cut}: {error}");
            survived.await.map_err(context)?;
        }
        let users = (0..cuts).flat_map(Load::users);
        self.machine.check(&self.services, users).await?;
        let folder = self.folder.path();
        let place = Place::Postgres(&self.cluster, folder);
        self.machine.count_rest(&self.services, &place).await?;
        // The server reads all pages.
        let sql = "create extension amcheck;
            select bt_index_check(oid, true) from pg_class where relkind = 'i' and relam = 403";
        let intact = session(&self.cluster).await.batch_execute(sql).await;
        intact.map_err(|error| format!("the database is damaged: {error:?}"))
    }

    async fn cut(&mut self, round: u64, survivors: Survivors) -> Result<()> {
        let nth = 1 + self.machine.random.u64(..3_000);
        let moment = if round.is_multiple_of(2) {
            Moment::of(None, "", nth)
        } else {
            Moment::of(Some(Operation::Sync), "", 1 + nth / 10)
        };
        let calls = self.machine.load.start(round, &self.services);
        self.machine.disk.arm(moment);
        let cut = self.machine.cut_power().await;
        self.machine.count(&format!("cuts {cut}"));
        self.machine.forget(survivors);
        tokio::task::block_in_place(|| self.cluster.ctl("cut"));
        self.machine.boot(calls).await?;
        let start = AssertUnwindSafe(|| self.cluster.ctl("start"));
        tokio::task::block_in_place(|| catch_unwind(start))
            .map_err(|_panic| "the server does not start".to_owned())
    }
}
