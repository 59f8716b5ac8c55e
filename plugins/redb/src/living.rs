//! The resource is there: make the database, and keep it as the spec says (reference, 3.6).

use stepwright_sdk::{Call, Event, Failure, Observed, Plan};

use crate::decision::{AFTER_REFUSAL, AFTER_SILENCE, Decision, SOON, license_holds, word_of};
use crate::given::{Given, certificate_missing, sasl_missing};
use crate::refusal::{Outcome, outcome};
use crate::secret::DatabaseSecret;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::Cluster;
use crate::status::Status;
use crate::unsupported::{self, Note};
use crate::wanted::creation;
use crate::{asked, guest, hidden, keeping, rules, troubles};

pub(crate) fn plan(seen: &Seen<'_>) -> Result<Plan, Failure> {
    let secret = DatabaseSecret::of(seen);
    let Some(cluster) = rules::cluster(seen)? else {
        let text = format!(
            "namespace `{}` has no RedisEnterpriseCluster: make one, or name one of the operator's namespace in \
             spec.redisEnterpriseCluster.name",
            seen.observed.namespace()
        );
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
    let missing = || sasl_missing(seen).or_else(|| certificate_missing(seen));
    if let Some(why) = secret.and_then(DatabaseSecret::not_ready).or_else(missing) {
        return Ok(Decision::waiting(status(), why, None));
    }
    let (name, state) = (&cluster.id.name, cluster.status.state.as_str());
    if state != "Running" {
        let state = if state.is_empty() { "not started" } else { state };
        let frozen = if state == "Upgrade" { ": its databases are frozen until the upgrade is done" } else { "" };
        return Ok(Decision::waiting(status(), format!("cluster `{name}` is {state}, not Running{frozen}"), None)
            .word("ClusterNotRunning"));
    }
    let Some(bdbs) = seen.bdbs.known() else {
        let why = seen.bdbs.unknown().unwrap_or_default();
        return Ok(Decision::waiting(status(), format!("the databases of cluster `{name}` are not known: {why}"), 5)
            .word("ClusterNotKnown"));
    };
    match own {
        None => create(seen, cluster, secret, bdbs),
        Some(bdb) => keeping::keep(seen, cluster, secret, bdbs, bdb),
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
        if let Some(held) = license_holds(seen, None, bdbs, &status)? {
            return Ok(held);
        }
        // The fact may be a second old; somebody may have made a database of the name since.
        match asked::listed(seen) {
            None => {
                let text = format!("looking whether the cluster has a database `{name}` by now");
                return Ok(Decision::waiting(status, text, SOON).call(asked::look()));
            }
            Some(Err(why)) => {
                let text = format!("whether the cluster has a database `{name}` by now is not known: {why}");
                return Ok(Decision::waiting(status, text, AFTER_SILENCE));
            }
            Some(Ok(listed)) if listed.iter().any(|bdb| bdb.name() == name) => {
                let text = format!("the cluster has had a database `{name}` for a moment; whose it is is known soon");
                return Ok(Decision::waiting(status, text, SOON));
            }
            Some(Ok(listed)) => {
                if let Some(held) = license_holds(seen, None, &listed, &status)? {
                    return Ok(held);
                }
            }
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
    events.extend(keeping::news(seen, secret));
    if own.is_some() {
        events.extend(troubles::news(seen, status));
    }
    events
}

fn written(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>, own: Option<&Bdb>, decision: Decision) -> Plan {
    let Decision { mut progress, status, calls, events } = decision;
    if let Some(word) = word_of(&status.status) {
        progress.waits_for(word);
    }
    let mut plan = Plan::with(progress);
    if let Some(secret) = secret {
        let port = status.port().or_else(|| seen.database.spec.port());
        plan = secret.place(plan, seen, port);
    }
    plan = guest::service(plan, seen, status.port());
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
