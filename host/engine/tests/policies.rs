//! The policies that are shipped as examples, in Rust, JavaScript and Python, as components: each says what it is, refuses bad
//! settings, and gives its verdicts. What exactly they decide is tested natively, where they are written.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::{LazyLock, OnceLock};

use serde_json::{Value, json};
use stepwright_core::guest::Guest as _;
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::observation::{Fact, ObjectSet, Observation};
use stepwright_core::plan::{Call, Plan};
use stepwright_core::policy::Verdict;
use stepwright_core::world::World;
use stepwright_engine::{Engine, LoadedPlugin};

use crate::support::{engine, observation};

const POLICIES: [&str; 5] =
    ["service-labels", "no-load-balancer", "redb-memory-quota", "maintenance-window", "topology-spread"];

/// `plugins` in the folder that cargo builds into.
fn component(name: &str) -> Vec<u8> {
    // …/target/debug/deps/<this test>
    let folder = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("plugins");
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| {
        unreachable!("{}: {error}; run `cargo xtask build-plugins`", path.display());
    })
}

/// Each is loaded once for all tests: compiling an interpreter takes its time.
fn loaded(name: &str) -> &'static LoadedPlugin {
    static ENGINE: LazyLock<Engine> = LazyLock::new(engine);
    static LOADED: [OnceLock<LoadedPlugin>; POLICIES.len()] = [const { OnceLock::new() }; POLICIES.len()];
    let index = POLICIES.iter().position(|known| *known == name).unwrap();
    LOADED[index].get_or_init(|| ENGINE.load(&component(name)).unwrap())
}

fn object(api_version: &str, kind: &str, name: &str, body: &Value) -> Object {
    let id = ObjectRef {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: Some("ns".into()),
        name: name.into(),
    };
    Object { id, body: body.to_string() }
}

fn stateful_set(image: &str) -> Value {
    let pod = json!({ "containers": [{ "name": "node", "image": image }] });
    let selector = json!({ "matchLabels": { "app": "rec" } });
    json!({ "spec": { "selector": selector, "template": { "spec": pod } } })
}

/// With the API server's record of what the step owns.
fn running(image: &str) -> Value {
    let container = json!({ ".": {}, "f:name": {}, "f:image": {} });
    let pod = json!({ "f:spec": { "f:containers": { "k:{\"name\":\"node\"}": container } } });
    let owned = json!({ "f:spec": { "f:selector": {}, "f:template": pod } });
    let entry = json!({ "manager": "stepwright/rec", "operation": "Apply", "fieldsV1": owned });
    let mut set = stateful_set(image);
    set["metadata"] = json!({ "managedFields": [entry] });
    set
}

/// A plan that each of the policies has something to say to.
fn plan() -> Plan {
    let service = |name| object("v1", "Service", name, &json!({ "spec": { "type": "LoadBalancer" } }));
    Plan {
        desired: vec![
            object("apps/v1", "StatefulSet", "rec", &stateful_set("redis:2")),
            service("rec-b"),
            service("rec-a"),
        ],
        calls: vec![Call {
            id: "create".into(),
            target: None,
            method: "POST".into(),
            path: "/v1/bdbs".into(),
            body: Some(json!({ "memory_size": 3_u64 << 30 }).to_string()),
        }],
        ..Plan::done()
    }
}

/// As a policy sees it. 2026-11-21, when it takes place, is a Saturday.
fn seen(name: &str) -> Observation {
    let settings = match name {
        "service-labels" => json!({ "labels": { "example.com/team": "data" } }),
        "no-load-balancer" => json!({ "amend": true }),
        "redb-memory-quota" => json!({ "default": "2GB" }),
        "maintenance-window" => json!({ "weekdays": ["Sun"], "from": "01:00", "to": "05:00" }),
        _ => json!({ "maxSkew": 2 }),
    };
    let sets = match name {
        "redb-memory-quota" => vec![("databases", Vec::new())],
        "maintenance-window" => {
            vec![("statefulsets", vec![object("apps/v1", "StatefulSet", "rec", &running("redis:1"))])]
        }
        _ => Vec::new(),
    };
    let mut observed = observation("rec");
    observed.settings = settings.to_string();
    observed.objects = sets.into_iter().map(|(name, objects)| ObjectSet { name: name.into(), objects }).collect();
    if name == "redb-memory-quota" {
        observed.facts = vec![Fact { name: "bdbs".into(), value: Ok("[]".into()) }];
    }
    observed
}

