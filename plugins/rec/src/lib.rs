//! Makes a Redis Enterprise cluster: its objects, its formation node by node, its state.
//!
//! The Services that clients use are the `services-rigger` step's; the image comes from the `upgrade` step; databases are
//! the `redb` step's. One call reads everything once (`seen`), judges the spec (`validate`), decides which node acts next
//! (`formation`), and says what is so (`state`, `status`).

mod board;
mod budgets;
mod calls;
mod credentials;
mod drain;
mod facts;
mod formation;
mod judged;
mod license;
mod managed;
mod notices;
mod objects;
mod passthrough;
mod quantity;
mod racks;
mod recovery;
mod rivals;
mod rollout;
mod seen;
mod shrink;
mod spec;
mod state;
mod status;
mod storage;
mod unsupported;
mod validate;

use std::time::Duration;

use stepwright_sdk::{Event, Failure, Manifest, Observation, Plan, Plugin};

pub use crate::judged::judge;

use crate::drain::Drain;
use crate::formation::{Next, View};
use crate::managed::Parts;
use crate::recovery::Recovery;
use crate::rollout::Rollout;
use crate::seen::Seen;
use crate::shrink::Shrink;
use crate::state::State;

/// The plugin.
pub struct Rec;

/// How soon to look again while nodes bootstrap: a step takes them seconds.
const SOON: Duration = Duration::from_secs(1);
/// How soon to look again when something is wrong that may pass.
const LATER: Duration = Duration::from_secs(5);
/// Nodes with less memory do not live (reference, 3.2).
const MIN_MEMORY: &str = "4Gi";

impl Plugin for Rec {
    fn manifest() -> Manifest {
        seen::manifest()
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let seen = Seen::read(observed)?;
        if observed.deleting {
            return Ok(delete(&seen));
        }
        if let Some(winner) = rivals::winner(&seen) {
            return Ok(refuse(&seen, winner));
        }
        let view = View::of(&seen);
        validate::check(&seen, &view)?;
        let unsupported = unsupported::unsupported(observed, &seen)?;
        let plan = if validate::credentials_lost(&seen, &view) {
            without_credentials(&seen, &view)
        } else {
            run(&seen, &view)
        };
        let plan = recovery::take_back(plan, &seen);
        Ok(plan.note(&unsupported::Note { unsupported }))
    }
}

/// What is to be done next, as far as it can be decided by itself.
pub(crate) struct Course {
    pub(crate) next: Next,
    pub(crate) recovery: Recovery,
    pub(crate) rollout: Rollout,
    pub(crate) drain: Drain,
    pub(crate) shrink: Shrink,
    /// The pods go and come again, because no cluster is formed yet and they cannot start as they are.
    pub(crate) recreates: bool,
    /// The recovery that the spec asks for is done.
    pub(crate) recovered: bool,
}

impl Course {
    fn of(seen: &Seen<'_>, view: &View) -> Self {
        let recovery = recovery::of(seen, view);
        let next = view.next(&recovery);
        let mut rollout = rollout::of(seen, view);
        let drain = drain::of(seen, view, &mut rollout);
        let gone = seen.statefulset.is_none() && seen.pods.is_empty();
        let recreates = seen.cluster.status.state == State::ClusterRecreating.as_str() && !gone;
        let recreates = !view.formed() && (rollout.recreate || recreates);
        // Rejoining ends with the last node; a wish that is taken back may be made again.
        let all_well = next == Next::Complete && view.nodes.iter().all(|node| node.active);
        let ended = recovery == Recovery::Rejoining && all_well;
        let recovered = seen.cluster.spec.cluster_recovery && (seen.recovered() || ended);
        let mut shrink = shrink::of(seen, view);
        if next != Next::Complete || rollout.rolling {
            // One thing after another.
            shrink.calls.clear();
        }
        Self { next, recovery, rollout, drain, shrink, recreates, recovered }
    }

    /// All pods go.
    pub(crate) fn without_pods(&self) -> bool {
        self.recreates || matches!(self.recovery, Recovery::Reset { .. })
    }
}

