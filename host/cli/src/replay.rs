//! `stepwright replay`: asks a component what was asked of another one, and compares the answers. No cluster is needed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use stepwright_core::explain::{change, plugin};
use stepwright_core::guest::Guest;
use stepwright_core::journal::{Answer, PassRecord, PluginRef, Reason, RoundRecord, StepRecord};
use stepwright_core::observation::Observation;
use stepwright_core::replay::{Compared, compare};
use stepwright_core::slot::Role;
use stepwright_core::world::World;
use stepwright_engine::{Engine, EngineConfig};

use crate::journal::Exported;
use crate::print;

/// Fields of one difference that are shown.
const FIELDS: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// What `stepwright journal export` wrote.
    file: PathBuf,
    /// The component to ask.
    #[arg(long, value_name = "FILE")]
    component: PathBuf,
    /// Compare with this component's answers instead of the recorded ones.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A JSON file with settings for the component. Default: the recorded ones.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Only questions of this step. Default: of every step that the component implements.
    #[arg(long)]
    step: Option<String>,
    /// How many differing answers are shown.
    #[arg(long, default_value_t = 5)]
    sample: usize,
}

/// 0: every answer is the same; 1: some are not; 2: it could not be found out.
pub(crate) fn run(args: &ReplayArgs) -> ExitCode {
    match replay(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::from(2)
        }
    }
}

fn replay(args: &ReplayArgs) -> anyhow::Result<bool> {
    let engine = Engine::new(EngineConfig::default())?;
    let guest = load(&engine, &args.component)?;
    let against = args.against.as_deref().map(|file| load(&engine, file)).transpose()?;
    let settings = args.settings.as_deref().map(|file| settings(file, guest.as_ref())).transpose()?;
    let mut steps: BTreeSet<&str> = guest.manifest().steps.iter().map(|it| it.name.as_str()).collect();
    if let Some(step) = &args.step {
        if !steps.contains(step.as_str()) {
            let has: Vec<&str> = steps.into_iter().collect();
            bail!("{} does not implement step `{step}`; it has: {}", args.component.display(), has.join(", "));
        }
        steps = BTreeSet::from([step.as_str()]);
    }

    let exported = Exported::open(&args.file)?;
    let mut report = Report::new(&exported, guest.as_ref(), args.sample);
    // Of a primary at rest the same question is recorded over and over.
    let mut asked: HashSet<[u8; 32]> = HashSet::new();
    for record in exported {
        let record = record?;
        let of_it = |it: &&StepRecord| steps.contains(it.step.as_str()) && was_asked(it.role);
        for step in record.steps.iter().filter(of_it) {
            for (number, round) in step.rounds.iter().enumerate() {
                if !asked.insert(question(step, round)?) {
                    continue;
                }
                let observation = with_settings(&round.observation, settings.as_deref());
                let before = match &against {
                    Some(other) => answer(other.as_ref(), &round.observation),
                    None => round.answer.clone(),
                };
                let compared = compare(&before, &answer(guest.as_ref(), &observation));
                report.add(&record, step, number, compared);
            }
        }
    }
    report.print(args)
}

/// A shadow was asked beside the version that answered, and of a held plan nobody was.
fn was_asked(role: Role) -> bool {
    matches!(role, Role::Active | Role::Canary | Role::Fallback)
}

fn load(engine: &Engine, file: &Path) -> anyhow::Result<Box<dyn Guest>> {
    let shown = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("failed to read {shown}"))?;
    let guest = engine.load(&bytes).with_context(|| format!("{shown} would be refused"))?;
    if guest.world() != World::Step {
        bail!("{shown} is a {}; only a {} answers what is recorded", guest.world(), World::Step);
    }
    Ok(Box::new(guest))
}

fn settings(file: &Path, guest: &dyn Guest) -> anyhow::Result<String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {shown}"))?;
    let violations = guest.validate_settings(&text)?;
    if violations.is_empty() {
        return Ok(text);
    }
    let texts: Vec<String> = violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
    bail!("plugin `{}` refuses the settings in {shown}: {}", guest.manifest().name, texts.join("; "))
}

