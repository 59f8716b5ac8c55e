//! From the state of a plugin to the words in which people are told of it. Pure.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use stepwright_core::slot::{Mode, Share};

use super::board::Posted;
use super::entry::Entry;
use super::tell::Telling;
use crate::offer::{told, wish};
use crate::slots::Slots;

/// What stands between the cause of a rollback and what answers since.
const NOW: &str = "; now answers: ";

/// How the plugin stands. `waits` says why a set that it belongs to is not taken up.
pub(crate) fn of(entry: &Entry, slots: &Slots, waits: Option<String>) -> Telling {
    let previous = entry.previous().map(|it| it.digest().to_string());
    let telling = |state, digest: Option<String>, reason: &str, message: String| Telling {
        state,
        digest,
        reason: reason.to_owned(),
        message,
        previous: previous.clone(),
        rehearsal: None,
    };
    if let Some((refusal, digest)) = &entry.refusal {
        let state = if refusal.is_waiting() { "waiting" } else { "refused" };
        return telling(state, digest.clone(), refusal.reason(), refusal.to_string());
    }
    if let (Some(ready), Some(waits)) = (&entry.ready, waits) {
        return telling("waiting", Some(ready.digest().to_string()), "SetIncomplete", waits);
    }
    let digest = entry.current.as_ref().map(|it| it.digest().to_string()).or(entry.wishes.rolled_back.clone());
    let what = entry.what(slots);
    match entry.mode() {
        None => {
            let cause = entry.cause.clone().unwrap_or_else(|| format!("by annotation {}", wish::ROLLED_BACK));
            let message = format!("{cause}{NOW}{}", answering(entry, slots));
            telling("rolled-back", digest, "PluginRolledBack", message)
        }
        Some(Mode::Active) if entry.was_promoted() => {
            telling("active", digest, "PluginPromoted", format!("{what} for every primary since it was promoted"))
        }
        Some(Mode::Active) => telling("active", digest, "PluginActive", what),
        Some(Mode::Shadow) => {
            let message = format!("{what} beside whoever does; nothing that it plans is carried out");
            telling("shadow", digest, "PluginShadow", message)
        }
        Some(Mode::Canary(Share::Percent(percent))) => {
            let message = format!("{what} of {percent} % of the primaries");
            telling("canary", digest, "PluginCanary", message)
        }
        Some(Mode::Canary(Share::Labels(labels))) => {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let message = format!("{what} of primaries with labels {}", labels.join(","));
            telling("canary", digest, "PluginCanary", message)
        }
    }
}

/// Who answers since a rollback.
fn answering(entry: &Entry, slots: &Slots) -> String {
    let known = entry.steps(slots).iter().find_map(|step| slots.active(step));
    match known {
        Some(active) => {
            let plugin = active.plugin();
            format!("{} {} ({}, {})", plugin.name, plugin.version, active.guest.digest().short(), plugin.source)
        }
        None if entry.current.is_none() => {
            "what lies below, since the version before it is not known any more; apply it again to have it back"
                .to_owned()
        }
        None => "what lies below".to_owned(),
    }
}

/// Adds what only the ConfigMap still knows: why it was rolled back, what its rehearsal found.
pub(crate) fn complete(telling: &mut Telling, entry: &Entry, map: &ConfigMap) {
    let said = |key: &str| map.annotations().get(key);
    let same = said(told::DIGEST) == telling.digest.as_ref();
    if telling.state == "rolled-back"
        && entry.cause.is_none()
        && same
        && let Some(reason) = said(told::REASON).and_then(|it| it.strip_prefix("PluginRolledBack: "))
        && let Some((cause, _)) = reason.split_once(NOW)
        && let Some((_, now)) = telling.message.split_once(NOW)
    {
        telling.message = format!("{cause}{NOW}{now}");
    }
    telling.rehearsal = match entry.ready.as_ref().or(entry.current.as_ref()).and_then(|it| it.rehearsal.line()) {
        _ if entry.refusal.is_some() => None,
        Some(line) => Some(line),
        None => said(told::REHEARSAL).filter(|_| same).cloned(),
    };
}

/// The same for the board.
pub(crate) fn posted(name: &str, entry: &Entry, telling: &Telling) -> Posted {
    Posted {
        config_map: name.to_owned(),
        state: telling.state,
        digest: telling.digest.clone(),
        reason: telling.whole_reason(),
        previous: telling.previous.clone(),
        rehearsal: entry.ready.as_ref().or(entry.current.as_ref()).map(|it| it.rehearsal.clone()),
        wishes: entry.wishes.clone(),
    }
}
