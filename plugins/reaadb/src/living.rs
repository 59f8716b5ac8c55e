//! The resource is there: make the database, keep it as the spec says, follow what was changed through another cluster.

use std::time::Duration;

use serde::Serialize;
use stepwright_redb::word_of;
use stepwright_sdk::{Call, Event, Failure, Plan, Progress, Wait};

use crate::record::{Crdb, Record, listed as listed_in};
use crate::seen::Seen;
use crate::status::{ACTIVE, CHANGING, CREATION_FAILED, ERROR, PENDING, Status};
use crate::task::{Kind, Task, next};
use crate::work::{Work, certificates_generation};
use crate::{guest, password, remotes, rules, unsupported};

/// Again after something that will be over soon.
const SOON: u64 = 1;
/// Again after a reply that did not come.
const AFTER_SILENCE: u64 = 2;
/// A task that failed is tried again after so many seconds: what would help is a change, which is noticed sooner.
const AFTER_FAILURE: i64 = 20;
/// A participant that cannot be worked with, in one word.
const UNAVAILABLE: &str = "ParticipantUnavailable";
/// Ids of calls.
const LIST: &str = "list";
const TASK: &str = "task";

/// What is decided before it is written down as a plan.
pub(crate) struct Decision {
    pub(crate) progress: Progress,
    pub(crate) status: Status,
    pub(crate) calls: Vec<Call>,
    pub(crate) events: Vec<Event>,
    /// The password of the Secret was taken just now.
    pub(crate) gave_password: bool,
    /// The database says this of its resource, and was changed later.
    followed: Option<Record>,
    /// The database is gone for good.
    gone: Option<String>,
}

impl Decision {
    pub(crate) fn done(status: Status) -> Self {
        Self {
            progress: Progress::Done,
            status,
            calls: Vec::new(),
            events: Vec::new(),
            gave_password: false,
            followed: None,
            gone: None,
        }
    }

    pub(crate) fn waiting(status: Status, reason: impl Into<String>, seconds: impl Into<Option<u64>>) -> Self {
        let wait = Wait { word: None, reason: reason.into(), again_in: seconds.into().map(Duration::from_secs) };
        Self { progress: Progress::Waiting(wait), ..Self::done(status) }
    }

    /// What it waits for, where the status does not say it.
    pub(crate) fn word(mut self, word: &str) -> Self {
        self.progress.waits_for(word);
        self
    }

    fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }
}

pub(crate) fn plan(seen: &Seen<'_>) -> Result<Plan, Failure> {
    Failure::unless_empty(rules::of_itself(seen)?)?;
    let decision = decide(seen)?;
    let crdb = listed(seen).and_then(|crdbs| seen.own(crdbs));
    let mut plan = guest::service(written(seen, crdb, decision), seen);
    let unsupported = unsupported::fields(seen, crdb);
    if !unsupported.is_empty() && plan.notes.is_none() {
        plan = plan.note(&Note { unsupported });
    }
    Ok(plan)
}

#[derive(Serialize)]
struct Note {
    unsupported: Vec<unsupported::Field>,
}

#[derive(Serialize)]
struct Retired {
    retire: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Followed<'a> {
    participating_clusters: &'a [crate::record::Participant],
    global_configurations: &'a serde_json::Value,
}

/// Writes a decision down.
pub(crate) fn written(seen: &Seen<'_>, crdb: Option<&Crdb>, decision: Decision) -> Plan {
    let Decision { mut progress, status, calls, events, gave_password, followed, gone } = decision;
    if let Some(word) = word_of(&status.status) {
        progress.waits_for(word);
    }
    let mut plan = Plan::with(progress);
    plan = password::keep(plan, seen, crdb, gave_password);
    plan = calls.into_iter().fold(plan, Plan::call);
    plan = events.into_iter().fold(plan, Plan::event);
    if let Some(Record { participants, global, .. }) = &followed {
        plan = plan.defaults(&Followed { participating_clusters: participants, global_configurations: global });
    }
    if let Some(why) = gone {
        plan = plan.note(&Retired { retire: why });
    }
    plan.status(&status)
}

/// The fact, while it is known.
fn listed<'s>(seen: &'s Seen<'_>) -> Option<&'s Vec<Crdb>> {
    seen.crdbs.known()
}

