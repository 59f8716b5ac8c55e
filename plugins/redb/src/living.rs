//! The resource is there: make the database, and keep it as the spec says (reference, 3.6).

use std::time::Duration;

use stepwright_sdk::{Call, Event, Failure, Observed, Plan, Progress, Wait};

use crate::refusal::{Outcome, outcome};
use crate::rules;
use crate::secret::DatabaseSecret;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::Cluster;
use crate::status::{FAILED, RUNNING, Status};
use crate::unsupported::{self, Note};
use crate::wanted::{Change, PASSWORD, creation};

/// Again after something that will be over soon.
const SOON: u64 = 1;
/// Again after a reply that did not come.
const AFTER_SILENCE: u64 = 2;
/// Again after a refusal: what would help is a change, which is noticed sooner.
const AFTER_REFUSAL: u64 = 30;

/// What is decided before it is written down as a plan.
struct Decision {
    progress: Progress,
    status: Status,
    call: Option<Call>,
    events: Vec<Event>,
}

impl Decision {
    fn done(status: Status) -> Self {
        Self { progress: Progress::Done, status, call: None, events: Vec::new() }
    }

    fn waiting(status: Status, reason: impl Into<String>, seconds: impl Into<Option<u64>>) -> Self {
        let wait = Wait { reason: reason.into(), again_in: seconds.into().map(Duration::from_secs) };
        Self { progress: Progress::Waiting(wait), status, call: None, events: Vec::new() }
    }

    fn call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    fn failed(mut self) -> Self {
        if let Progress::Waiting(wait) = &self.progress {
            self.events.push(Event::warning("DatabaseFailed", wait.reason.clone()));
        }
        self
    }
}

pub(crate) fn plan(seen: &Seen<'_>) -> Result<Plan, Failure> {
    let secret = DatabaseSecret::of(seen);
    let Some(cluster) = rules::cluster(seen)? else {
        let text = format!("namespace `{}` has no RedisEnterpriseCluster: make one", seen.observed.namespace());
        let decision = Decision::waiting(Status::waiting(seen), text, None);
        return Ok(written(seen, secret.as_ref().filter(|secret| !secret.missing), None, decision));
    };
    Failure::unless_empty(rules::of_spec(seen, cluster))?;
    if let Some(bdbs) = seen.bdbs.known() {
        Failure::unless_empty(rules::of_cluster(seen, bdbs))?;
    }
    let own = seen.bdbs.known().and_then(|bdbs| seen.own(bdbs));
    let mut decision = decide(seen, cluster, secret.as_ref(), own)?;
    // Transitions are told when the status that ends them is written, which a plan with a call does not do.
    if decision.call.is_none() {
        let news = news(seen, secret.as_ref(), own, &decision.status);
        decision.events.splice(0..0, news);
    }
    Ok(written(seen, secret.as_ref(), own, decision))
}

fn decide(
    seen: &Seen<'_>,
    cluster: &Observed<Cluster>,
    secret: Option<&DatabaseSecret<'_>>,
    own: Option<&Bdb>,
) -> Result<Decision, Failure> {
    let status = || match (own, seen.bdbs.known()) {
        (Some(bdb), _) => Status::of(seen, bdb),
        (None, Some(_)) => Status::absent(seen),
        (None, None) => Status::waiting(seen),
    };
    if let Some(why) = secret.and_then(DatabaseSecret::not_ready) {
        return Ok(Decision::waiting(status(), why, None));
    }
    let (name, state) = (&cluster.id.name, cluster.status.state.as_str());
    if state != "Running" {
        let state = if state.is_empty() { "not started" } else { state };
        return Ok(Decision::waiting(status(), format!("cluster `{name}` is {state}, not Running"), None));
    }
    let Some(bdbs) = seen.bdbs.known() else {
        let why = seen.bdbs.unknown().unwrap_or_default();
        return Ok(Decision::waiting(status(), format!("the databases of cluster `{name}` are not known: {why}"), 5));
    };
    match own {
        None => create(seen, secret, bdbs),
        Some(bdb) => keep(seen, secret, bdbs, bdb),
    }
}

