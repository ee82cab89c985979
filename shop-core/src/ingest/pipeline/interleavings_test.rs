//! All interleavings of a small scope, up to a depth: two partitions of two batches, and all
//! events. At the end of each path all faults stop, and everything must be committed finally.
//!
//! `SHOP_TEST_MODEL_DEPTH` sets the depth, in moves; a fault counts as two. Each further move takes
//! three times as long.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::super::IngestOptions;
use super::world_test::{BATCHES, DRAIN, Move, World, batch, expect};

/// The maximum number of turns until everything is committed once all faults stop.
const MAX_TURNS: usize = 200;

/// A depth-first exploration from one state.
#[derive(Default)]
struct Walk {
    /// The remaining depth with which each state was explored.
    seen: HashMap<u64, usize>,
    /// States from which everything is committed.
    healed: HashSet<u64>,
    moves: u64,
    path: Vec<Move>,
}

impl Walk {
    fn walk(&mut self, world: &World, depth: usize) -> Result<(), String> {
        let walked = self.seen.entry(world.fingerprint()).or_default();
        if *walked > depth {
            return Ok(());
        }
        *walked = depth + 1;
        let mut is_end = true;
        for next in world.moves() {
            let Some(left) = depth.checked_sub(next.cost()) else {
                continue;
            };
            is_end = false;
            let mut after = world.clone();
            self.moves += 1;
            self.path.push(next);
            after.make(next)?;
            self.walk(&after, left)?;
            self.path.pop();
        }
        if is_end {
            self.heal(world.clone())
        } else {
            Ok(())
        }
    }

    /// Stops all faults: then everything is committed.
    fn heal(&mut self, mut world: World) -> Result<(), String> {
        let mut path = Vec::new();
        for _ in 0..MAX_TURNS {
            let fingerprint = world.fingerprint();
            if self.healed.contains(&fingerprint) {
                self.healed.extend(path);
                return Ok(());
            }
            path.push(fingerprint);
            let is_done = world.log.iter().all(|log| log.committed == BATCHES);
            if is_done && world.revocations.is_empty() {
                let all = world
                    .log
                    .iter()
                    .all(|log| log.durable.len() as u64 == BATCHES);
                self.healed.extend(path);
                return expect(all, || "a record is missing".to_owned());
            }
            let next = world
                .next_good_move()
                .ok_or("nothing is due, and not all is committed")?;
            world
                .make(next)
                .map_err(|violation| format!("healing, at {next:?}: {violation}"))?;
        }
        Err("not all is committed although nothing fails any more".to_owned())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how deep to walk is set from outside"
)]
fn depth() -> usize {
    std::env::var("SHOP_TEST_MODEL_DEPTH").map_or(DEPTH, |text| text.parse().unwrap())
}

/// A depth that takes a few seconds without optimization.
const DEPTH: usize = 7;

fn walk_all(in_flight: usize, in_flight_bytes: usize) {
    let options = IngestOptions {
        max_in_flight_batches: in_flight,
        max_in_flight_bytes: in_flight_bytes,
        drain_timeout: DRAIN,
        initial_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(100),
        jitter_seed: Some(1),
        ..IngestOptions::default()
    };
    let mut walk = Walk::default();
    let depth = depth();
    let result = walk.walk(&World::new(options, Instant::now()), depth);
    let Walk {
        seen, moves, path, ..
    } = walk;
    println!(
        "walked {} states and {moves} moves, up to {depth} moves from the start",
        seen.len()
    );
    assert_eq!(result, Ok(()), "after {path:#?}");
}

#[test]
fn every_interleaving_is_correct_with_bounded_batches() {
    walk_all(2, usize::MAX);
}

#[test]
fn every_interleaving_is_correct_with_bounded_bytes() {
    let one = batch(
        World::new(IngestOptions::default(), Instant::now()).partition(0),
        0,
    )
    .size();
    walk_all(8, one + 1);
}
