//! Rows of the checklist of features as tests: each is a function over a whole cluster, run on a fresh one and again after
//! the operator was killed. What they showed goes to a file, from which `cargo xtask features` writes `docs/features.md`.
//!
//! Rows of a group share a cluster, so each leaves it as it found it; after one that fails the next has a new one. What a row is about is in `tests/checklist.yaml`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Serialize;
use stepwright_dev_cluster::{ClusterOptions, programs_folder, repository};
use tokio::runtime::Runtime;

use crate::world::World;

/// What a row does; it panics if what it is to show is not so.
pub type Shows = for<'a> fn(&'a World) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A row of the checklist and the function that shows it.
pub struct Row {
    number: u16,
    name: &'static str,
    /// Said where a row is shown on something else than what the checklist asks for, which may need containers.
    instead: Option<&'static str>,
    shows: Shows,
}

impl Row {
    /// A row by its number and the name of its test.
    #[must_use]
    pub fn new(number: u16, name: &'static str, shows: Shows) -> Self {
        // The module in which it is says nothing.
        let name = name.rsplit("::").next().unwrap_or(name).trim_start();
        Self { number, name, instead: None, shows }
    }

    /// Says on what the row is shown, where it cannot be shown literally.
    #[must_use]
    pub fn instead(mut self, words: &'static str) -> Self {
        self.instead = Some(words);
        self
    }
}

/// Makes a [`Row`] of an async function `row_NN_what_it_shows(world: &World)`.
#[macro_export]
macro_rules! row {
    ($number:literal, $function:path) => {
        $crate::checklist::Row::new($number, stringify!($function), |world| Box::pin($function(world)))
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    AfterKill,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::AfterKill => "after_kill",
        }
    }
}

/// What a row showed, as it is written to `target/checklist/<group>.json`.
#[derive(Serialize, Default, Clone)]
#[serde(rename_all = "camelCase")]
struct Shown {
    row: u16,
    test: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'static str>,
    fresh: bool,
    after_kill: bool,
}

struct Group {
    runtime: Runtime,
    /// Worker nodes of its cluster.
    nodes: usize,
    /// `None` before the first row, and after one that failed: what that left behind is nothing to go on from.
    world: Mutex<Option<Used>>,
    prepare: Shows,
    shown: Mutex<BTreeMap<&'static str, Shown>>,
}

/// A cluster, and what was done to it.
struct Used {
    world: World,
    killed: bool,
}

impl Group {
    async fn start(&self) -> anyhow::Result<Used> {
        let options = ClusterOptions { nodes: self.nodes, ..ClusterOptions::default() };
        let world = World::start_with(options).await?;
        (self.prepare)(&world).await;
        Ok(Used { world, killed: false })
    }

    fn run(&self, row: &Row, phase: Phase) -> Result<(), Failed> {
        let mut held = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let work = async {
            if held.is_none() {
                *held = Some(self.start().await.map_err(|error| format!("the cluster does not start: {error:#}"))?);
            }
            let Some(Used { world, killed }) = held.as_mut() else { return Err("there is no cluster".to_owned()) };
            if phase == Phase::AfterKill && !*killed {
                world.kill_operator().map_err(|error| format!("failed to kill the operator: {error:#}"))?;
                world.operator_ready().await;
                *killed = true;
            }
            (row.shows)(world).await;
            Ok::<(), String>(())
        };
        // Panics are how assertions fail; what they say is on standard error already.
        let failed = match catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(work))) {
            Ok(result) => result.err(),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                Some(said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
            }
        };
        if let Some(said) = failed {
            if let Some(Used { world, .. }) = held.take() {
                eprintln!("{}", world.last_words());
                if let Err(error) = self.runtime.block_on(world.cluster.stop()) {
                    eprintln!("the cluster does not stop: {error:#}");
                }
            }
            return Err(said.into());
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = shown.get_mut(row.name) {
            match phase {
                Phase::Fresh => shown.fresh = true,
                Phase::AfterKill => shown.after_kill = true,
            }
        }
        Ok(())
    }
}

/// Runs a group of rows as a test program (`harness = false`): `prepare` once, each row on the fresh cluster, then each
/// again after the operator was killed. Ends the process.
pub fn main(group: &'static str, prepare: Shows, rows: Vec<Row>) -> ! {
    main_on(ClusterOptions::default().nodes, group, prepare, rows)
}

/// The same on a cluster with so many worker nodes.
pub fn main_on(nodes: usize, group: &'static str, prepare: Shows, rows: Vec<Row>) -> ! {
    run(nodes, group, prepare, rows, true)
}

/// The same for functions that are no rows: each runs once, by its name and in this order, and nothing is written down.
pub fn once_on(nodes: usize, prepare: Shows, functions: &[(&'static str, Shows)]) -> ! {
    let rows = functions.iter().map(|(name, shows)| Row::new(0, name, *shows)).collect();
    run(nodes, "", prepare, rows, false)
}

fn run(nodes: usize, group: &'static str, prepare: Shows, rows: Vec<Row>, of_checklist: bool) -> ! {
    let mut arguments = Arguments::from_args();
    // They share a cluster.
    arguments.test_threads = Some(1);
    // Half the time, and half of what is to be shown: for every change, where both are for every release.
    let only_fresh = std::env::var("STEPWRIGHT_ROWS").is_ok_and(|word| word == "fresh");
    let chosen = arguments.filter.is_some() || !arguments.skip.is_empty() || arguments.list;
    let whole = of_checklist && !only_fresh && !chosen;
    let empty = |row: &Row| Shown {
        row: row.number,
        test: format!("{group}::{}", row.name),
        instead: row.instead,
        ..Shown::default()
    };
    let shared = Arc::new(Group {
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"),
        nodes,
        world: Mutex::default(),
        prepare,
        shown: Mutex::new(rows.iter().map(|row| (row.name, empty(row))).collect()),
    });
    let rows: Vec<Arc<Row>> = rows.into_iter().map(Arc::new).collect();
    let trial = |phase: Phase, row: &Arc<Row>| {
        let (row, shared) = (row.clone(), shared.clone());
        let name = if of_checklist { format!("{}::{}", row.name, phase.word()) } else { row.name.to_owned() };
        Trial::test(name, move || shared.run(&row, phase))
    };
    let fresh = rows.iter().map(|row| trial(Phase::Fresh, row));
    let after = rows.iter().filter(|_| of_checklist && !only_fresh).map(|row| trial(Phase::AfterKill, row));
    let trials = fresh.chain(after).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let group_of = shared;
    if whole {
        let shown = group_of.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        write(group, &shown.into_values().collect::<Vec<_>>());
    }
    if let Ok(group) = Arc::try_unwrap(group_of) {
        let Group { runtime, world, .. } = group;
        if let Some(Used { world, .. }) = world.into_inner().unwrap_or_else(PoisonError::into_inner)
            && let Err(error) = runtime.block_on(world.cluster.stop())
        {
            eprintln!("the cluster does not stop: {error:#}");
            std::process::exit(1);
        }
    }
    conclusion.exit()
}

/// Where `cargo xtask features` looks.
fn results() -> PathBuf {
    let target = programs_folder().map(|programs| programs.join(".."));
    target.unwrap_or_else(|_| repository().join("target")).join("checklist")
}

fn write(group: &str, shown: &[Shown]) {
    let folder = results();
    let text = serde_json::to_string_pretty(shown).unwrap_or_default();
    let written =
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(format!("{group}.json")), text));
    if let Err(error) = written {
        eprintln!("failed to write what the rows showed to {}: {error}", folder.display());
    }
}
