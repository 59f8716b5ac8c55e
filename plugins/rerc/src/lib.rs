//! Says of a remote Redis Enterprise cluster whether it answers and takes its login (reference, 1.8 and 3.18), and keeps its resource
//! for as long as an Active-Active database lists it.
//!
//! The host asks the cluster, and holds the login; what comes here is what it answered, or why it did not. The resource that
//! stands for the cluster beside it also begins the resources of Active-Active databases that were made elsewhere and have a
//! copy here.

mod copies;
mod rules;
mod seen;
mod status;

use stepwright_sdk::{Event, Fact, Failure, Judged, Manifest, Observation, Plan, Plugin};

use crate::seen::Seen;
use crate::status::{ACTIVE, ERROR, Status};

/// The plugin.
pub struct Rerc;

impl Plugin for Rerc {
    fn manifest() -> Manifest {
        seen::manifest()
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let seen = Seen::read(observed);
        if observed.deleting {
            let seen = seen.map_err(|failure| Failure::transient(failure.to_string()))?;
            return Ok(deletion(&seen));
        }
        living(&seen?)
    }
}

/// Judges a resource that is not stored yet by the step's rules.
///
/// # Errors
/// What the step could not read either.
pub fn judge(observed: &Observation) -> Result<Judged, Failure> {
    let seen = Seen::read(observed)?;
    let mut judged = Judged { violations: rules::of(&seen), warnings: Vec::new() };
    if seen.secret.is_none() {
        let name = seen.secret_name();
        judged.warnings.push(format!(
            "Secret `{name}` with `username` and `password` of the cluster's administrator is not there yet: make it"
        ));
    }
    Ok(judged)
}

fn living(seen: &Seen<'_>) -> Result<Plan, Failure> {
    Failure::unless_empty(rules::of(seen))?;
    let last = &seen.remote.status;
    let mut status = Status::of(seen);
    let trouble = trouble(seen);
    trouble.as_ref().map_or(ACTIVE, |_| ERROR).clone_into(&mut status.status);
    let mut plan = match &trouble {
        // What would help is noticed: another Secret, another spec, an answer.
        Some(why) => Plan::waiting(why.clone(), None).word("RemoteClusterError"),
        None => Plan::done(),
    };
    let name = seen.observed.name();
    match &trouble {
        Some(why) if last.status != ERROR => plan = plan.event(Event::warning("RemoteClusterError", why.clone())),
        None if last.status != ACTIVE => {
            let at = seen.remote.spec.address();
            let text = if seen.local {
                format!("remote cluster `{name}` is the cluster of this namespace")
            } else {
                format!("remote cluster `{name}` answers at {at} and takes its login")
            };
            plan = plan.event(Event::normal("RemoteClusterActive", text));
        }
        _ => {}
    }
    plan = copies::begin(plan, seen);
    Ok(plan.status(&status))
}

/// Why the cluster cannot be worked with.
fn trouble(seen: &Seen<'_>) -> Option<String> {
    let name = seen.secret_name();
    if seen.secret.is_none() {
        let text = format!(
            "Secret `{name}` does not exist: make it, with `username` and `password` of the cluster's administrator"
        );
        return Some(text);
    }
    let spec = &seen.remote.spec;
    if seen.local && seen.login_differs() {
        let text = format!(
            "Secret `{name}` has another login than Secret `{}`, by which cluster `{}` is managed: copy `username` and `password` \
             from there",
            spec.rec_name, spec.rec_name
        );
        return Some(text);
    }
    match &seen.cluster {
        Fact::Unknown(why) => Some(why.clone()),
        Fact::Known(cluster) => {
            let expected = format!("{}.{}.", spec.rec_name, spec.rec_namespace);
            let found = cluster.name.as_deref().filter(|name| !name.is_empty() && !name.starts_with(&expected))?;
            let at = spec.address();
            Some(format!(
                "{at} is cluster `{found}`, not cluster `{}` of namespace `{}`: correct spec.apiFqdnUrl, or spec.recName and \
                 spec.recNamespace",
                spec.rec_name, spec.rec_namespace
            ))
        }
    }
}

/// It stays for as long as it is listed.
fn deletion(seen: &Seen<'_>) -> Plan {
    let listed = seen.listed_by();
    if listed.is_empty() {
        return Plan::done();
    }
    let names = listed.join(", ");
    let text = format!(
        "remote cluster `{}` is listed by Active-Active databases {names}: take it out of their spec.participatingClusters, or \
         delete them, first",
        seen.observed.name()
    );
    Plan::waiting(text.clone(), None)
        .word("DeletionBlocked")
        .event(Event::warning("DeletionBlocked", text))
        .status(&seen.remote.status)
}
