//! A run in a process of its own, so that its processor time and its memory are its own too.

use std::process::{Command, Output};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::rungs::freshness::Inserts;
use crate::rungs::hot_path::Carry;
use crate::rungs::listing::Lookups;
use crate::rungs::mock_cluster::Consume;
use crate::rungs::publish::Publish;
use crate::server::Served;

/// What a process of its own does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Run {
    /// Carries records from a log into a store.
    Carry(Carry),
    /// Reads a topic.
    Consume(Consume),
    /// Publishes into a log.
    Publish(Publish),
    /// Serves until it is ended.
    Serve(Served),
    /// Sends requests.
    Load(Load),
    /// Inserts one purchase after the other.
    Inserts(Inserts),
    /// Reads what a store holds.
    Lookups(Lookups),
}

/// This program, even when it has been built anew since it was started: the report has its benches built, and itself with them.
const THIS: &str = "/proc/self/exe";

/// The first argument of a process that is to run one thing.
const RUN: &str = "run-one";

impl Run {
    /// Does what the arguments of this process say, and ends it, if it is one that was started for that. The first
    /// thing that every main of a bench does.
    pub fn if_told() {
        let mut arguments = std::env::args().skip(1);
        if let (Some(RUN), Some(run)) = (arguments.next().as_deref(), arguments.next()) {
            println!("{}", serde_json::from_str::<Self>(&run).unwrap().execute());
            std::process::exit(0);
        }
    }

    fn execute(self) -> String {
        match self {
            Self::Carry(carry) => to_json(&carry.measure()),
            Self::Consume(consume) => to_json(&consume.measure()),
            Self::Publish(publish) => to_json(&publish.measure()),
            Self::Serve(served) => served.run(),
            Self::Load(load) => to_json(&load.run()),
            Self::Inserts(inserts) => to_json(&inserts.run()),
            Self::Lookups(lookups) => to_json(&lookups.run()),
        }
    }

    /// This program again, told to run this.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(THIS);
        command.arg(RUN).arg(to_json(self));
        command
    }

    /// Runs it in a process of its own; answers what that has measured.
    #[must_use]
    pub fn in_own_process<T: DeserializeOwned>(&self) -> T {
        let Output { status, stdout, stderr } = self.command().output().unwrap();
        assert!(status.success(), "{self:?}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).unwrap()
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// Runs both in turn, so many times, each in a process of its own.
#[must_use]
pub fn in_turn<T: DeserializeOwned>(pairs: usize, ours: &Run, beside: &Run) -> (Vec<T>, Vec<T>) {
    (0..pairs).map(|_| (ours.in_own_process(), beside.in_own_process())).unzip()
}