/// The cluster has no such database.
fn create(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>, bdbs: &[Bdb]) -> Result<Decision, Failure> {
    let status = Status::absent(seen);
    let name = seen.observed.name();
    let Some((reply, _)) = seen.reply("create") else {
        if let Some(held) = license_holds(seen, bdbs, &status)? {
            return Ok(held);
        }
        let call = Call::post("create", "/v1/bdbs").body(&creation(seen, secret));
        return Ok(Decision::waiting(status, format!("making database `{name}`"), SOON).call(call));
    };
    Ok(match outcome(reply) {
        Outcome::Accepted => {
            // Accepted and not yet listed. The reply shows it.
            let mut status =
                reply.json::<Bdb>().filter(|bdb| bdb.uid != 0).map_or(status, |bdb| Status::of(seen, &bdb));
            status.sent(seen);
            Decision::waiting(status, format!("database `{name}` is being made"), SOON)
        }
        Outcome::Busy => Decision::waiting(status, format!("the cluster is busy; database `{name}` has to wait"), SOON),
        // Whether the request came through is seen in the list of the next pass, by name. Until then: no second one.
        Outcome::Unknown(why) => {
            let text = format!("whether database `{name}` is being made is not known: {why}");
            Decision::waiting(status, text, AFTER_SILENCE)
        }
        Outcome::NotFound => {
            let text = format!("database `{name}` could not be made: {}", reply.error_text());
            Decision::waiting(status, text, AFTER_REFUSAL).failed()
        }
        Outcome::Refused(why) => {
            let text = format!("database `{name}` could not be made: {why}");
            Decision::waiting(status, text, AFTER_REFUSAL).failed()
        }
    })
}

/// The database is there.
fn keep(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>, bdbs: &[Bdb], bdb: &Bdb) -> Result<Decision, Failure> {
    let name = seen.observed.name();
    let last = &seen.database.status;
    let generation = seen.database.metadata.generation;
    let mut status = Status::of(seen, bdb);
    let change = Change::of(seen, secret, bdb);
    let update = seen.reply("update:").map(|(reply, _)| (reply, outcome(reply)));
    let created = seen.reply("create").is_some_and(|(reply, _)| reply.is_success());
    if change.is_none() || created || matches!(update, Some((_, Outcome::Accepted))) {
        status.sent(seen);
    }
    match bdb.status.as_str() {
        "active" => {}
        "creation-failed" => return Ok(recreate(seen, bdb, status)),
        word => {
            let seconds = if word == "recovery" { 10 } else { SOON };
            return Ok(Decision::waiting(status, format!("database `{name}` is {word}"), seconds));
        }
    }
    let Some(change) = change else { return Ok(Decision::done(status)) };
    let names = change.names().join(", ");
    match update {
        None => {}
        Some((reply, Outcome::Accepted)) => {
            // Accepted, and not begun as far as can be seen.
            "active-change-pending".clone_into(&mut status.status);
            if let Some(action) = reply.json::<Bdb>().and_then(|bdb| bdb.action_uid) {
                status.last_action_uid = Some(action);
            }
            status.last_action_status = Some(RUNNING.to_owned());
            return Ok(Decision::waiting(status, format!("database `{name}` is being changed"), SOON));
        }
        Some((_, Outcome::Busy | Outcome::NotFound)) => {
            return Ok(Decision::waiting(status, format!("database `{name}` is busy; {names} has to wait"), SOON));
        }
        Some((_, Outcome::Unknown(why))) => {
            let text = format!("whether database `{name}` is being changed is not known: {why}");
            return Ok(Decision::waiting(status, text, AFTER_SILENCE));
        }
        Some((_, Outcome::Refused(why))) => {
            let text = format!("database `{name}` stays as it was, the change of {names} was refused: {why}");
            return Ok(Decision::waiting(status, text, AFTER_REFUSAL).failed());
        }
    }
    // A change that fails leaves the database active as it was (REST reference, 6.3): sending the same again and again
    // would never end. A password may be new since then, and is tried in any case.
    let same_action = bdb.action_uid.is_some() && last.last_action_uid == bdb.action_uid;
    if same_action && last.observed_generation == Some(generation) && change.has_settings() {
        let text = format!(
            "database `{name}` stays as it was, the change of {names} was accepted and failed: change the spec to try again"
        );
        let of_change = last.status == "active-change-pending";
        if of_change && last.last_action_status.as_deref() == Some(RUNNING) {
            status.last_action_status = Some(FAILED.to_owned());
            return Ok(Decision::waiting(status, text, None).failed());
        }
        if last.last_action_status.as_deref() == Some(FAILED) {
            return Ok(Decision::waiting(status, text, None));
        }
    }
    if let Some(held) = license_holds(seen, bdbs, &status)? {
        return Ok(held);
    }
    let id = format!("update:{}", change.names().join(","));
    let call = Call::put(id, format!("/v1/bdbs/{}", bdb.uid)).body(&change);
    Ok(Decision::waiting(status, format!("changing {names} of database `{name}`"), SOON).call(call))
}

