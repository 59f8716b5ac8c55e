use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwright_core::guest::{Called, Digest, Guest, GuestError, Usage};
use stepwright_core::manifest::Manifest;
use stepwright_core::observation::Observation;
use stepwright_core::plan::{Failure, Plan, Violation};
use stepwright_core::slot::{Judgement, Mode, Role, Share};
use stepwright_core::world::World;

use super::super::{Identity, Installation, News, Slots, Source, Version};

/// A plugin that is only ever looked at.
struct Silent {
    digest: Digest,
    manifest: Manifest,
}

impl Guest for Silent {
    fn digest(&self) -> &Digest {
        &self.digest
    }
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    fn world(&self) -> World {
        World::Step
    }
    fn validate_settings(&self, _settings: &str) -> Result<Vec<Violation>, GuestError> {
        Ok(Vec::new())
    }
    fn ask(&self, _observed: &Observation) -> Called<Result<Plan, Failure>> {
        let error = GuestError::Trapped { plugin: self.manifest.name.clone(), message: "asked".into() };
        Called { answer: Err(error), usage: Usage::default() }
    }
}

fn guest(name: &str, manifest: Value) -> Arc<dyn Guest> {
    let mut whole = json!({"name": name, "version": "1"});
    whole.as_object_mut().unwrap().extend(manifest.as_object().unwrap().clone());
    Arc::new(Silent { digest: Digest::of(name.as_bytes()), manifest: serde_json::from_value(whole).unwrap() })
}

fn step(name: &str, writes: &[&str]) -> Arc<dyn Guest> {
    let writes: Vec<Value> = writes.iter().map(|kind| json!({"apiVersion": "v1", "kind": kind})).collect();
    guest(name, json!({"steps": [{"name": "step", "primary": [], "writes": writes}]}))
}

fn policy(name: &str, reviews: &str) -> Arc<dyn Guest> {
    guest(name, json!({"policy": {"reviews": [reviews]}}))
}

fn map(name: &str) -> Source {
    Source::ConfigMap(format!("ns/{name}"))
}

fn version(guest: &Arc<dyn Guest>, mode: Mode) -> Version {
    Version { mode, ..Version::new(guest.clone(), "{}".into()) }
}

fn slots() -> Slots {
    let slots = Slots::new(vec!["step".into(), "other".into()]);
    slots.put(Source::Embedded, &step("embedded", &["Service"]), "{}").unwrap();
    slots
}

fn install(slots: &Slots, source: Source, versions: &[(&Arc<dyn Guest>, Mode)]) -> Vec<String> {
    let versions = versions.iter().map(|(guest, mode)| version(guest, mode.clone())).collect();
    slots.install(vec![Installation { source, versions }]).unwrap()
}

/// Names of who answers and who shadows, and the role.
fn asked(slots: &Slots, uid: &str) -> (String, Role, Option<String>) {
    let choice = slots.choose("step", uid, &BTreeMap::new()).unwrap();
    let name = |guest: &Arc<dyn Guest>| guest.manifest().name.clone();
    (name(&choice.active.guest), choice.active.role, choice.shadow.map(|it| name(&it.guest)))
}

fn bad() -> Judgement {
    Judgement::Bad { reason: "PluginTrapped".into(), message: "trapped".into() }
}

#[test]
fn the_uppermost_answers_and_taking_it_away_uncovers_the_one_below() {
    let slots = slots();
    install(&slots, map("a"), &[(&step("a", &[]), Mode::Active)]);
    install(&slots, map("b"), &[(&step("b", &[]), Mode::Active)]);
    assert_eq!(asked(&slots, "u"), ("b".into(), Role::Active, None));
    install(&slots, Source::Oci("ns/0".into()), &[(&step("oci", &[]), Mode::Active)]);
    assert_eq!(asked(&slots, "u").0, "oci");
    assert_eq!(slots.remove(&Source::Oci("ns/0".into())), ["step"]);
    assert_eq!(slots.remove(&map("b")), ["step"]);
    assert_eq!(asked(&slots, "u").0, "a");
    slots.remove(&map("a"));
    assert_eq!(asked(&slots, "u").0, "embedded");
    assert_eq!(slots.remove(&map("a")), Vec::<String>::new());
}