/// The ordinary case: objects, calls, and the state that follows.
fn run(seen: &Seen<'_>, view: &View) -> Plan {
    let course = Course::of(seen, view);
    let parts = Parts::of(seen);
    let calls = calls::planned(seen, view, &course, &parts);
    let (state, missing) = state::of(seen, view, &course);
    let failure = board::failure(seen, view);
    let missing = missing.map(|text| match &failure {
        Some(failure) if !text.contains(failure) => format!("{text}; its last attempt failed: {failure}"),
        _ => text,
    });
    let refused = calls::refused(seen, &parts);
    let not_recovered = match &course.recovery {
        Recovery::Refused(why) => Some(why.clone()),
        _ => None,
    };
    let waits_for_license = objects::license_source(seen).err();
    let waits_for_secret = parts.waiting.first().map(|(_, why)| why.clone());
    let slow = matches!(state, State::Error | State::Running | State::InvalidUpgrade);
    let again = if slow || refused.is_some() { LATER } else { SOON };
    let unknown = parts.unknown.clone().filter(|_| view.listed.is_ok() && view.formed());
    // In the order of their weight; each with the word by which scripts know it.
    let reasons = [
        refused.as_ref().map(|refused| (refused.reason, refused.message.clone())),
        not_recovered.map(|why| ("RecoveryBlocked", why)),
        missing.map(|why| (word(seen, view, &course, state), why)),
        waits_for_license.map(|why| ("LicenseMissing", why)),
        waits_for_secret.map(|why| ("SecretInvalid", why)),
        unknown.map(|why| ("SettingsUnknown", why)),
        objects::broker::waits_for(seen).map(|why| ("ServiceBrokerWaits", why)),
    ];
    let why = reasons.into_iter().flatten().next();
    let plan = why.map_or_else(Plan::done, |(word, why)| Plan::waiting(why, again).word(word));
    let plan =
        objects::desire(plan, seen, view, &parts, &course, true).status(&status::full(seen, view, &parts, state));
    let plan = noted(notices::events(license::event(plan, seen), seen), seen, view, &course);
    if !calls.is_empty() {
        // This round's status is not written, so what changed is told by the next one; only a refusal, which
        // the next round does not see, is news now.
        let plan =
            refused.into_iter().fold(plan, |plan, refused| plan.event(Event::warning(refused.reason, refused.message)));
        return calls.into_iter().fold(plan, Plan::call);
    }
    let plan = match (&course.next, refused) {
        (_, Some(refused)) => plan.event(Event::warning(refused.reason, refused.message)),
        (Next::Stuck { reason, message }, None) if state_changes(seen, state) => {
            plan.event(Event::warning(*reason, message))
        }
        _ => plan,
    };
    let plan =
        if seen.cluster.spec.persistent() { storage::events(plan, seen, &storage::progress(seen)) } else { plan };
    warnings(changed(turns(plan, seen, &course), seen, state), seen)
}