fn decide(seen: &Seen<'_>) -> Result<Decision, Failure> {
    let name = seen.name();
    let crdb = listed(seen).and_then(|crdbs| seen.own(crdbs));
    let status = || Status::of(seen, crdb);
    let wait = |text: String| Ok(Decision::waiting(status(), text, None));
    let Some(cluster) = seen.cluster() else {
        return wait(
            "there is no RedisEnterpriseCluster beside this resource, or several: name one of them in \
                     spec.redisEnterpriseCluster.name"
                .to_owned(),
        );
    };
    let (of, state) = (&cluster.id.name, cluster.status.state.as_str());
    if state != "Running" {
        let state = if state.is_empty() { "not started" } else { state };
        let text = format!("cluster `{of}` is {state}, not Running");
        return Ok(Decision::waiting(status(), text, None).word("ClusterNotRunning"));
    }
    if let Some(why) = seen.crdbs.unknown() {
        let text = format!("the Active-Active databases of cluster `{of}` are not known: {why}");
        return Ok(Decision::waiting(status(), text, 5).word("ClusterNotKnown"));
    }
    if let Some(bdbs) = seen.bdbs.known() {
        Failure::unless_empty(rules::on_cluster(seen, bdbs, crdb.is_some() || seen.guid().is_some()))?;
    }
    match crdb {
        Some(crdb) => keep(seen, crdb, status()),
        None if seen.guid().is_some() => Ok(lost(seen, status())),
        None if seen.own_remote().is_none() => wait(format!(
            "no RedisEnterpriseRemoteCluster stands for cluster `{of}` itself yet: make one for every participating cluster, this \
             one included"
        )),
        None => {
            if let Some(why) = missing_participant(seen).or_else(|| password::trouble(seen, None)) {
                return wait(format!("database `{name}` is not made yet: {why}"));
            }
            follow_task(seen, None, Some(Work::creation(seen)?), status())
        }
    }
}

/// Why a change cannot come about now.
fn missing_participant(seen: &Seen<'_>) -> Option<String> {
    let forced = seen.forced();
    let all = seen.database.spec.participating_clusters.iter().filter(|it| !forced.contains(it.name.as_str()));
    all.filter_map(|it| seen.remote(&it.name)).find_map(remotes::trouble)
}

/// The database is there.
fn keep(seen: &Seen<'_>, crdb: &Crdb, mut status: Status) -> Result<Decision, Failure> {
    // As it is when it is first seen, it has the certificates that there are now.
    if status.cluster_certificates_generation.is_none() {
        status.cluster_certificates_generation = certificates_generation(seen);
    }
    let mine = seen.record();
    let agreed = status.global_configurations.clone();
    if let Some(theirs) = Record::of(crdb) {
        if theirs.text() == mine.text() {
            status.global_configurations = Some(mine.text());
        } else if agreed.as_ref() == Some(&mine.text()) {
            // Nobody changed it here.
            status.global_configurations = Some(theirs.text());
            let text = format!("database `{}` was changed through another cluster: the spec says so now", seen.name());
            let mut decision = Decision::waiting(status, text.clone(), SOON);
            decision.followed = Some(theirs);
            return Ok(decision.event(Event::normal("SpecFollowed", text)));
        }
    }
    let work = Work::of(seen, crdb)?;
    if work.is_none() && seen.database.status.status != CHANGING && seen.database.status.status != PENDING {
        return Ok(rest(seen, crdb, status));
    }
    if work.is_some()
        && let Some(why) = missing_participant(seen)
    {
        let text = format!("database `{}` stays as it is for now: {why}", seen.name());
        return Ok(Decision::waiting(status, text, None).word(UNAVAILABLE));
    }
    follow_task(seen, Some(crdb), work, status)
}

/// Nothing has to be sent.
fn rest(seen: &Seen<'_>, crdb: &Crdb, mut status: Status) -> Decision {
    let was = seen.database.status.status.as_str();
    status.settled(seen);
    let mut events = Vec::new();
    if matches!(was, "" | PENDING | CREATION_FAILED) {
        let text = format!("Active-Active database `{}` is there, with id {}", seen.name(), crdb.guid);
        events.push(Event::normal("DatabaseCreated", text));
    } else if was != ACTIVE {
        events.push(Event::normal(
            "DatabaseUpdated",
            format!("Active-Active database `{}` is as the spec says", seen.name()),
        ));
    }
    let wrong_secret = password::trouble(seen, Some(crdb)).map(|why| ("SecretInvalid", why));
    let unavailable = || missing_participant(seen).map(|why| (UNAVAILABLE, why));
    let trouble = wrong_secret.or_else(unavailable).or_else(|| {
        let down = status.down();
        let text = || format!("no data passes to or from {}: its links are down", down.join(", "));
        (!down.is_empty()).then(|| ("LinksDown", text()))
    });
    let mut decision = match trouble {
        Some((word, why)) => Decision::waiting(status, why, None).word(word),
        None => Decision::done(status),
    };
    decision.events = events;
    decision
}

