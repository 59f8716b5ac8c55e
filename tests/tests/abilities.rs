//! The operator over a real API server: fields that are taken from other managers, requests that are set back, what a step learns of its refused
//! amendments, kinds that are watched on demand and that may not be readable, what belongs to one managed system, facts on demand.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use stepwright_core::observation::REFUSED_NOTE;
use stepwright_core::plan::{Plan, Progress, Wait};
use stepwright_operator::guests::GuestSettings;
use stepwright_tests::api_server::{Running, SOON, Setup, client, kubeconfig, namespace, operator, operator_with};
use stepwright_tests::native::{Native, SYSTEM_ANNOTATION, core_object, primary};
use stepwright_tests::wait::until;

/// Amends the ConfigMap `theirs` with `spec.data`, and may take `data.value` from whoever has it.
fn amends() -> Arc<Native> {
    let step = json!({"name": "step", "primary": ["spec"], "writes": [{"apiVersion": "v1", "kind": "ConfigMap"}],
        "observes": [{"name": "maps", "apiVersion": "v1", "kind": "ConfigMap", "select": {"labels": {}}, "fields": ["data"]}],
        "takes": [{"apiVersion": "v1", "kind": "ConfigMap", "fields": ["data.value"]}]});
    Native::new(json!({"name": "native", "version": "1", "steps": [step]}), "1", |observed| {
        let data = primary(observed)["spec"]["data"].clone();
        let wants = data.as_object().is_some_and(|data| !data.is_empty()) && !observed.deleting;
        let amended = wants.then(|| core_object("ConfigMap", "theirs", json!({"data": data})));
        Ok(Ok(Plan { amended: amended.into_iter().collect(), ..Plan::done() }))
    })
}

/// What somebody else applies to `theirs`, with force.
async fn they_say(running: &Running, map: Value) {
    let mut body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}});
    body.as_object_mut().unwrap().extend(map.as_object().unwrap().clone());
    let theirs = PatchParams::apply("them").force();
    running.api::<ConfigMap>().patch("theirs", &theirs, &Patch::Apply(&body)).await.unwrap();
}