/// A database that could not be made holds no data. It is removed, and made anew, as soon as the spec says something else.
fn recreate(seen: &Seen<'_>, bdb: &Bdb, mut status: Status) -> Decision {
    let name = seen.observed.name();
    let last = &seen.database.status;
    let generation = seen.database.metadata.generation;
    let changed = last.observed_generation.is_some_and(|observed| observed < generation);
    // The new spec was not sent yet, whatever the failed one looks like.
    status.observed_generation = last.observed_generation.or(Some(generation));
    if changed && seen.reply("remove").is_none() {
        let call = Call::delete("remove", format!("/v1/bdbs/{}", bdb.uid));
        return Decision::waiting(status, format!("removing database `{name}`, which could not be made"), SOON)
            .call(call);
    }
    let text = format!("the cluster could not make database `{name}`: change the spec to try again");
    let decision = Decision::waiting(status, text, if changed { Some(SOON) } else { None });
    if last.status == "creation-failed" { decision } else { decision.failed() }
}

/// Why nothing may be sent now.
fn license_holds(seen: &Seen<'_>, bdbs: &[Bdb], status: &Status) -> Result<Option<Decision>, Failure> {
    // What is not known of the license, the cluster judges.
    let Some(license) = seen.license.known() else { return Ok(None) };
    if license.expired == Some(true) {
        let text = "the cluster's license has expired, so databases cannot be made or changed: install another";
        return Ok(Some(Decision::waiting(status.clone(), text, None)));
    }
    match rules::license(seen, license, bdbs) {
        Some(violation) => Err(Failure::Invalid(vec![violation])),
        None => Ok(None),
    }
}

fn news(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>, own: Option<&Bdb>, status: &Status) -> Vec<Event> {
    let name = seen.observed.name();
    let mut events = Vec::new();
    if let Some(secret) = secret.filter(|secret| secret.missing) {
        events.push(Event::normal("SecretCreated", format!("made Secret `{}` with a password", secret.name)));
    }
    let created = status.database_uid.as_ref().filter(|uid| seen.database.status.database_uid.as_ref() != Some(uid));
    if let Some(uid) = created.filter(|_| own.is_none_or(|own| own.status != "creation-failed")) {
        let cluster = seen.cluster_name().unwrap_or_default();
        let text = format!("database `{name}` was created on cluster `{cluster}` with uid {uid}");
        events.push(Event::normal("DatabaseCreated", text));
    }
    if let Some((_, names)) = seen.reply("update:").filter(|(reply, _)| reply.is_success()) {
        let (password, settings): (Vec<&str>, Vec<&str>) = names.split(',').partition(|name| *name == PASSWORD);
        if !settings.is_empty() {
            let text = format!("database `{name}`: {} put as the spec says", settings.join(", "));
            events.push(Event::normal("DatabaseUpdated", text));
        }
        if let (false, Some(secret)) = (password.is_empty(), secret) {
            let text = format!("database `{name}` got the password of Secret `{}`", secret.name);
            events.push(Event::normal("PasswordRotated", text));
        }
    }
    events
}

fn written(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>, own: Option<&Bdb>, decision: Decision) -> Plan {
    let Decision { progress, status, call, events } = decision;
    let mut plan = Plan::with(progress);
    if let Some(secret) = secret {
        let port = status.port().or_else(|| seen.database.spec.port());
        plan = secret.place(plan, seen, port);
    }
    if let Some(call) = call {
        plan = plan.call(call);
    }
    for event in events {
        plan = plan.event(event);
    }
    let unsupported = unsupported::fields(seen, own);
    if !unsupported.is_empty() {
        plan = plan.note(&Note { unsupported });
    }
    plan.status(&status)
}