fn with_settings(observation: &Observation, settings: Option<&str>) -> Observation {
    let mut observation = observation.clone();
    if let Some(settings) = settings {
        settings.clone_into(&mut observation.settings);
    }
    observation
}

fn answer(guest: &dyn Guest, observation: &Observation) -> Answer {
    match guest.reconcile(observation) {
        Ok(Ok(plan)) => Answer::Planned(plan.into()),
        Ok(Err(failure)) => Answer::Failed(failure),
        Err(error) => Answer::Broken(Reason { reason: error.reason().to_owned(), message: error.to_string() }),
    }
}

/// A digest of what was asked of whom, and answered.
fn question(step: &StepRecord, round: &RoundRecord) -> anyhow::Result<[u8; 32]> {
    let asked = (&step.plugin.digest, &round.observation, &round.answer);
    Ok(Sha256::digest(serde_json::to_vec(&asked)?).into())
}

#[derive(Default)]
struct Tally {
    equal: usize,
    same_fields: usize,
    other: usize,
    primaries: BTreeSet<String>,
}

struct Report {
    head: String,
    steps: BTreeMap<String, Tally>,
    samples: Vec<String>,
    most: usize,
}

impl Report {
    fn new(exported: &Exported, guest: &dyn Guest, most: usize) -> Self {
        let header = &exported.header;
        let asked = PluginRef {
            name: guest.manifest().name.clone(),
            version: guest.manifest().version.clone(),
            digest: guest.digest().to_string(),
            source: "file".to_owned(),
        };
        let head = format!(
            "{} on what host {} recorded until {}, contract {}",
            plugin(&asked),
            header.host,
            header.exported,
            header.contract
        );
        Self { head, steps: BTreeMap::new(), samples: Vec::new(), most }
    }

    fn add(&mut self, record: &PassRecord, step: &StepRecord, round: usize, compared: Compared) {
        let tally = self.steps.entry(step.step.clone()).or_default();
        tally.primaries.insert(record.primary.to_string());
        let lines = match compared {
            Compared::Equal => {
                tally.equal += 1;
                return;
            }
            Compared::SameFields => {
                tally.same_fields += 1;
                return;
            }
            Compared::Differ(changes) => {
                let mut lines: Vec<String> = changes.iter().take(FIELDS).map(change).collect();
                if changes.len() > FIELDS {
                    lines.push(format!("and {} more fields", changes.len() - FIELDS));
                }
                lines
            }
            Compared::Other { before, after } => vec![format!("was: {before}"), format!("is:  {after}")],
        };
        tally.other += 1;
        if self.samples.len() < self.most {
            let place = format!(
                "step {}, pass {}, round {}, {} (recorded of {})",
                step.step,
                record.number,
                round + 1,
                record.primary,
                plugin(&step.plugin)
            );
            self.samples.push(format!("{place}\n  {}", lines.join("\n  ")));
        }
    }

    fn print(self, args: &ReplayArgs) -> anyhow::Result<bool> {
        if self.steps.is_empty() {
            bail!(
                "nothing recorded in {} was asked of a step that is replayed; `stepwright explain` shows which steps are recorded",
                args.file.display()
            );
        }
        let mut lines = vec![self.head];
        for (step, tally) in &self.steps {
            let questions = tally.equal + tally.same_fields + tally.other;
            let mut line = format!(
                "step {step}: {questions} questions about {} primaries: {} answered byte-equal",
                tally.primaries.len(),
                tally.equal
            );
            if tally.same_fields > 0 {
                line.push_str(&format!(", {} with the same fields in other bytes", tally.same_fields));
            }
            line.push_str(&format!(", {} differ", tally.other));
            lines.push(line);
        }
        let differing: usize = self.steps.values().map(|it| it.other).sum();
        if !self.samples.is_empty() {
            lines.push(format!("\nthe first {} of {differing} that differ:", self.samples.len()));
            lines.extend(self.samples);
        }
        print(&lines.join("\n"));
        Ok(differing == 0)
    }
}