/// A database that was there is not among those of the cluster any more. That is looked up before it is believed.
fn lost(seen: &Seen<'_>, status: Status) -> Decision {
    let name = seen.name();
    let fresh = match fresh(seen) {
        Some(Ok(fresh)) => fresh,
        Some(Err(why)) => {
            let text = format!("whether the cluster still has database `{name}` is not known: {why}");
            return Decision::waiting(status, text, AFTER_SILENCE);
        }
        None => {
            let mut decision =
                Decision::waiting(status, format!("looking whether the cluster still has database `{name}`"), SOON);
            decision.calls.push(look());
            return decision;
        }
    };
    if seen.own(&fresh).is_some() {
        return Decision::waiting(status, format!("database `{name}` is seen again soon"), SOON);
    }
    let text = format!("database `{name}` was deleted through another cluster, or this cluster was taken out of it");
    let mut decision = Decision::waiting(status, text.clone(), SOON);
    decision.gone = Some(text);
    decision
}

/// Reads the databases as they are now.
pub(crate) fn look() -> Call {
    Call::get(LIST, "/v1/crdbs")
}

/// The databases as they were read in the round before this one.
pub(crate) fn fresh(seen: &Seen<'_>) -> Option<Result<Vec<Crdb>, String>> {
    let reply = seen.reply(LIST)?;
    Some(listed_in(reply).ok_or_else(|| reply.error_text()))
}

/// Sends what has to be sent, once nothing else is under way, and follows it to its end.
pub(crate) fn follow_task(
    seen: &Seen<'_>,
    crdb: Option<&Crdb>,
    work: Option<Work>,
    mut status: Status,
) -> Result<Decision, Failure> {
    let name = seen.name();
    let deleting = seen.observed.deleting;
    let Some(last) = seen.database.status.last_task_uid.clone() else {
        return Ok(match work {
            Some(work) => chosen(seen, status, &work),
            None => rest_of(seen, crdb, status),
        });
    };
    let sent = format!("task:{last}");
    if let Some(reply) = seen.reply(&sent) {
        return Ok(answered(seen, status, work.as_ref(), reply));
    }
    let (Some(task), Some(fresh)) = (seen.reply(TASK), fresh(seen)) else {
        let mut decision =
            Decision::waiting(status, format!("looking how the last task on database `{name}` went"), SOON);
        decision.calls = vec![Call::get(TASK, format!("/v1/crdb_tasks/{last}")), look()];
        return Ok(decision);
    };
    let fresh = match fresh {
        Ok(fresh) => fresh,
        Err(why) => {
            let text = format!("how database `{name}` is is not known: {why}");
            return Ok(Decision::waiting(status, text, AFTER_SILENCE));
        }
    };
    let known = match (task.status, task.json::<Task>()) {
        (200, Some(task)) => Some(task),
        (404, _) => None,
        _ => {
            let text = format!("how the last task on database `{name}` went is not known: {}", task.error_text());
            return Ok(Decision::waiting(status, text, AFTER_SILENCE));
        }
    };
    if let Some(task) = known.as_ref().filter(|task| !task.is_over()) {
        pending(seen, crdb, &mut status);
        let text = format!("task {last} on database `{name}` is under way: {}", task.progress());
        return Ok(Decision::waiting(status, text, SOON));
    }
    // What is there now, not what was known before the task was over.
    let now = seen.own(&fresh);
    let work = match (now, deleting) {
        (Some(now), true) => Some(Work::removal_of_lost(seen, now).unwrap_or_else(|| Work::deletion(seen, now))),
        (None, true) => None,
        (Some(now), false) => Work::of(seen, now)?,
        (None, false) => work.filter(|work| work.kind == Kind::Create),
    };
    let Some(work) = work else { return Ok(rest_of(seen, now, status)) };
    let Some(task) = known else {
        if !work.kind.is(&last) {
            return Ok(chosen(seen, status, &work));
        }
        // Nobody knows it: it was never sent, or was forgotten long after its end.
        pending(seen, crdb, &mut status);
        let mut decision = Decision::waiting(status, format!("{} (database `{name}`)", work.words), SOON);
        decision.calls.push(work.call(&last));
        return Ok(decision);
    };
    if task.has_failed() {
        let waits = elapsed(seen, &task).is_some_and(|seconds| (0..AFTER_FAILURE).contains(&seconds));
        let failed = if now.is_none() { CREATION_FAILED } else { ERROR };
        let text = format!("{} failed, and is tried again: {}{}", work.words, task.words(), work.way_out(seen));
        if waits {
            let was_told = seen.database.status.status == failed;
            failed.clone_into(&mut status.status);
            let decision = Decision::waiting(status, text.clone(), 5);
            return Ok(if was_told { decision } else { decision.event(Event::warning("DatabaseFailed", text)) });
        }
    } else if work.kind.is(&last) {
        // What it told cannot be seen in the database.
        match work.kind {
            Kind::Certificates(generation) => {
                status.cluster_certificates_generation = Some(generation);
                return Ok(rest_of(seen, now, status));
            }
            Kind::Logins(_) => {
                status.told_logins(seen);
                return Ok(rest_of(seen, now, status));
            }
            _ => {}
        }
    }
    Ok(chosen(seen, status, &work))
}

