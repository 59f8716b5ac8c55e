//! Steps that processes of their own run, as the operator deals with them: what it says to steps of itself (the fact `host`),
//! and whether somebody holds the Lease of a delegated step. What follows from it is decided in `stepwright_core::delegation`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::{Value, json};
use stepwright_core::conditions::Condition;
use stepwright_core::delegation::{Part, is_due, steps_of_lease};
use stepwright_core::observation::Fact;
use stepwright_core::pipeline::Pipeline;
use tracing::{info, warn};

use crate::apply::{MANAGER, Primary};
use crate::calendar;
use crate::context::Context;
use crate::facts::{self, Parts};
use crate::router::Router;
use crate::system::{FactValue, Known, SystemId};

/// The fact by which steps learn of the process that they run in.
pub const FACT: &str = "host";
/// How often is looked whether a Lease ran out.
const LOOK: Duration = Duration::from_secs(1);
/// How long a Lease holds where it does not say.
const LEASE: Duration = Duration::from_secs(15);
/// What an answer of the API server may take beyond that.
const SLACK: Duration = Duration::from_secs(5);

/// How a delegated step is run by a process of its own: for whoever makes that process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lone {
    /// Arguments of the program.
    pub arguments: Vec<String>,
    /// `PolicyRule`s: what it has to be allowed, in its own namespace, besides reading the Secrets of the managed system.
    pub rules: Vec<Value>,
}

/// What steps are told of the process that runs them, as far as it is known. Outside of a cluster there is no image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Names of Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// By step.
    pub delegated: BTreeMap<String, Lone>,
}

/// This process' part in running the pipelines.
#[derive(Debug, Clone, Default)]
pub struct Delegation {
    pub part: Part,
    pub host: Host,
    /// Steps of all pipelines, whichever process runs them.
    pub steps: Vec<String>,
    /// The Lease of the main process; `None`: there are no Leases, and delegated steps count as run.
    pub lease: Option<String>,
}

impl Delegation {
    /// Names what a lone process writes beside what others of its kind write; `None` for the main process.
    pub(crate) fn name(&self) -> Option<String> {
        self.part.alone().map(|steps| steps.iter().map(String::as_str).collect::<Vec<_>>().join("."))
    }

    /// The steps of the pipeline that other processes run.
    pub(crate) fn of<'a>(&'a self, pipeline: &'a Pipeline) -> impl Iterator<Item = &'a String> {
        let delegated = self.part.delegated();
        pipeline.steps.iter().filter(move |step| delegated.is_some_and(|steps| steps.contains(*step)))
    }
}

/// The field manager of what a lone process says of a primary. One for each step, so that it does not matter which steps run
/// together.
pub(crate) fn manager(step: &str) -> String {
    format!("{MANAGER}/alone:{step}")
}

/// Every condition of a primary, whoever said it.
pub(crate) fn told(primary: &Primary) -> Vec<Condition> {
    let all = primary.value.pointer("/status/conditions");
    let read = |it: &Value| serde_json::from_value(it.clone()).ok();
    all.and_then(Value::as_array).into_iter().flatten().filter_map(read).collect()
}

/// Whether a lone process has something to do for the primary: the main process says that each step of it is due.
pub(crate) fn due(pipeline: &Pipeline, primary: &Primary) -> bool {
    let (told, generation) = (told(primary), primary.object.metadata.generation.unwrap_or_default());
    pipeline.steps.iter().all(|step| is_due(&told, step, generation))
}

impl Context {
    /// The steps that are left out for this primary. Processes tell each other in conditions, so a kind without any is done
    /// by one alone; and what a step has to undo, the process with the finalizer does.
    pub(crate) async fn left_out(&self, pipeline: &Pipeline, primary: &Primary) -> BTreeSet<String> {
        if self.delegation.part.delegated().is_none() || !self.can_delegate(primary).await {
            return BTreeSet::new();
        }
        let undone_here = |step: &&String| !primary.deleting() || self.slots.active(step).is_none();
        self.delegation.of(pipeline).filter(undone_here).cloned().collect()
    }

    async fn can_delegate(&self, primary: &Primary) -> bool {
        self.has_conditions(&primary.kind).await || self.may_get_conditions(&primary.kind)
    }

    /// Facts in the order of their names: of the managed system, of this process, and the date.
    pub(crate) async fn facts(
        &self,
        primary: &Primary,
        names: &[String],
        parts: Option<&Parts>,
        system: Option<&SystemId>,
    ) -> Vec<Fact> {
        let of_system: Vec<String> =
            names.iter().filter(|name| ![FACT, calendar::FACT].contains(&name.as_str())).cloned().collect();
        let known = match system {
            _ if of_system.is_empty() => Vec::new(),
            Some(system) => self.system.facts(system, &of_system).await,
            None => {
                let unknown = "the managed system of this object is not known".to_owned();
                of_system.into_iter().map(|name| Known { name, value: Err(unknown.clone()) }).collect()
            }
        };
        let mut known = known.into_iter();
        let mut shown_facts = Vec::with_capacity(names.len());
        for name in names {
            let own = match name.as_str() {
                FACT => Some(self.host(primary).await),
                calendar::FACT => Some(Value::String(calendar::today())),
                _ => None,
            };
            if let Some(value) = own {
                shown_facts.push(Fact { name: name.clone(), value: Ok(value.to_string()) });
            } else {
                let part = parts.and_then(|parts| parts.get(name));
                let shown = |value: Arc<FactValue>| match part {
                    Some(part) => value.part(part, &|path| facts::fields(&primary.object, path)),
                    None => value.text(),
                };
                shown_facts.extend(known.next().map(|it| Fact { name: it.name, value: it.value.map(shown) }));
            }
        }
        shown_facts
    }