#[test]
fn a_shadow_is_asked_beside_whoever_answers_below_it_only() {
    let slots = slots();
    install(&slots, map("shadow"), &[(&step("shadow", &[]), Mode::Shadow)]);
    assert_eq!(asked(&slots, "u"), ("embedded".into(), Role::Active, Some("shadow".into())));
    install(&slots, map("z"), &[(&step("z", &[]), Mode::Active)]);
    assert_eq!(asked(&slots, "u"), ("z".into(), Role::Active, None));
}

#[test]
fn a_canary_answers_for_its_share() {
    let slots = slots();
    install(&slots, map("c"), &[(&step("c", &[]), Mode::Canary(Share::Percent(30)))]);
    let held = (0..1_000).filter(|n| asked(&slots, &format!("u{n}")).0 == "c").count();
    assert!((230..370).contains(&held), "{held}");
    let of_canary = (0..1_000).find(|n| asked(&slots, &format!("u{n}")).0 == "c").unwrap();
    assert_eq!(asked(&slots, &format!("u{of_canary}")).1, Role::Canary);
    assert_eq!(slots.active("step").unwrap().guest.manifest().name, "embedded");
}

#[test]
fn a_set_is_taken_up_as_one_or_not_at_all() {
    let slots = slots();
    let other = |writes: &[&str]| {
        let writes: Vec<Value> = writes.iter().map(|kind| json!({"apiVersion": "v1", "kind": kind})).collect();
        guest("other", json!({"steps": [{"name": "other", "primary": [], "writes": writes}]}))
    };
    let set = |second: &Arc<dyn Guest>| {
        let one = |name: &str, guest: &Arc<dyn Guest>| Installation {
            source: map(name),
            versions: vec![version(guest, Mode::Active)],
        };
        vec![one("a", &step("a", &[])), one("b", second)]
    };
    let error = slots.install(set(&other(&["Secret"]))).unwrap_err();
    assert_eq!(error.reason(), "PluginAsksForMore");
    assert_eq!(asked(&slots, "u").0, "embedded");
    assert_eq!(slots.install(set(&other(&[]))).unwrap(), ["other", "step"]);
    assert_eq!(asked(&slots, "u").0, "a");
}

#[test]
fn without_an_account_it_may_do_no_more_than_what_came_with_the_host() {
    let slots = slots();
    let greedy = version(&step("greedy", &["Service", "Secret"]), Mode::Active);
    let one = |version: Version| vec![Installation { source: map("g"), versions: vec![version] }];
    assert_eq!(slots.install(one(greedy.clone())).unwrap_err().reason(), "PluginAsksForMore");
    let identity = Some(Identity { namespace: "ns".into(), name: "account".into() });
    slots.install(one(Version { identity: identity.clone(), ..greedy })).unwrap();
    // Which Secrets are put into calls, no account's rights decide.
    let steps = json!({"steps": [{"name": "step", "primary": ["spec"], "systemSecrets": ["any"], "retires": true}]});
    let curious = Version { identity, ..version(&guest("curious", steps), Mode::Active) };
    let curious = vec![Installation { source: map("c"), versions: vec![curious] }];
    let refused = slots.install(curious).unwrap_err().to_string();
    assert!(refused.contains("sends values of Secret any") && !refused.contains("deletes its own"), "{refused}");
    // The rights of the layer below are not inherited: they are that account's.
    let above = version(&step("above", &["Service", "Secret"]), Mode::Active);
    let above = vec![Installation { source: map("h"), versions: vec![above] }];
    assert_eq!(slots.install(above).unwrap_err().reason(), "PluginAsksForMore");
}