fn rest_of(seen: &Seen<'_>, crdb: Option<&Crdb>, status: Status) -> Decision {
    match crdb {
        Some(crdb) if !seen.observed.deleting => {
            let mut now = Status::of(seen, Some(crdb));
            for participant in &mut now.participating_clusters {
                let known = status.participating_clusters.iter().find(|it| it.name == participant.name);
                if let Some(told) = known.and_then(|it| it.internal_observed_secret_resource_version.clone()) {
                    participant.internal_observed_secret_resource_version = Some(told);
                }
            }
            now.cluster_certificates_generation = status.cluster_certificates_generation;
            let agreed = Record::of(crdb).filter(|record| record.text() == seen.record().text()).map(|it| it.text());
            now.global_configurations = agreed.or(status.global_configurations);
            rest(seen, crdb, now)
        }
        _ => Decision::done(status),
    }
}

fn pending(seen: &Seen<'_>, crdb: Option<&Crdb>, status: &mut Status) {
    if !seen.observed.deleting {
        if crdb.is_some() { CHANGING } else { PENDING }.clone_into(&mut status.status);
    }
}

/// Another id is written down, before anything is sent under it.
fn chosen(seen: &Seen<'_>, mut status: Status, work: &Work) -> Decision {
    let last = seen.database.status.last_task_uid.as_deref();
    status.last_task_uid = Some(next(&seen.database.metadata.uid, last, work.kind));
    Decision::waiting(status, format!("{} (database `{}`)", work.words, seen.name()), SOON)
}

/// What came of a request.
fn answered(seen: &Seen<'_>, mut status: Status, work: Option<&Work>, reply: &stepwright_sdk::Reply) -> Decision {
    let name = seen.name();
    let words = work.map(|work| work.words.clone()).unwrap_or_default();
    match reply.status {
        200..300 => {
            pending(seen, seen.crdbs.known().and_then(|crdbs| seen.own(crdbs)), &mut status);
            let mut decision = Decision::waiting(status, format!("{words} (database `{name}`)"), SOON);
            decision.gave_password = work.is_some_and(|work| work.gives_password);
            decision
        }
        // Something else is under way there, or whoever is asked is not himself.
        401 | 408 | 409 | 429 => {
            let text = format!("the cluster is busy; database `{name}` has to wait: {}", reply.error_text());
            Decision::waiting(status, text, AFTER_SILENCE)
        }
        400..500 => {
            let failed = if seen.guid().is_none() { CREATION_FAILED } else { ERROR };
            let was_told = seen.database.status.status == failed;
            failed.clone_into(&mut status.status);
            let text = format!("database `{name}`: {words} was refused: {}", reply.error_text());
            let decision = Decision::waiting(status, text.clone(), 30);
            if was_told { decision } else { decision.event(Event::warning("DatabaseFailed", text)) }
        }
        // It may have come through: the next look at the task tells.
        _ => {
            let text =
                format!("whether the cluster has begun with database `{name}` is not known: {}", reply.error_text());
            Decision::waiting(status, text, AFTER_SILENCE)
        }
    }
}

/// Seconds since a task ended, as far as both clocks are right.
fn elapsed(seen: &Seen<'_>, task: &Task) -> Option<i64> {
    let ended: jiff::Timestamp = task.ended.as_deref()?.parse().ok()?;
    let now: jiff::Timestamp = seen.observed.now.parse().ok()?;
    Some(now.as_second() - ended.as_second())
}