    async fn host(&self, primary: &Primary) -> Value {
        let mut host = self.delegation.host.clone();
        if !host.delegated.is_empty() && !self.can_delegate(primary).await {
            host.delegated.clear();
        }
        json!(host)
    }
}

/// Who runs delegated steps, by their Leases.
#[derive(Debug, Default)]
pub(crate) struct Runners {
    leases: Mutex<HashMap<String, Held>>,
    run: RwLock<BTreeSet<String>>,
}

/// A Lease as last seen. Whether it ran out is told by our own clock alone: those of other machines may differ.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    renewed: Option<String>,
    seen: Instant,
    holds: Duration,
    is_held: bool,
}

impl Held {
    fn of(lease: &Lease, now: Instant) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|it| it.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
        Self {
            renewed: spec.and_then(|it| it.renew_time.as_ref()).map(|it| it.0.to_string()),
            seen: now,
            holds: seconds.map_or(LEASE, Duration::from_secs),
            is_held: spec.and_then(|it| it.holder_identity.as_deref()).is_some_and(|holder| !holder.is_empty()),
        }
    }

    fn is_live(&self, now: Instant) -> bool {
        self.is_held && now.saturating_duration_since(self.seen) < self.holds + SLACK
    }
}

impl Runners {
    /// Whether some process runs the step.
    pub(crate) fn run(&self, step: &str) -> bool {
        self.run.read().contains(step)
    }

    fn saw(&self, lease: &Lease, now: Instant) {
        let held = Held::of(lease, now);
        let mut leases = self.leases.lock();
        match leases.get_mut(&lease.name_any()) {
            Some(known) if known.renewed == held.renewed && known.is_held == held.is_held => {}
            _ => {
                leases.insert(lease.name_any(), held);
            }
        }
    }

    fn lost(&self, lease: &Lease) {
        self.leases.lock().remove(&lease.name_any());
    }

    /// Looks which of `steps` are run; those for which that changed.
    fn look(&self, main: &str, steps: &BTreeSet<String>, now: Instant) -> Vec<String> {
        let run: BTreeSet<String> = {
            let leases = self.leases.lock();
            let live = leases.iter().filter(|(_, held)| held.is_live(now));
            live.flat_map(|(name, _)| steps_of_lease(main, name).map(str::to_owned))
                .filter(|it| steps.contains(it))
                .collect()
        };
        let mut before = self.run.write();
        let changed: Vec<String> = before.symmetric_difference(&run).cloned().collect();
        *before = run;
        changed
    }
}

/// Keeps an eye on the processes that run delegated steps, for as long as the operator runs.
pub(crate) async fn watch(context: Arc<Context>, router: Arc<Router>, namespace: String) -> anyhow::Result<()> {
    let (Some(steps), runners) = (context.delegation.part.delegated().cloned(), &context.runners) else {
        return std::future::pending().await;
    };
    let Some(main) = context.delegation.lease.clone() else {
        *runners.run.write() = steps;
        return std::future::pending().await;
    };
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &namespace);
    let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease))) => runners.saw(&lease, Instant::now()),
                Some(Ok(watcher::Event::Delete(lease))) => runners.lost(&lease),
                Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => {}
                Some(Err(error)) => {
                    warn!(error = &error as &dyn std::error::Error, "watch of Leases interrupted; it is started again");
                }
                None => anyhow::bail!("the watch of Leases ended"),
            },
            _ = tick.tick() => {}
        }
        let changed = runners.look(&main, &steps, Instant::now());
        for step in &changed {
            info!(step, run = runners.run(step), "a delegated step changed hands");
        }
        if !changed.is_empty() {
            router.swapped(&changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, holder: &str, renewed: &str) -> Lease {
        let spec = json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_step_is_run_for_as_long_as_its_lease_is_renewed() {
        let runners = Runners::default();
        let steps: BTreeSet<String> = ["rigger".to_owned()].into();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(runners.look("main", &steps, start).is_empty());
        // Whatever its clock says, it counts from when it was seen.
        runners.saw(&lease("main-rigger", "pod", "2001-01-01T00:00:00.000000Z"), start);
        runners.saw(&lease("main", "other", "2001-01-01T00:00:00.000000Z"), start);
        assert_eq!(runners.look("main", &steps, at(19)), ["rigger"]);
        assert!(runners.run("rigger"));
        // The same, seen again, is no renewal.
        runners.saw(&lease("main-rigger", "pod", "2001-01-01T00:00:00.000000Z"), at(19));
        assert_eq!(runners.look("main", &steps, at(20)), ["rigger"]);
        assert!(!runners.run("rigger"));
        runners.saw(&lease("main-rigger", "pod", "2001-01-01T00:00:10.000000Z"), at(21));
        assert_eq!(runners.look("main", &steps, at(22)), ["rigger"]);
        // Given back.
        runners.saw(&lease("main-rigger", "", "2001-01-01T00:00:10.000000Z"), at(23));
        assert_eq!(runners.look("main", &steps, at(23)), ["rigger"]);
        assert!(!runners.run("rigger"));
    }
}
