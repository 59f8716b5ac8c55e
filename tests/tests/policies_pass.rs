//! What a pass does beyond carrying plans out, over a real API server: policies, failure policies, accounts, conflicts,
//! secrets, fights, shadows, records.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stepwright_core::guest::{Guest, GuestError};
use stepwright_core::journal::{Answer, PassRecord, StepRecord};
use stepwright_core::object::ObjectRef;
use stepwright_core::observation::Observation;
use stepwright_core::plan::{Plan, Progress, Wait};
use stepwright_core::policy::Verdict;
use stepwright_core::slot::{Mode, OnFailure, Role};
use stepwright_operator::slots::{Identity, Installation, Source, Version};
use stepwright_tests::api_server::{Running, SOON, Setup, client, namespace, operator, operator_with};
use stepwright_tests::native::{Native, NativePolicy, core_object, primary};
use stepwright_tests::wait::until;

fn manifest(step: &str, writes: &[&str], more: Value) -> Value {
    let writes: Vec<Value> = writes.iter().map(|kind| json!({"apiVersion": "v1", "kind": kind})).collect();
    let mut step = json!({"name": step, "primary": ["spec", "status"], "writes": writes});
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "native", "version": "1", "steps": [step]})
}

fn config(observed: &Observation, value: &Value) -> Plan {
    let name = format!("{}-config", observed.primary.id.name);
    Plan { desired: vec![core_object("ConfigMap", &name, json!({"data": {"value": value}}))], ..Plan::done() }
}

/// Makes a ConfigMap `<name>-config` with the spec's `value`; traps when it is `trap`.
fn configures(version: &str) -> Arc<Native> {
    Native::new(manifest("step", &["ConfigMap"], json!({})), version, |observed| {
        let value = &primary(observed)["spec"]["value"];
        if value == "trap" { Err(trap()) } else { Ok(Ok(config(observed, value))) }
    })
}

fn trap() -> GuestError {
    GuestError::Trapped { plugin: "native".into(), message: "out of bounds".into() }
}

fn data(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("value").map(String::as_str)
}

/// A policy over the ConfigMaps of `step`.
fn policy(
    judges: impl Fn(&Observation, &Plan) -> Result<Verdict, GuestError> + Send + Sync + 'static,
) -> Arc<NativePolicy> {
    let policy = json!({"reviews": ["step"], "primary": ["spec"],
        "writes": [{"apiVersion": "v1", "kind": "ConfigMap"}]});
    NativePolicy::new(policy, "1", judges)
}

fn install(running: &Running, name: &str, change: impl FnOnce(&mut Version), guest: Arc<dyn Guest>) {
    let mut version = Version::new(guest, "{}".to_owned());
    change(&mut version);
    let source = Source::Directory(name.to_owned());
    running.slots.install(vec![Installation { source, versions: vec![version] }]).unwrap();
}

fn records(running: &Running, name: &str) -> Vec<Arc<PassRecord>> {
    running.journal.of(&ObjectRef {
        api_version: "test.stepwright.dev/v1".into(),
        kind: "Thing".into(),
        namespace: Some(running.namespace.clone()),
        name: name.into(),
    })
}

