//! The database is there: what is sent to it, one thing at a time (reference, 3.6; REST reference, 6.3 and 19).

use stepwright_sdk::{Call, Event, Failure, Reply};

use crate::decision::{AFTER_REFUSAL, AFTER_SILENCE, Decision, SOON, license_holds};
use crate::given::held_back;
use crate::refusal::{Outcome, outcome};
use crate::secret::DatabaseSecret;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::Cluster;
use crate::status::{FAILED, RUNNING, Status};
use crate::wanted::{Change, PASSWORD};
use crate::{asked, rules, version};

/// How ids of calls begin.
const UPDATE: &str = "update";
const UPGRADE: &str = "upgrade";
const ALERT: &str = "alerts";

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
    let alerts = asked::alerts(seen, bdb);
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
pub(crate) fn keep(
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
        // The list shows them with the next look.
        Some((_, Outcome::Accepted, ALERT)) => return Ok(rest(seen, bdb, status, Some((Outcome::Accepted, ALERT)))),
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
            return Ok(Decision::waiting(status, text, None).word("ChangeFailed").failed());
        }
        if last.last_action_status.as_deref() == Some(FAILED) {
            return Ok(Decision::waiting(status, text, None).word("ChangeFailed"));
        }
    }
    if let Some(held) = license_holds(seen, Some(bdb), bdbs, &status)? {
        return Ok(held);
    }
    if seen.license.known().is_some() && rules::grows(seen, Some(bdb)) {
        match asked::listed(seen) {
            None => {
                let text = format!("looking whether the license has room for what database `{name}` grows by");
                return Ok(Decision::waiting(status, text, SOON).call(asked::look()));
            }
            Some(Err(why)) => {
                let text = format!("whether the license has room for more of database `{name}` is not known: {why}");
                return Ok(Decision::waiting(status, text, AFTER_SILENCE));
            }
            Some(Ok(listed)) => {
                if let Some(held) = license_holds(seen, Some(bdb), &listed, &status)? {
                    return Ok(held);
                }
            }
        }
    }
    Ok(Decision::waiting(status, format!("changing {names} of database `{name}`"), SOON).call(step.call))
}

/// All that can be compared is as the spec says.
fn rest(seen: &Seen<'_>, bdb: &Bdb, mut status: Status, sent: Option<(Outcome, &str)>) -> Decision {
    let name = seen.observed.name();
    match &sent {
        Some((Outcome::Refused(why), kind)) => {
            let text = format!("database `{name}`: the change of {kind} was refused: {why}");
            return Decision::waiting(status, text, AFTER_REFUSAL).word("ChangeRefused").failed();
        }
        Some((Outcome::Busy | Outcome::NotFound | Outcome::Unknown(_), _)) => {
            return Decision::waiting(status, format!("database `{name}` is looked at again"), AFTER_SILENCE);
        }
        Some((Outcome::Accepted, _)) | None => {}
    }
    if let Some(why) = asked::roles_unknown(seen) {
        return Decision::waiting(status, why, None);
    }
    // What was sent just now has settled it.
    status.settled(seen);
    if let Some(Err(why)) = asked::roles(seen, bdb) {
        let mut decision = Decision::waiting(status, why.clone(), None).word("MissingRoleUIDs");
        decision.events.push(Event::warning("MissingRoleUIDs", why));
        return decision;
    }
    match held_back(seen).or_else(|| asked::alerts_unknown(seen)) {
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

/// What was sent in the round before, and accepted.
pub(crate) fn news(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>) -> Vec<Event> {
    let name = seen.observed.name();
    let mut events = Vec::new();
    let Some((reply, kind)) = reply_of(seen).filter(|(reply, _)| reply.is_success()) else { return events };
    let names = reply.id.trim_start_matches(kind).trim_start_matches(':');
    let (password, settings): (Vec<&str>, Vec<&str>) = names.split(',').partition(|name| *name == PASSWORD);
    if !settings.is_empty() {
        let text = format!("database `{name}`: {} put as the spec says", settings.join(", "));
        events.push(Event::normal("DatabaseUpdated", text));
    }
    if let (false, Some(secret)) = (password.is_empty(), secret) {
        let text = format!("database `{name}` got the password of Secret `{}`", secret.name);
        events.push(Event::normal("PasswordRotated", text));
    }
    events
}