fn says(map: &ConfigMap, key: &str, value: &str) -> bool {
    map.data.as_ref().is_some_and(|data| data.get(key).is_some_and(|found| found == value))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_taken_where_the_manifest_names_it_and_no_other_is() {
    let running = operator(&["step"], vec![amends()]).await;
    they_say(&running, json!({"data": {"value": "theirs", "other": "theirs"}})).await;
    running.apply("a", json!({"data": {"value": "ours"}})).await;
    running.object::<ConfigMap>("theirs", |map| says(map, "value", "ours") && says(map, "other", "theirs")).await;
    running.condition("a", "Ready", "True").await;

    // One conflict that is not covered, and nothing is taken.
    running.apply("a", json!({"data": {"value": "ours", "other": "ours"}})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "FieldConflict");
    assert!(message.contains(r#".data.other belongs to field manager "them""#), "{message}");
    running.object::<ConfigMap>("theirs", |map| says(map, "other", "theirs")).await;

    // Given up, it stays as it is, since its manager lost it for good; and nothing is in the way of the end.
    running.apply("a", json!({"data": {}})).await;
    running.condition("a", "Ready", "True").await;
    running.object::<ConfigMap>("theirs", |map| says(map, "value", "ours")).await;
    running.things().delete("a", &DeleteParams::default()).await.unwrap();
    until("the primary to go", SOON, || async {
        running.things().get_opt("a").await.unwrap().map_or(Ok(()), |thing| Err(thing.data))
    })
    .await;
    running.object::<ConfigMap>("theirs", |map| says(map, "value", "ours")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_field_that_is_taken_back_each_time_is_a_fight() {
    let running = operator(&["step"], vec![amends()]).await;
    they_say(&running, json!({"data": {"value": "theirs"}})).await;
    running.apply("a", json!({"data": {"value": "ours"}})).await;
    let (reason, message) = until("a fight that is told", SOON, || async {
        let map = running.api::<ConfigMap>().get("theirs").await.unwrap();
        if says(&map, "value", "ours") {
            they_say(&running, json!({"data": {"value": "theirs"}})).await;
        }
        let thing = running.things().get("a").await.unwrap();
        let conditions = thing.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let degraded = conditions.iter().find(|it| it["type"] == "Degraded" && it["status"] == "True");
        let text = |key: &str| degraded.and_then(|it| it[key].as_str()).unwrap_or_default().to_owned();
        if text("reason") == "FieldFight" { Ok((text("reason"), text("message"))) } else { Err(conditions) }
    })
    .await;
    assert_eq!(reason, "FieldFight");
    assert!(message.contains("`data.value`") && message.contains("\"them\""), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_told_what_of_its_plan_the_api_server_refused() {
    let plugin = amends();
    let running = operator(&["step"], vec![plugin.clone()]).await;
    they_say(&running, json!({"data": {"value": "theirs"}, "immutable": true})).await;
    running.apply("a", json!({"data": {"value": "ours"}})).await;
    let told = until("a note of the refusal", SOON, || async {
        let asked = plugin.asked();
        let note = asked.iter().flat_map(|it| &it.notes).rfind(|(step, _)| step == REFUSED_NOTE).cloned();
        note.ok_or(asked.len())
    })
    .await;
    let told: Value = serde_json::from_str(&told.1).unwrap();
    assert_eq!((&told[0]["kind"], &told[0]["name"]), (&json!("ConfigMap"), &json!("theirs")), "{told}");
    assert_eq!(told[0]["reason"], "Refused");
    assert!(told[0]["message"].as_str().unwrap().contains("immutable"), "{told}");
    assert_eq!(running.condition("a", "Degraded", "True").await.0, "Refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_the_spec_is_set_back_when_it_is_done_and_may_be_made_again() {
    let step = json!({"name": "step", "primary": ["spec"], "resets": {"spec.recover": false}});
    let plugin = Native::new(json!({"name": "native", "version": "1", "steps": [step]}), "1", |observed| {
        let spec = primary(observed)["spec"].clone();
        let defaults = match (spec["recover"].as_bool(), spec["malicious"].as_bool()) {
            (Some(true), Some(true)) => Some(r#"{"recover": 1}"#.to_owned()),
            (Some(true), _) => Some(r#"{"recover": false}"#.to_owned()),
            _ => None,
        };
        Ok(Ok(Plan { defaults, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin.clone()]).await;
    let rests = || async {
        let thing = running.things().get("a").await.unwrap();
        if thing.data["spec"]["recover"] == false { Ok(thing) } else { Err(thing.data) }
    };
    // Whoever applies the resource owns the field, and keeps it.
    for _ in 0..2 {
        running.apply("a", json!({"recover": true, "kept": "as it is"})).await;
        let thing = until("the request to be set back", SOON, rests).await;
        assert_eq!(thing.data["spec"], json!({"recover": false, "kept": "as it is"}));
        running.condition("a", "Ready", "True").await;
    }
    let thing = running.things().get("a").await.unwrap();
    let ours =
        thing.metadata.managed_fields.iter().flatten().find(|it| it.manager.as_deref() == Some("stepwright/step"));
    let ours = ours.unwrap();
    assert_eq!(ours.operation.as_deref(), Some("Update"), "an apply would own it for good");
    assert_eq!(serde_json::to_value(&ours.fields_v1).unwrap(), json!({"f:spec": {"f:recover": {}}}));

    // One that was not made is not filled in, and none is set to anything else.
    running.apply("b", json!({})).await;
    running.condition("b", "Ready", "True").await;
    assert_eq!(running.things().get("b").await.unwrap().data["spec"], json!({}));
    running.apply("c", json!({"recover": true, "malicious": true})).await;
    let (reason, message) = running.condition("c", "Degraded", "True").await;
    assert_eq!(reason, "PlanMalformed");
    assert!(message.contains("`spec.recover` is a request and may be set back to false only"), "{message}");
    assert_eq!(running.things().get("c").await.unwrap().data["spec"]["recover"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_same_system_is_seen_wherever_it_is_watched() {
    let step = json!({"name": "step", "primary": ["spec"], "facts": ["today"],
        "observes": [{"name": "maps", "apiVersion": "v1", "kind": "ConfigMap", "select": {"labels": {}},
            "within": "sameSystem", "fields": ["data"]}]});
    let plugin = Native::new(json!({"name": "native", "version": "1", "steps": [step]}), "1", |observed| {
        // Nothing but what is seen wakes it again.
        let wait = Wait { word: None, reason: "others are left".into(), again_in: None };
        let waits = observed.deleting && !observed.objects[0].objects.is_empty();
        let progress = if waits { Progress::Blocked(wait) } else { Progress::Done };
        Ok(Ok(Plan { progress, ..Plan::done() }))
    });
    let client = client().await;
    let (home, guest) = (namespace(&client).await, namespace(&client).await);
    let guests = GuestSettings { names: vec![guest.clone()], ..GuestSettings::default() };
    let setup = Setup { guests, ..Setup::default() };
    let maps = |namespace: &str| Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let system = format!("{home}/a");
    let make = async |namespace: &str, name: &str, operator: Option<&str>| {
        let mut annotations = json!({});
        if name != "stranger" {
            annotations[SYSTEM_ANNOTATION] = json!(system);
        }
        if let Some(operator) = operator {
            annotations["stepwright.dev/operator"] = json!(operator);
        }
        let map = json!({"metadata": {"name": name, "annotations": annotations}});
        maps(namespace).create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    };
    make(&guest, "far", None).await;
    make(&guest, "stranger", None).await;
    make(&guest, "theirs", Some("another")).await;
    let running = operator_with(client.clone(), home.clone(), &["step"], vec![plugin.clone()], setup).await;
    running.apply("a", json!({})).await;
    let shown = async |wanted: &[&str]| {
        until("what is shown", SOON, || async {
            let asked = plugin.asked();
            let objects = asked.last().map(|it| it.objects[0].objects.clone()).unwrap_or_default();
            let mut names: Vec<String> = objects.into_iter().map(|object| object.id.name).collect();
            names.sort();
            if names == wanted && !asked.is_empty() { Ok(asked) } else { Err(names) }
        })
        .await
    };
    let asked = shown(&["far"]).await;
    let today: Value = serde_json::from_str(asked[0].facts[0].value.as_ref().unwrap()).unwrap();
    assert!(today.as_str().is_some_and(|today| today.len() == 10 && today.starts_with("20")), "{today}");
    make(&home, "near", None).await;
    shown(&["far", "near"]).await;

    running.things().delete("a", &DeleteParams::default()).await.unwrap();
    let blocked = until("the end to be asked for", SOON, || async {
        let asked = plugin.asked();
        asked.last().filter(|it| it.deleting).map(|it| it.objects[0].objects.len()).ok_or(asked.len())
    })
    .await;
    assert_eq!(blocked, 2);
    maps(&home).delete("near", &DeleteParams::default()).await.unwrap();
    shown(&["far"]).await;
    assert!(running.things().get_opt("a").await.unwrap().is_some());
    maps(&guest).delete("far", &DeleteParams::default()).await.unwrap();
    until("the primary to go", SOON, || async {
        running.things().get_opt("a").await.unwrap().map_or(Ok(()), |thing| Err(thing.data))
    })
    .await;
}

/// A client that has every right in one namespace, and none beside it.
async fn confined(admin: &kube::Client, namespace: &str) -> kube::Client {
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "confined", "namespace": namespace}],
    }))
    .unwrap();
    Api::<RoleBinding>::namespaced(admin.clone(), namespace).create(&PostParams::default(), &binding).await.unwrap();
    let file = Kubeconfig::read_from(kubeconfig().unwrap()).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:confined"));
    kube::Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_may_not_be_read_says_so_and_is_watched_only_where_it_is_wanted() {
    let step = json!({"name": "step", "primary": ["spec"], "facts": ["always"], "factsWhen": {"sometimes": "spec.rack"},
        "observes": [{"name": "nodes", "apiVersion": "v1", "kind": "Node", "select": {"labels": {}},
            "fields": ["metadata.labels"], "when": "spec.rack", "optional": true}]});
    let plugin = Native::new(json!({"name": "native", "version": "1", "steps": [step]}), "1", |_| {
        let wait =
            Wait { word: None, reason: "looking again".into(), again_in: Some(std::time::Duration::from_millis(200)) };
        Ok(Ok(Plan { progress: Progress::Waiting(wait), ..Plan::done() }))
    });
    let admin = client().await;
    let namespace = namespace(&admin).await;
    let confined = confined(&admin, &namespace).await;
    let running = operator_with(confined, namespace.clone(), &["step"], vec![plugin.clone()], Setup::default()).await;
    let shown = |name: &str| {
        let name = name.to_owned();
        let asked = plugin.asked();
        let last = asked.iter().rev().find(|it| it.primary.id.name == name).cloned();
        async move { last.ok_or("not asked yet") }
    };

    // Who asks for no racks is not held up, and sees nothing.
    running.apply("plain", json!({})).await;
    let observed = until("the plain one", SOON, || shown("plain")).await;
    assert_eq!(observed.objects[0].objects, []);
    assert_eq!(observed.facts.iter().map(|fact| fact.name.as_str()).collect::<Vec<_>>(), ["always"]);

    running.apply("racked", json!({"rack": "zone"})).await;
    let observed = until("the one with racks", SOON, || shown("racked")).await;
    assert_eq!(observed.facts.iter().map(|fact| fact.name.as_str()).collect::<Vec<_>>(), ["always", "sometimes"]);
    let [status] = observed.objects[0].objects.as_slice() else { panic!("{:?}", observed.objects) };
    assert_eq!((status.id.api_version.as_str(), status.id.kind.as_str()), ("v1", "Status"));
    let status: Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!((&status["reason"], &status["code"]), (&json!("Forbidden"), &json!(403)));
    assert!(status["message"].as_str().unwrap().contains("cannot list resource \"nodes\""), "{status}");

    // With the right, the objects are there.
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "one", "labels": {"zone": "a"}}})).unwrap();
    Api::<Node>::all(admin.clone()).create(&PostParams::default(), &node).await.unwrap();
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": "nodes"},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]}))
    .unwrap();
    Api::<ClusterRole>::all(admin.clone()).create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({"metadata": {"name": "nodes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "nodes"},
        "subjects": [{"kind": "ServiceAccount", "name": "confined", "namespace": namespace}]}))
    .unwrap();
    Api::<ClusterRoleBinding>::all(admin.clone()).create(&PostParams::default(), &binding).await.unwrap();
    let zone = |zone: &'static str| {
        let asked = plugin.asked();
        let last = asked.iter().rev().find(|it| it.primary.id.name == "racked").cloned();
        let bodies: Vec<String> =
            last.iter().flat_map(|it| &it.objects[0].objects).map(|object| object.body.clone()).collect();
        let found = bodies.iter().any(|body| body.contains(&format!("\"zone\":\"{zone}\"")));
        async move { if found { Ok(()) } else { Err(bodies) } }
    };
    until("the node to be shown", 2 * SOON, || zone("a")).await;
    // A change of a cluster-scoped object wakes primaries in every namespace.
    let change = json!({"metadata": {"labels": {"zone": "b"}}});
    Api::<Node>::all(admin.clone()).patch("one", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    until("the change to be shown", SOON, || zone("b")).await;
    let plain = until("the plain one", SOON, || shown("plain")).await;
    assert_eq!(plain.objects[0].objects, []);
    Api::<Node>::all(admin).delete(&node.name_any(), &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_elsewhere_is_followed_begun_and_retired() {
    let step = json!({"name": "step", "primary": ["spec"], "follows": ["spec.told"], "retires": true,
        "begins": [{"apiVersion": "v1", "kind": "ConfigMap"}],
        "observes": [{"name": "maps", "apiVersion": "v1", "kind": "ConfigMap", "select": {"names": ["elsewhere"]}, "fields": ["data"]}]});
    let plugin = Native::new(json!({"name": "native", "version": "1", "steps": [step]}), "1", |observed| {
        let elsewhere = observed.objects[0].objects.first();
        let elsewhere: Value = elsewhere.map(|it| serde_json::from_str(&it.body).unwrap()).unwrap_or_default();
        if observed.deleting {
            return Ok(Ok(Plan::done()));
        }
        let told = &elsewhere["data"]["told"];
        let defaults = (!told.is_null()).then(|| json!({"told": {"value": told}}).to_string());
        let gone = elsewhere["data"]["gone"].as_str().map(|why| json!({"retire": why}).to_string());
        let mut begun = core_object("ConfigMap", "begun", json!({"data": {"value": "first"}}));
        begun.id.namespace.clone_from(&observed.primary.id.namespace);
        Ok(Ok(Plan { desired: vec![begun], defaults, notes: gone, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    let elsewhere = async |data: Value| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "elsewhere"}, "data": data});
        let them = PatchParams::apply("them").force();
        running.api::<ConfigMap>().patch("elsewhere", &them, &Patch::Apply(&body)).await.unwrap();
    };
    elsewhere(json!({"told": "one"})).await;
    running.apply("a", json!({"told": {"value": "none", "more": true}, "kept": 1})).await;
    let spec = async |wanted: Value| {
        until("the spec to follow", SOON, || async {
            let thing = running.things().get("a").await.unwrap();
            if thing.data["spec"] == wanted { Ok(thing) } else { Err(thing.data["spec"].clone()) }
        })
        .await
    };
    // Whatever stood there, and only that field.
    spec(json!({"told": {"value": "one"}, "kept": 1})).await;
    elsewhere(json!({"told": "two"})).await;
    spec(json!({"told": {"value": "two"}, "kept": 1})).await;

    // Made once, and then anybody's.
    let begun = running.object::<ConfigMap>("begun", |map| says(map, "value", "first")).await;
    assert_eq!(begun.owner_references(), []);
    assert!(!begun.annotations().keys().any(|key| key.starts_with("stepwright.dev/")), "{:?}", begun.annotations());
    let theirs = json!({"data": {"value": "theirs"}});
    running.api::<ConfigMap>().patch("begun", &PatchParams::default(), &Patch::Merge(&theirs)).await.unwrap();
    elsewhere(json!({"told": "three"})).await;
    spec(json!({"told": {"value": "three"}, "kept": 1})).await;
    running.object::<ConfigMap>("begun", |map| says(map, "value", "theirs")).await;

    // It stands for nothing any more; what was begun stays.
    elsewhere(json!({"gone": "nobody has it"})).await;
    until("the primary to retire", SOON, || async {
        running.things().get_opt("a").await.unwrap().map_or(Ok(()), |thing| Err(thing.data))
    })
    .await;
    running.object::<ConfigMap>("begun", |map| says(map, "value", "theirs")).await;
}