/// Waits until some step's record passes.
async fn recorded(running: &Running, name: &str, what: &str, passes: impl Fn(&StepRecord) -> bool) -> StepRecord {
    until(what, SOON, || async {
        let all = records(running, name);
        let found = all.iter().flat_map(|it| &it.steps).find(|it| passes(it)).cloned();
        found.ok_or_else(|| format!("{all:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amended_plan_is_carried_out_and_told() {
    let judges = policy(|_, planned| {
        assert_eq!(planned.desired.len(), 1);
        let patch = json!([{"op": "add", "path": "/desired/0/data/team", "value": "blue"}]);
        Ok(Verdict::Amend(patch.to_string()))
    });
    let running = operator(&["step"], vec![configures("1"), judges.clone()]).await;
    running.apply("a", json!({"value": "1"})).await;
    let map: ConfigMap = running.object("a-config", |map| data(map) == Some("1")).await;
    assert_eq!(map.data.unwrap()["team"], "blue");
    running.condition("a", "Ready", "True").await;
    let step = recorded(&running, "a", "a review", |it| it.rounds.iter().any(|it| !it.policies.is_empty())).await;
    let review = step.rounds.iter().flat_map(|it| &it.policies).next().unwrap();
    assert_eq!((review.plugin.name.as_str(), review.changes[0].field.as_str()), ("native-policy", "data.team"));
    assert_eq!(review.changes[0].after, Some(json!("blue")));
    let effects = step.rounds.iter().flat_map(|it| &it.effects).map(|it| it.verb.as_str()).collect::<Vec<_>>();
    assert!(effects.contains(&"apply"), "{effects:?}");
    // The policy was shown its own fields only, and the name of the step.
    let (observed, _) = judges.shown().remove(0);
    assert_eq!(observed.step, "step");
    assert!(primary(&observed).get("status").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amendment_beyond_its_grants_is_the_policys_failure() {
    let greedy = policy(|_, _| Ok(Verdict::Amend(json!([{"op": "add", "path": "/status", "value": {}}]).to_string())));
    let running = operator(&["step"], vec![configures("1"), greedy]).await;
    running.apply("a", json!({"value": "1"})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "PolicyFailed");
    assert!(
        message.contains("policy `native-policy`") && message.contains("its amendment changes status"),
        "{message}"
    );
    assert!(running.api::<ConfigMap>().get_opt("a-config").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_plan_is_told_in_the_policys_words_and_heals() {
    let later = Native::new(manifest("later", &[], json!({})), "1", |_| Ok(Ok(Plan::done())));
    let strict = policy(|observed, _| {
        let value = &primary(observed)["spec"]["value"];
        Ok(if value == "bad" { Verdict::Deny("no bad values on Fridays".into()) } else { Verdict::Pass })
    });
    let running = operator(&["step", "later"], vec![configures("1"), later.clone(), strict.clone()]).await;
    running.apply("a", json!({"value": "bad"})).await;
    let (reason, message) = running.condition("a", "Ready", "False").await;
    assert_eq!(reason, "PolicyDenied");
    let digest = strict.digest().short().to_owned();
    assert_eq!(message, format!("step step: policy native-policy@{digest} denies it: no bad values on Fridays"));
    assert!(running.api::<ConfigMap>().get_opt("a-config").await.unwrap().is_none());
    assert!(later.asked().is_empty(), "later steps wait");
    until("an Event", SOON, || async {
        let events = running.events("a").await;
        if events.iter().any(|it| it.0 == "PolicyDenied" && it.1 == message) { Ok(()) } else { Err(events) }
    })
    .await;
    // At rest nobody is asked: a change that nobody looks at asks no one again. The step looks at its status, so it was asked
    // once more when the condition came.
    let shown = until("rest", SOON, || async {
        let before = strict.shown().len();
        tokio::time::sleep(Duration::from_millis(700)).await;
        if strict.shown().len() == before { Ok(before) } else { Err(before) }
    })
    .await;
    let body = json!({"metadata": {"annotations": {"somebody": "else"}}});
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(strict.shown().len(), shown);

    running.apply("a", json!({"value": "good"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("good")).await;
    running.condition("a", "Ready", "True").await;
    assert!(!later.asked().is_empty());
    // What was there stays when a later plan is denied.
    running.apply("a", json!({"value": "bad"})).await;
    running.condition("a", "Ready", "False").await;
    let map: ConfigMap = running.object("a-config", |_| true).await;
    assert_eq!(data(&map), Some("good"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_plan_is_carried_out_when_its_time_has_come() {
    let opens = Timestamp::now() + Duration::from_secs(4);
    let window = policy(move |observed, _| {
        let held = primary(observed)["spec"]["value"] == "2" && Timestamp::now() < opens;
        let hold = || Verdict::Hold { until: opens.to_string(), reason: "maintenance".into() };
        Ok(if held { hold() } else { Verdict::Pass })
    });
    let running = operator(&["step"], vec![configures("1"), window]).await;
    running.apply("a", json!({"value": "1"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    running.apply("a", json!({"value": "2"})).await;
    let (reason, message) = running.condition("a", "Progressing", "True").await;
    assert_eq!(reason, "PolicyHold");
    assert!(message.contains("holds it: maintenance (until "), "{message}");
    // What was carried out before is kept up meanwhile.
    running.api::<ConfigMap>().delete("a-config", &DeleteParams::default()).await.unwrap();
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    assert!(Timestamp::now() < opens, "too slow to tell");
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("2")).await;
    assert!(Timestamp::now() >= opens);
    running.condition("a", "Ready", "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_lets_nothing_new_through_and_is_passed_over_only_where_told_to() {
    let failing = |version: &str| {
        let manifest = json!({"reviews": ["step"], "primary": ["spec"]});
        NativePolicy::new(manifest, version, |observed, _| {
            if primary(observed)["spec"]["value"] == "1" { Ok(Verdict::Pass) } else { Err(trap()) }
        })
    };
    let running = operator(&["step"], vec![configures("1")]).await;
    install(&running, "policy", |_| {}, failing("1"));
    running.apply("a", json!({"value": "1"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    running.apply("a", json!({"value": "2"})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "PolicyFailed");
    assert!(message.contains("out of bounds") && message.contains("the last good plan is kept up"), "{message}");
    running.api::<ConfigMap>().delete("a-config", &DeleteParams::default()).await.unwrap();
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;

    install(&running, "policy", |it| it.on_failure = OnFailure::Skip, failing("2"));
    running.apply("a", json!({"value": "3"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_the_shadow_has_no_effect() {
    let running = operator(&["step"], vec![configures("1")]).await;
    let denies = policy(|_, _| Ok(Verdict::Deny("never".into())));
    install(&running, "policy", |it| it.mode = Mode::Shadow, denies);
    running.apply("a", json!({"value": "1"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    let step = recorded(&running, "a", "a review", |it| it.rounds.iter().any(|it| !it.policies.is_empty())).await;
    let review = &step.rounds[0].policies[0];
    assert_eq!((review.role, &review.verdict), (Role::Shadow, &Ok(Verdict::Deny("never".into()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_holds_its_last_good_plan_and_later_steps_run() {
    let later = Native::new(manifest("later", &[], json!({})), "1", |observed| {
        let status = json!({"later": primary(observed)["spec"]["value"]}).to_string();
        Ok(Ok(Plan { status: Some(status), ..Plan::done() }))
    });
    let running = operator(&["step", "later"], vec![configures("1"), later]).await;
    running.apply("a", json!({"value": "1"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    running.apply("a", json!({"value": "trap"})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "PluginTrapped");
    assert!(message.ends_with("(the last good plan is kept up)"), "{message}");
    running.api::<ConfigMap>().delete("a-config", &DeleteParams::default()).await.unwrap();
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    until("the later step", SOON, || async {
        let thing = running.things().get("a").await.unwrap();
        if thing.data["status"]["later"] == "trap" { Ok(()) } else { Err(thing.data) }
    })
    .await;
    recorded(&running, "a", "a held plan", |it| it.role == Role::Held).await;
    running.apply("a", json!({"value": "2"})).await;
    running.condition("a", "Degraded", "False").await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_skip_stop_or_fall_back() {
    let later = || Native::new(manifest("later", &[], json!({})), "1", |_| Ok(Ok(Plan::done())));
    let traps = || Native::new(manifest("step", &["ConfigMap"], json!({})), "traps", |_| Err(trap()));
    for (on_failure, said, runs_on, made) in [
        (OnFailure::Hold, "there is no earlier plan to keep up", false, false),
        (OnFailure::Skip, "the pipeline goes on without the step", true, false),
        (OnFailure::Stop, "out of bounds", false, false),
        (OnFailure::Fallback, "the embedded version answers instead", true, true),
    ] {
        let later = later();
        let running = operator(&["step", "later"], vec![configures("1"), later.clone()]).await;
        install(&running, "dir", |it| it.on_failure = on_failure, traps());
        running.apply("a", json!({"value": "1"})).await;
        let (reason, message) = running.condition("a", "Degraded", "True").await;
        assert_eq!(reason, "PluginTrapped");
        assert!(message.contains(said), "{on_failure:?}: {message}");
        assert_eq!(!later.asked().is_empty(), runs_on, "{on_failure:?}");
        let found = running.api::<ConfigMap>().get_opt("a-config").await.unwrap();
        assert_eq!(found.is_some(), made, "{on_failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_carry_the_digest_of_the_plugin_that_changed_them_last() {
    let (one, two) = (configures("one"), configures("two"));
    let running = operator(&["step"], vec![one.clone()]).await;
    running.apply("a", json!({"value": "1"})).await;
    let mark = |guest: &Native| format!("native@{}", guest.digest().short());
    let marked = |map: &ConfigMap| map.annotations()["stepwright.dev/plugin"].clone();
    let map: ConfigMap = running.object("a-config", |_| true).await;
    assert_eq!(marked(&map), mark(&one));
    running.condition("a", "Ready", "True").await;
    // A swap that changes nothing writes nothing.
    install(&running, "dir", |_| {}, two.clone());
    let body = json!({"metadata": {"annotations": {"look": "again"}}});
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    until("a pass on the new version", SOON, || async {
        if two.asked().is_empty() { Err("not asked") } else { Ok(()) }
    })
    .await;
    let same: ConfigMap = running.object("a-config", |_| true).await;
    assert_eq!(same.resource_version(), map.resource_version());
    running.apply("a", json!({"value": "2"})).await;
    let map: ConfigMap = running.object("a-config", |map| data(map) == Some("2")).await;
    assert_eq!(marked(&map), mark(&two));
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_of_a_plugin_with_an_account_are_decided_by_rbac() {
    let running = operator(&["step"], vec![configures("1")]).await;
    let identity = Identity { namespace: running.namespace.clone(), name: "rigger".into() };
    install(&running, "dir", |it| it.identity = Some(identity), configures("2"));
    running.apply("a", json!({"value": "1"})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "Forbidden");
    let namespace = &running.namespace;
    let user = format!("system:serviceaccount:{namespace}:rigger");
    let can_i = format!("kubectl auth can-i patch configmaps --namespace={namespace} --as={user}");
    assert!(message.contains(&format!("{user} may not patch ConfigMap {namespace}/a-config")), "{message}");
    assert!(message.contains(&can_i), "{message}");
    let rbac = json!([
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "rigger"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "rigger"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rigger"},
            "subjects": [{"kind": "ServiceAccount", "name": "rigger", "namespace": namespace}]},
    ]);
    use k8s_openapi::api::rbac::v1::{Role as RbacRole, RoleBinding};
    let role: RbacRole = serde_json::from_value(rbac[0].clone()).unwrap();
    let binding: RoleBinding = serde_json::from_value(rbac[1].clone()).unwrap();
    running.api::<RbacRole>().create(&PostParams::default(), &role).await.unwrap();
    running.api::<RoleBinding>().create(&PostParams::default(), &binding).await.unwrap();
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("1")).await;
    running.condition("a", "Ready", "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_manager_is_not_taken() {
    let more = json!({"observes": [{"name": "s", "apiVersion": "v1", "kind": "ConfigMap", "select": {"names": ["theirs"]},
        "fields": ["metadata.name"]}]});
    let plugin = Native::new(manifest("step", &["ConfigMap"], more), "1", |observed| {
        let map = core_object("ConfigMap", "theirs", json!({"data": {"value": "ours"}}));
        let amends = primary(observed)["spec"]["amend"] == true;
        let (desired, amended) = if amends { (vec![], vec![map]) } else { (vec![map], vec![]) };
        let own = core_object("ConfigMap", "own", json!({"data": {"value": "1"}}));
        Ok(Ok(Plan { desired: desired.into_iter().chain([own]).collect(), amended, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"value": "x"}});
    let api: Api<ConfigMap> = running.api();
    api.patch("theirs", &PatchParams::apply("them"), &Patch::Apply(&theirs)).await.unwrap();
    running.apply("a", json!({"amend": true})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "FieldConflict");
    assert!(message.contains(".data.value belongs to field manager \"them\""), "{message}");
    // The rest of the plan does not depend on it.
    running.object::<ConfigMap>("own", |_| true).await;
    running.apply("b", json!({"amend": false})).await;
    // `own` was made for `a`; two primaries may not make one object.
    until("a refusal", SOON, || async {
        let thing = running.things().get("b").await.unwrap();
        let text = thing.data.to_string();
        if text.contains("ObjectOfAnother") || text.contains("FieldConflict") { Ok(()) } else { Err(text) }
    })
    .await;
    assert_eq!(data(&api.get("theirs").await.unwrap()), Some("x"));
    // An equal value is no conflict.
    let equal =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"value": "ours"}});
    api.patch("theirs", &PatchParams::apply("them"), &Patch::Apply(&equal)).await.unwrap();
    running.condition("a", "Degraded", "False").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_a_kind_does_not_have_are_refused_by_name() {
    let plugin = Native::new(manifest("step", &["Service"], json!({})), "1", |_| {
        let body = json!({"spec": {"ports": [{"port": 80}], "replicas": 3}});
        Ok(Ok(Plan { desired: vec![core_object("Service", "s", body)], ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    running.apply("a", json!({})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "UnknownFields");
    assert!(message.contains("replicas"), "{message}");
    assert!(running.api::<Service>().get_opt("s").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_secret_is_neither_copied_nor_taken_over() {
    let more = json!({"observes": [{"name": "s", "apiVersion": "v1", "kind": "Secret", "select": {"labels": {}},
        "fields": ["metadata.name"]}]});
    let plugin = Native::new(manifest("step", &["Secret"], more), "1", |observed| {
        let spec = primary(observed)["spec"].clone();
        let object = if spec["take"] == true {
            core_object("Secret", "stranger", json!({}))
        } else {
            let reference = json!({"$secretKeyRef": {"name": "stranger", "key": "password"}});
            core_object("Secret", "copy", json!({"stringData": {"x": reference}}))
        };
        Ok(Ok(Plan { desired: vec![object], ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    let stranger: Secret =
        serde_json::from_value(json!({"metadata": {"name": "stranger"}, "stringData": {"password": "hunter2"}}))
            .unwrap();
    running.api::<Secret>().create(&PostParams::default(), &stranger).await.unwrap();
    running.apply("copies", json!({})).await;
    running.apply("takes", json!({"take": true})).await;
    for name in ["copies", "takes"] {
        let (reason, message) = running.condition(name, "Degraded", "True").await;
        assert_eq!(reason, "SecretNotGranted");
        assert!(
            message.contains("Secret `stranger` is neither named by the primary nor made by its pipeline"),
            "{message}"
        );
    }
    assert!(running.api::<Secret>().get_opt("copy").await.unwrap().is_none());
    let found: Secret = running.object("stranger", |_| true).await;
    assert!(found.metadata.annotations.is_none());
    // Named by the primary, it may be.
    running.apply("copies", json!({"from": {"secret": "stranger"}})).await;
    let copy: Secret = running.object("copy", |_| true).await;
    assert_eq!(copy.data.unwrap()["x"].0, b"hunter2");
    for record in records(&running, "copies") {
        assert!(!serde_json::to_string(&record).unwrap().contains("hunter2"), "a record holds a password");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fight_over_a_field_is_named_and_left() {
    let running = operator(&["step"], vec![configures("1")]).await;
    running.apply("a", json!({"value": "ours"})).await;
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("ours")).await;
    let api: Api<ConfigMap> = running.api();
    let theirs = PatchParams { field_manager: Some("meddler".into()), ..PatchParams::default() };
    let body = json!({"data": {"value": "theirs"}});
    for _ in 0..3 {
        api.patch("a-config", &theirs, &Patch::Merge(&body)).await.unwrap();
        running.object::<ConfigMap>("a-config", |map| data(map) == Some("ours")).await;
    }
    api.patch("a-config", &theirs, &Patch::Merge(&body)).await.unwrap();
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "FieldFight");
    let namespace = &running.namespace;
    let expected = format!(
        "ConfigMap {namespace}/a-config: `data.value` is put back again and again, and field manager \"meddler\" changes it each time"
    );
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(data(&api.get("a-config").await.unwrap()), Some("theirs"), "left alone for a while");
    // Once the other gives up, it is put back after the pause, and all is well.
    running.object::<ConfigMap>("a-config", |map| data(map) == Some("ours")).await;
    running.condition("a", "Degraded", "False").await;
}

/// An operator that makes every call twice.
async fn purist(plugin: Arc<dyn Guest>) -> Running {
    let client = client().await;
    let home = namespace(&client).await;
    operator_with(client, home, &["step"], vec![plugin], Setup { purity_every: 1, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_answers_differently_each_time_is_found_out() {
    let count = AtomicU32::new(0);
    let dice = Native::new(manifest("step", &["ConfigMap"], json!({})), "1", move |observed| {
        let number = count.fetch_add(1, Ordering::Relaxed).to_string();
        Ok(Ok(config(observed, &json!(number))))
    });
    let running = purist(dice).await;
    running.apply("a", json!({})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "PluginImpure");
    assert!(message.contains("they differ at ConfigMap a-config: data.value"), "{message}");
    assert!(running.api::<ConfigMap>().get_opt("a-config").await.unwrap().is_none());
    let pure = purist(configures("1")).await;
    pure.apply("a", json!({"value": "1"})).await;
    pure.condition("a", "Ready", "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_never_carried_out() {
    let running = operator(&["step"], vec![configures("1")]).await;
    let other = Native::new(manifest("step", &["ConfigMap"], json!({})), "2", |observed| {
        let value = &primary(observed)["spec"]["value"];
        let value = if value == "same" { json!("same") } else { json!("other") };
        Ok(Ok(config(observed, &value)))
    });
    let digest = other.digest().to_string();
    install(&running, "dir", |it| it.mode = Mode::Shadow, other);
    running.apply("a", json!({"value": "same"})).await;
    running.apply("b", json!({"value": "1"})).await;
    for (name, outcome) in [("a", "shadow agreed"), ("b", "shadow differed")] {
        let found = until("a shadow's record", SOON, || async {
            let all = records(&running, name);
            all.iter().find(|it| it.outcome.starts_with("shadow")).cloned().ok_or("none")
        })
        .await;
        assert_eq!(found.outcome, outcome);
        assert_eq!((found.steps[0].role, &found.steps[0].plugin.digest), (Role::Shadow, &digest));
        assert!(matches!(found.steps[0].rounds[0].answer, Answer::Planned(_)));
    }
    running.object::<ConfigMap>("b-config", |map| data(map) == Some("1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rounds_calls_and_objects_than_the_manifest_says_are_refused_with_both_numbers() {
    for (limits, said) in [
        (json!({"objects": 1}), "the plan holds 2 objects; at most 1 are taken"),
        (json!({"calls": 1}), "the plan holds 2 calls; at most 1 are taken"),
        (json!({"rounds": 2}), "asked for calls in 2 rounds of one pass"),
    ] {
        let more = json!({"limits": limits, "calls": ["GET /x"]});
        let plugin = Native::new(manifest("step", &["ConfigMap"], more), &limits.to_string(), |_| {
            let desired = ["a", "b"].map(|name| core_object("ConfigMap", name, json!({}))).to_vec();
            let call = |id: &str| stepwright_core::plan::Call {
                id: id.into(),
                target: None,
                method: "GET".into(),
                path: "/x".into(),
                body: None,
            };
            Ok(Ok(Plan { desired, calls: vec![call("1"), call("2")], ..Plan::done() }))
        });
        let running = operator(&["step"], vec![plugin]).await;
        running.apply("a", json!({})).await;
        let (_, message) = running.condition("a", "Degraded", "True").await;
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_pass_leaves_no_record_and_a_deletion_that_is_denied_waits() {
    let guard = NativePolicy::new(json!({"reviews": ["*"], "primary": ["metadata.labels"]}), "1", |observed, _| {
        let kept = primary(observed)["metadata"]["labels"]["keep"] == "yes";
        Ok(if observed.deleting && kept { Verdict::Deny("it is kept".into()) } else { Verdict::Pass })
    });
    let plugin = Native::new(manifest("step", &[], json!({})), "1", |observed| {
        let wait = Wait { word: None, reason: "never".into(), again_in: None };
        let progress = if observed.deleting { Progress::Done } else { Progress::Waiting(wait) };
        Ok(Ok(Plan { progress, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin, guard]).await;
    running.apply("a", json!({})).await;
    let labels = |value: Option<&str>| json!({"metadata": {"labels": BTreeMap::from([("keep", value)])}});
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&labels(Some("yes")))).await.unwrap();
    running.condition("a", "Progressing", "True").await;
    let count = until("rest", SOON, || async {
        let before = records(&running, "a").len();
        tokio::time::sleep(Duration::from_millis(700)).await;
        if records(&running, "a").len() == before { Ok(before) } else { Err(before) }
    })
    .await;
    let body = json!({"metadata": {"annotations": {"somebody": "else"}}});
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(records(&running, "a").len(), count);

    running.things().delete("a", &DeleteParams::default()).await.unwrap();
    until("the denial", SOON, || async {
        let thing = running.things().get("a").await.unwrap();
        if thing.data.to_string().contains("it is kept") { Ok(()) } else { Err(thing.data) }
    })
    .await;
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&labels(None))).await.unwrap();
    until("the thing to go", SOON, || async {
        match running.things().get_opt("a").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