/// What a cluster in this state waits for, in one word.
fn word(seen: &Seen<'_>, view: &View, course: &Course, state: State) -> &'static str {
    match (&course.next, state) {
        (Next::Stuck { reason, .. }, State::Error) => reason,
        (_, State::Error) if state::lost(seen, view).is_some() => "QuorumLost",
        (_, State::Error) => "ClusterSilent",
        (_, State::Running) if course.shrink.blocked.is_some() => "ScaleDownBlocked",
        (_, State::Running) if course.shrink.waits.is_some() => "ScaleDownPending",
        (_, State::Running) => "RolloutPending",
        _ if course.rollout.stuck.is_some() => "RolloutStuck",
        _ => state.as_str(),
    }
}

/// What is told once because the board then has it: in the plan that writes it there, also if that plan has calls.
fn noted(mut plan: Plan, seen: &Seen<'_>, view: &View, course: &Course) -> Plan {
    let news = board::failure(seen, view).filter(|failure| board::kept(seen, board::FAILED) != Some(failure));
    if let Some(failure) = news {
        plan = plan.event(Event::warning("BootstrapFailed", failure));
    }
    if course.recovered && !seen.recovered() {
        let pod = seen.pod_name(0);
        let text = format!(
            "the cluster is restored; bring its databases back with `kubectl exec {pod} -- rladmin recover all`"
        );
        plan = plan.event(Event::normal("RecoveryCompleted", text));
    }
    if let Some(advice) = state::lost(seen, view).filter(|_| board::kept(seen, board::QUORUM).is_none()) {
        plan = plan.event(Event::warning("QuorumLost", advice));
    }
    plan
}

/// Turns of a cluster's life that people want to hear of.
fn turns(mut plan: Plan, seen: &Seen<'_>, course: &Course) -> Plan {
    if let Recovery::Reset { begins: true } = course.recovery {
        let text = "all pods are deleted, and the cluster is restored from its volumes; its databases need `rladmin recover all` afterwards";
        plan = plan.event(Event::normal("RecoveryStarted", text));
    }
    if let Recovery::Refused(why) = &course.recovery {
        plan = plan.event(Event::warning("RecoveryBlocked", why));
    }
    if let (Recovery::FirstPod, Next::Stuck { reason, message }) = (&course.recovery, &course.next) {
        plan = plan.event(Event::warning(*reason, message));
    }
    if let (Next::Wait(why), Some(problem)) = (&course.next, racks::problem(seen))
        && *why == problem
    {
        plan = plan.event(Event::warning("RackUnknown", problem));
    }
    if let Some(why) = &course.rollout.stuck {
        let text = format!("{why}; the other pods stay as they are until it runs, or until the change is taken back");
        plan = plan.event(Event::warning("RolloutStuck", text));
    }
    if let Some(why) = &course.drain.gave_up {
        plan = plan.event(Event::warning("NodeNotEmptied", why));
    }
    if seen.license.known().is_some_and(|license| license.expired == Some(true)) && !seen.license_was_expired() {
        let text = "the license has expired: databases serve on, but none can be made or changed, and the cluster cannot be upgraded; install another by spec.license or spec.licenseSecretName";
        plan = plan.event(Event::warning("LicenseExpired", text));
    }
    match &course.shrink.blocked {
        Some(why) if course.shrink.told => plan.event(Event::warning("ScaleDownBlocked", why)),
        _ => plan,
    }
}

/// The Secret is gone, the cluster is not. Its password cannot be made again, so nothing is written over it.
fn without_credentials(seen: &Seen<'_>, view: &View) -> Plan {
    let name = seen.credentials();
    let why = format!(
        "the Secret `{name}` with the cluster's credentials is gone or has no password; re-create it with the keys username and password",
    );
    let plan = Plan::waiting(&why, LATER).word("CredentialsLost");
    let parts = Parts::of(seen);
    let course = Course::of(seen, view);
    let plan = objects::desire(plan, seen, view, &parts, &course, false).status(&status::full(
        seen,
        view,
        &parts,
        State::Error,
    ));
    let plan =
        if state_changes(seen, State::Error) { plan.event(Event::warning("CredentialsLost", why)) } else { plan };
    changed(plan, seen, State::Error)
}

/// Why a second cluster in the namespace gets nothing.
pub(crate) fn only_one(winner: &str) -> String {
    format!(
        "only one RedisEnterpriseCluster may be in a namespace, and `{winner}` is there already; delete one, or use another namespace",
    )
}

/// What is to be said of nodes that are too small to live, if they are.
pub(crate) fn memory_too_small(seen: &Seen<'_>) -> Option<String> {
    let memory = seen.cluster.spec.resources().0.get("memory").and_then(quantity::Quantity::nano);
    (memory < quantity::Quantity::new(MIN_MEMORY).nano()).then(|| {
        format!("spec.redisEnterpriseNodeResources: a node needs {MIN_MEMORY} of memory or its processes are killed")
    })
}

/// A second cluster in the namespace gets nothing.
fn refuse(seen: &Seen<'_>, winner: &str) -> Plan {
    let why = only_one(winner);
    let plan = Plan::blocked(&why, LATER).word("MultipleClustersInNamespace").status(&status::bare(State::Invalid));
    if !state_changes(seen, State::Invalid) {
        return plan;
    }
    changed(plan.event(Event::warning("MultipleClustersInNamespace", why)), seen, State::Invalid)
}

/// The cluster stays whole until its databases are gone; then nothing is wanted, and the host removes what there is.
fn delete(seen: &Seen<'_>) -> Plan {
    let (plan, status_event) = if seen.databases.is_empty() {
        (Plan::done().status(&status::bare(State::Deleting)), None)
    } else {
        let why = format!(
            "Cannot delete REC: RedisEnterpriseDatabases exist: {}; delete them first",
            seen.databases.join(", ")
        );
        let view = View::of(seen);
        let with_secret = !validate::credentials_lost(seen, &view);
        let parts = Parts::of(seen);
        let course = Course::of(seen, &view);
        let plan = objects::desire(
            Plan::blocked(&why, LATER).word("DeletionBlocked"),
            seen,
            &view,
            &parts,
            &course,
            with_secret,
        );
        (plan.status(&status::full(seen, &view, &parts, State::Deleting)), Some(Event::warning("DeletionBlocked", why)))
    };
    let plan = match status_event.filter(|_| state_changes(seen, State::Deleting)) {
        Some(event) => plan.event(event),
        None => plan,
    };
    changed(plan, seen, State::Deleting)
}

fn state_changes(seen: &Seen<'_>, state: State) -> bool {
    seen.cluster.status.state != state.as_str()
}

/// Tells the change of state, if it is one.
fn changed(plan: Plan, seen: &Seen<'_>, state: State) -> Plan {
    if !state_changes(seen, state) {
        return plan;
    }
    let before = seen.cluster.status.state.as_str();
    let before = if before.is_empty() { "None" } else { before };
    plan.event(Event::normal("StatusChange", format!("{before} -> {}", state.as_str())))
}

/// Said once, when the resource is new.
fn warnings(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    if !seen.cluster.status.state.is_empty() {
        return plan;
    }
    if !seen.cluster.spec.persistent() {
        plan = plan.event(Event::warning(
            "PersistenceDisabled",
            "spec.persistentSpec.enabled is false: a pod that is lost takes its data with it, and there is no recovery",
        ));
    }
    if let Some(why) = memory_too_small(seen) {
        plan = plan.event(Event::warning("MemoryTooSmall", why));
    }
    plan
}
