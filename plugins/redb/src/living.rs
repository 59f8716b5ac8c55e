//! The resource is there: make the database, and keep it as the spec says (reference, 3.6).

use std::time::Duration;

use stepwright_sdk::{Call, Event, Failure, Observed, Plan, Progress, Reply, Wait};

use crate::given::{Given, held_back, sasl_missing};
use crate::refusal::{Outcome, outcome};
use crate::rules;
use crate::secret::DatabaseSecret;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::Cluster;
use crate::status::{FAILED, RUNNING, Status};
use crate::unsupported::{self, Note};
use crate::wanted::{Change, PASSWORD, creation};
use crate::{asked, hidden, version};

/// Again after something that will be over soon.
const SOON: u64 = 1;
/// Again after a reply that did not come.
const AFTER_SILENCE: u64 = 2;
/// Again after a refusal: what would help is a change, which is noticed sooner.
const AFTER_REFUSAL: u64 = 30;

/// How ids of calls begin.
const UPDATE: &str = "update";
const UPGRADE: &str = "upgrade";
const ALERT: &str = "alerts";

/// What is decided before it is written down as a plan.
struct Decision {
    progress: Progress,
    status: Status,
    calls: Vec<Call>,
    events: Vec<Event>,
}

impl Decision {
    fn done(status: Status) -> Self {
        Self { progress: Progress::Done, status, calls: Vec::new(), events: Vec::new() }
    }

    fn waiting(status: Status, reason: impl Into<String>, seconds: impl Into<Option<u64>>) -> Self {
        let wait = Wait { reason: reason.into(), again_in: seconds.into().map(Duration::from_secs) };
        Self { progress: Progress::Waiting(wait), status, calls: Vec::new(), events: Vec::new() }
    }