#[test]
fn one_that_fails_is_rolled_back_at_once_to_the_version_before_and_it_is_told() {
    let slots = slots();
    let mut news = slots.news().unwrap();
    let (first, second) = (step("first", &[]), step("second", &[]));
    install(&slots, map("m"), &[(&first, Mode::Active), (&second, Mode::Active)]);
    for _ in 0..3 {
        assert_eq!(asked(&slots, "u").0, "second");
        slots.judged("step", second.digest(), "u", &bad());
    }
    assert_eq!(asked(&slots, "u").0, "first");
    let Ok(News::RolledBack { source, digest, reason, .. }) = news.try_recv() else { panic!("nothing was told") };
    assert_eq!((source, &digest, reason.as_str()), (map("m"), second.digest(), "PluginTrapped"));
    // What a pass that was under way says afterwards falls on nobody.
    slots.judged("step", second.digest(), "u", &bad());
    assert!(news.try_recv().is_err());
}

#[test]
fn what_came_with_the_host_is_never_taken_back() {
    let slots = slots();
    let embedded = slots.active("step").unwrap();
    for _ in 0..10 {
        slots.judged("step", embedded.guest.digest(), "u", &bad());
    }
    assert_eq!(asked(&slots, "u").0, "embedded");
}

#[test]
fn a_shadow_that_agrees_is_promoted() {
    let slots = slots();
    let mut news = slots.news().unwrap();
    let shadow = step("shadow", &[]);
    let version = Version { promote_after: Some(2), ..version(&shadow, Mode::Shadow) };
    slots.install(vec![Installation { source: map("m"), versions: vec![version] }]).unwrap();
    slots.judged("step", shadow.digest(), "u", &Judgement::Agreed);
    assert_eq!(asked(&slots, "u").0, "embedded");
    slots.judged("step", shadow.digest(), "u", &Judgement::Agreed);
    assert_eq!(asked(&slots, "u"), ("shadow".into(), Role::Active, None));
    assert!(matches!(news.try_recv(), Ok(News::Promoted { .. })));
}

#[test]
fn the_same_version_installed_again_keeps_its_record() {
    let slots = slots();
    let it = step("it", &[]);
    for _ in 0..3 {
        install(&slots, map("m"), &[(&it, Mode::Active)]);
        slots.judged("step", it.digest(), "u", &bad());
    }
    assert_eq!(asked(&slots, "u").0, "embedded");
}

#[test]
fn policies_come_in_order_of_priority_and_then_of_source() {
    let slots = slots();
    slots.put(Source::Embedded, &policy("late", "*"), "{}").unwrap();
    slots.put(Source::Embedded, &policy("later", "*"), "{}").unwrap();
    install(&slots, map("b"), &[(&policy("second", "step"), Mode::Active), (&policy("shadow", "step"), Mode::Shadow)]);
    install(&slots, map("x"), &[(&policy("elsewhere", "other"), Mode::Active)]);
    let first = Version { priority: -1, ..version(&policy("first", "step"), Mode::Active) };
    slots.install(vec![Installation { source: map("z"), versions: vec![first] }]).unwrap();
    let names = |step: &str| -> Vec<(String, Role)> {
        let chain = slots.policies(step, "u", &BTreeMap::new());
        chain.iter().map(|it| (it.guest.manifest().name.clone(), it.role)).collect()
    };
    let found = names("step");
    let order: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((order.first(), order.len()), (Some(&"first"), 5));
    assert!(found.contains(&("shadow".into(), Role::Shadow)) && found.contains(&("second".into(), Role::Active)));
    assert_eq!(names("other").iter().filter(|(name, _)| name == "elsewhere").count(), 1);
}

#[test]
fn whoever_may_be_asked_is_watched_for() {
    let slots = slots();
    install(&slots, map("s"), &[(&step("s", &["Service"]), Mode::Shadow)]);
    assert_eq!(slots.observing("step").len(), 2);
    install(&slots, map("t"), &[(&step("t", &["Service"]), Mode::Active)]);
    // The embedded one, in case that it is fallen back to; the shadow below is not asked.
    assert_eq!(slots.observing("step").len(), 2);
}