/// The verdict, with a patch as a value: the languages write JSON in different forms.
fn verdict(name: &str, observed: &Observation, plan: &Plan) -> Value {
    match loaded(name).review(observed, plan).answer.unwrap() {
        Verdict::Pass => json!("pass"),
        Verdict::Amend(patch) => serde_json::from_str(&patch).unwrap(),
        Verdict::Deny(why) => json!({ "deny": why }),
        Verdict::Hold { until, reason } => json!({ "until": until, "reason": reason }),
    }
}

#[track_caller]
fn check(name: &str, expected: &Value) {
    assert_eq!(verdict(name, &seen(name), &plan()), *expected);
    let empty = Plan { desired: Vec::new(), calls: Vec::new(), ..plan() };
    assert_eq!(verdict(name, &seen(name), &empty), json!("pass"));
}

#[test]
fn services_are_labelled() {
    let labels = |path| json!({ "op": "add", "path": path, "value": { "example.com/team": "data" } });
    let expected = json!([labels("/desired/0/metadata/labels"), labels("/desired/1/metadata/labels")]);
    check("service-labels", &expected);
}

#[test]
fn load_balancers_are_turned_or_denied_in_javascript() {
    let turned = |path| json!({ "op": "replace", "path": path, "value": "ClusterIP" });
    check("no-load-balancer", &json!([turned("/desired/0/spec/type"), turned("/desired/1/spec/type")]));
    let mut observed = seen("no-load-balancer");
    observed.settings = "{}".into();
    let why = "Services of type LoadBalancer are not allowed here: `rec-a`, `rec-b`; ask for ClusterIP or NodePort";
    assert_eq!(verdict("no-load-balancer", &observed, &plan()), json!({ "deny": why }));
}

#[test]
fn a_database_beyond_the_quota_is_denied_with_numbers() {
    let why = "database `rec` asks for 3GB of memory; the quota of namespace `ns` is 2GB, and none of it is taken: at most 2GB \
               can be had; lower spec.memorySize, delete another database, or have the quota raised";
    check("redb-memory-quota", &json!({ "deny": why }));
}

#[test]
fn a_rolling_restart_is_held_until_the_window_opens() {
    let reason = "spec.template.spec.containers.[node].image of StatefulSet `rec` changes, which restarts its pods: held until the \
                  maintenance window opens (Sun 01:00 to 05:00 UTC)";
    check("maintenance-window", &json!({ "until": "2026-11-22T01:00:00Z", "reason": reason }));
}

#[test]
fn pods_are_spread_in_python() {
    let constraint = json!({
        "maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "rec" } },
    });
    let path = "/desired/2/spec/template/spec/topologySpreadConstraints";
    check("topology-spread", &json!([{ "op": "add", "path": path, "value": [constraint] }]));
}

#[test]
fn each_says_what_it_is_and_asks_for_no_more_than_it_needs() {
    for name in POLICIES {
        let plugin = loaded(name);
        assert_eq!((plugin.world(), plugin.manifest().name.as_str()), (World::Policy, name));
        let policy = plugin.manifest().policy.as_ref().unwrap();
        let writes: Vec<String> = policy.writes.iter().map(ToString::to_string).collect();
        let expected: &[&str] = match name {
            "service-labels" | "no-load-balancer" => &["v1/Service"],
            "topology-spread" => &["apps/v1/StatefulSet"],
            _ => &[],
        };
        assert_eq!(
            (writes.as_slice(), policy.calls.as_slice(), policy.status),
            (expected.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().as_slice(), &[][..], false)
        );
    }
}

#[test]
fn each_refuses_settings_that_it_does_not_know_by_their_name() {
    for name in POLICIES {
        let plugin = loaded(name);
        let violations = plugin.validate_settings(r#"{"misspelt":1}"#).unwrap();
        assert!(
            violations.iter().any(|it| format!("{}: {}", it.field, it.message).contains("misspelt")),
            "{name}: {violations:?}"
        );
        assert_eq!(plugin.validate_settings(&seen(name).settings).unwrap(), [], "{name}");
    }
}