    fn call(mut self, call: Call) -> Self {
        self.calls.push(call);
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
        Failure::unless_empty(rules::of_cluster(seen, cluster, bdbs))?;
    }
    let own = seen.bdbs.known().and_then(|bdbs| seen.own(bdbs));
    let mut decision = decide(seen, cluster, secret.as_ref(), own)?;
    // Transitions are told when the status that ends them is written, which a plan with a call does not do.
    if decision.calls.is_empty() {
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
    if let Some(why) = secret.and_then(DatabaseSecret::not_ready).or_else(|| sasl_missing(seen)) {
        return Ok(Decision::waiting(status(), why, None));
    }
    let (name, state) = (&cluster.id.name, cluster.status.state.as_str());
    if state != "Running" {
        let state = if state.is_empty() { "not started" } else { state };
        let frozen = if state == "Upgrade" { ": its databases are frozen until the upgrade is done" } else { "" };
        return Ok(Decision::waiting(status(), format!("cluster `{name}` is {state}, not Running{frozen}"), None));
    }
    let Some(bdbs) = seen.bdbs.known() else {
        let why = seen.bdbs.unknown().unwrap_or_default();
        return Ok(Decision::waiting(status(), format!("the databases of cluster `{name}` are not known: {why}"), 5));
    };
    match own {
        None => create(seen, cluster, secret, bdbs),
        Some(bdb) => keep(seen, cluster, secret, bdbs, bdb),
    }
}

/// The cluster has no such database.
fn create(
    seen: &Seen<'_>,
    cluster: &Cluster,
    secret: Option<&DatabaseSecret<'_>>,
    bdbs: &[Bdb],
) -> Result<Decision, Failure> {
    let status = Status::absent(seen);
    let name = seen.observed.name();
    let Some((reply, _)) = seen.reply("create") else {
        if let Some(held) = license_holds(seen, bdbs, &status)? {
            return Ok(held);
        }
        let call = Call::post("create", "/v1/bdbs").body(&creation(seen, cluster, secret));
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

/// What is to be sent to a database that is there.
struct Step {
    /// What changes, in the product's names.
    names: Vec<String>,
    /// It is more than a password.
    has_settings: bool,
    call: Call,
}

/// The first that has to be sent: settings, then an upgrade, then alerts.
fn next(seen: &Seen<'_>, cluster: &Cluster, secret: Option<&DatabaseSecret<'_>>, bdb: &Bdb) -> Option<Step> {
    let path = format!("/v1/bdbs/{}", bdb.uid);
    let step = |kind: &str, names: Vec<String>, call: fn(String, String) -> Call, path: String| {
        let id = format!("{kind}:{}", names.join(","));
        Step { names, has_settings: true, call: call(id, path) }
    };
    if let Some(change) = Change::of(seen, secret, bdb) {
        let names = change.names().into_iter().map(str::to_owned).collect();
        let mut step = step(UPDATE, names, Call::put, path);
        step.has_settings = change.has_settings();
        step.call = step.call.body(&change);
        return Some(step);
    }
    if let Some(upgrade) = version::upgrade(seen, cluster, bdb) {
        let mut step = step(UPGRADE, vec!["redis_version".to_owned()], Call::post, format!("{path}/upgrade"));
        step.call = step.call.body(&upgrade);
        return Some(step);
    }
    let alerts = asked::alerts(seen);
    if alerts.is_empty() {
        return None;
    }
    let names = alerts.keys().cloned().collect();
    let mut step = step(ALERT, names, Call::post, format!("/v1/bdbs/alerts/{}", bdb.uid));
    step.call = step.call.body(&alerts);
    Some(step)
}

/// The reply to what was sent in the round before.
fn reply_of<'a>(seen: &Seen<'a>) -> Option<(&'a Reply, &'static str)> {
    [UPDATE, UPGRADE, ALERT]
        .into_iter()
        .find_map(|kind| seen.reply(kind).filter(|(_, rest)| rest.starts_with(':')).map(|(reply, _)| (reply, kind)))
}

/// The database is there.
fn keep(
    seen: &Seen<'_>,
    cluster: &Cluster,
    secret: Option<&DatabaseSecret<'_>>,
    bdbs: &[Bdb],
    bdb: &Bdb,
) -> Result<Decision, Failure> {
    let name = seen.observed.name();
    let last = &seen.database.status;
    let generation = seen.database.metadata.generation;
    let mut status = Status::of(seen, bdb);
    let step = next(seen, cluster, secret, bdb);
    let update = reply_of(seen).map(|(reply, kind)| (reply, outcome(reply), kind));
    let created = seen.reply("create").is_some_and(|(reply, _)| reply.is_success());
    if step.is_none() || created || matches!(update, Some((_, Outcome::Accepted, UPDATE | UPGRADE))) {
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
    let Some(step) = step else { return Ok(rest(seen, bdb, status, update.map(|(_, outcome, kind)| (outcome, kind)))) };
    let names = step.names.join(", ");
    match update {
        None => {}
        Some((_, Outcome::Accepted, ALERT)) => {}
        Some((reply, Outcome::Accepted, _)) => {
            // Accepted, and not begun as far as can be seen.
            "active-change-pending".clone_into(&mut status.status);
            if let Some(action) = reply.json::<Bdb>().and_then(|bdb| bdb.action_uid) {
                status.last_action_uid = Some(action);
            }
            status.last_action_status = Some(RUNNING.to_owned());
            return Ok(Decision::waiting(status, format!("database `{name}` is being changed"), SOON));
        }
        Some((_, Outcome::Busy | Outcome::NotFound, _)) => {
            return Ok(Decision::waiting(status, format!("database `{name}` is busy; {names} has to wait"), SOON));
        }
        Some((_, Outcome::Unknown(why), _)) => {
            let text = format!("whether database `{name}` is being changed is not known: {why}");
            return Ok(Decision::waiting(status, text, AFTER_SILENCE));
        }
        Some((_, Outcome::Refused(why), _)) => {
            let text = format!("database `{name}` stays as it was, the change of {names} was refused: {why}");
            return Ok(Decision::waiting(status, text, AFTER_REFUSAL).failed());
        }
    }
    // A change that fails leaves the database active as it was (REST reference, 6.3): sending the same again and again
    // would never end. A password may be new since then, and is tried in any case.
    let same_action = bdb.action_uid.is_some() && last.last_action_uid == bdb.action_uid;
    if same_action && last.observed_generation == Some(generation) && step.has_settings {
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
    Ok(Decision::waiting(status, format!("changing {names} of database `{name}`"), SOON).call(step.call))
}

/// All that can be compared is as the spec says. What has to be read for that is read first.
fn rest(seen: &Seen<'_>, bdb: &Bdb, mut status: Status, sent: Option<(Outcome, &str)>) -> Decision {
    let name = seen.observed.name();
    match sent {
        Some((Outcome::Refused(why), kind)) => {
            let text = format!("database `{name}`: the change of {kind} was refused: {why}");
            return Decision::waiting(status, text, AFTER_REFUSAL).failed();
        }
        Some((Outcome::Busy | Outcome::NotFound | Outcome::Unknown(_), _)) => {
            return Decision::waiting(status, format!("database `{name}` is looked at again"), AFTER_SILENCE);
        }
        // What was sent just now has settled it.
        Some((Outcome::Accepted, ALERT)) => status.settled(seen),
        Some((Outcome::Accepted, _)) | None => {
            let reads = asked::calls(seen, bdb);
            if reads.is_empty() {
                status.settled(seen);
            } else if !asked::was_read(seen) {
                let decision = Decision::waiting(status, format!("reading what database `{name}` refers to"), SOON);
                return reads.into_iter().fold(decision, Decision::call);
            } else if let Some(why) = asked::unread(seen) {
                return Decision::waiting(status, why, 5);
            } else {
                status.settled(seen);
            }
        }
    }
    if let Some(Err(why)) = asked::roles(seen, bdb) {
        let mut decision = Decision::waiting(status, why.clone(), AFTER_REFUSAL);
        decision.events.push(Event::warning("MissingRoleUIDs", why));
        return decision;
    }
    match held_back(seen) {
        Some(why) => Decision::waiting(status, why, None),
        None => Decision::done(status),
    }
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
    let Decision { progress, status, calls, events } = decision;
    let mut plan = Plan::with(progress);
    if let Some(secret) = secret {
        let port = status.port().or_else(|| seen.database.spec.port());
        plan = secret.place(plan, seen, port);
    }
    if seen.bdbs.known().is_none() || own.is_some() || seen.reply("create").is_some() {
        plan = hidden::keep(plan, seen, &Given::of(seen).hidden());
    }
    for call in calls {
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
