//! Thirty hostile plugins, one sin each, as components in ConfigMaps on a real API server: for each the host lives, other
//! primaries go on in time, the message names plugin, cause and limit, and nothing was written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use stepwright_tests::api_server::{Running, client, namespace};
use stepwright_tests::components::{self, Card, guest, table_bomb, zip_bomb};
use stepwright_tests::plugins::{engine_operator, put_plugin};
use stepwright_tests::wait::until;

/// A change to another primary is carried out within this, while the sinner sins.
const IN_TIME: Duration = Duration::from_secs(2);
/// A sin is told of within this.
const TOLD: Duration = Duration::from_secs(10);
/// How many primaries there are beside the victim.
const OTHERS: usize = 3;

/// The sin that is watched until its version is taken back by itself.
const ROLLED_BACK: &str = "memory-bomb";

/// What becomes of a sin.
enum End {
    /// The component is not taken up.
    Refused,
    /// It is taken up, and its answer to the victim is not carried out.
    Stopped,
    /// It is taken up, its sin comes to nothing, and its answer is carried out.
    Harmless,
}
use End::{Harmless, Refused, Stopped};

struct Row {
    sin: &'static str,
    end: End,
    /// The reason word, and what the message says beside the plugin's name.
    reason: &'static str,
    says: &'static [&'static str],
    /// Key and bytes of the ConfigMap's `binaryData`.
    key: &'static str,
    bytes: Vec<u8>,
}

/// A sin that `tests/guests/sinner` commits.
fn sin(sin: &'static str, end: End, reason: &'static str, says: &'static [&'static str]) -> Row {
    file(sin, end, reason, says, Card::sinner(sin).component())
}

/// A sin that lies in the bytes.
fn file(sin: &'static str, end: End, reason: &'static str, says: &'static [&'static str], bytes: Vec<u8>) -> Row {
    Row { sin, end, reason, says, key: "plugin.wasm", bytes }
}

fn limited(name: &str, limits: serde_json::Value) -> Vec<u8> {
    Card::sinner(name).with_limits(limits).component()
}

fn rows() -> Vec<Row> {
    let tight = |name: &str| limited(name, json!({"milliseconds": 50}));
    let roomy = |name: &str| limited(name, json!({"memoryMib": 256, "milliseconds": 10_000}));
    let garbled = Card::sinner("invalid-utf8").with_words(b"{\"data\":{\"value\":\"\xff\xfe\"}}").component();
    let huge = Card { packed: false, ..Card::sinner("huge-manifest") };
    let mut described = huge.manifest.clone();
    described["description"] = "x".repeat(900_000).into();
    let half = Card::good("truncated", "").component();
    vec![
        // What a call may use.
        file("endless-loop", Stopped, "PluginDeadlineExceeded", &["50ms", "deadline"], tight("endless-loop")),
        sin("memory-bomb", Stopped, "PluginMemoryExceeded", &["64 MiB"]),
        file(
            "table-bomb",
            Refused,
            "PluginTooLarge",
            &["table", "100000000", "20000"],
            table_bomb(&Card::sinner("table-bomb")),
        ),
        sin("stack-overflow", Stopped, "PluginTrapped", &["stack"]),
        file("huge-output", Stopped, "PluginPlanTooLarge", &["4096 KiB"], roomy("huge-output")),
        file("million-items", Stopped, "PluginPlanTooLarge", &["4096 KiB"], roomy("million-items")),
        sin("log-flood", Stopped, "PluginLogExceeded", &["lines", "limits of 100 lines"]),
        sin("call-flood", Stopped, "PlanTooLarge", &["300 calls", "256"]),
        // What an answer may look like.
        sin("malformed-json", Stopped, "PlanMalformed", &["ConfigMap", "not a JSON object"]),
        sin("duplicate-keys", Stopped, "PlanMalformed", &["ConfigMap", "data", "twice"]),
        file("invalid-utf8", Stopped, "PluginGarbled", &["utf-8"], garbled),
        sin("deep-nesting", Stopped, "PlanMalformed", &["deeper than 64"]),
        sin("unknown-fields", Stopped, "UnknownFields", &["dada"]),
        sin("owner-of-another", Stopped, "PlanMalformed", &["metadata.ownerReferences"]),
        sin("echoes-observed", Stopped, "PlanMalformed", &["metadata.", "may not be set"]),
        // What it may do.
        sin("wrong-kind", Stopped, "KindNotGranted", &["Pod", "v1/ConfigMap"]),
        sin("foreign-namespace", Stopped, "ForeignNamespace", &["kube-system"]),
        sin("cluster-scoped", Stopped, "ClusterScoped", &["Namespace"]),
        sin("foreign-field", Stopped, "FieldConflict", &["theirs", "data.value", "somebody"]),
        sin("call-not-granted", Stopped, "CallNotGranted", &["PUT /v1/users", "PUT /v1/bdbs"]),
        sin("strangers-secret", Stopped, "SecretNotGranted", &["stranger"]),
        // How it may behave.
        sin("trap-in-describe", Refused, "PluginTrapped", &["rather not say"]),
        sin("traps-every-third", Stopped, "PluginTrapped", &["I do not like"]),
        sin("different-answers", Harmless, "", &[]),
        // What it may be.
        file("newer-contract", Refused, "PluginIncompatible", &["0.2.0", "0.1.0"], guest("newer-contract")),
        file("core-module", Refused, "PluginIncompatible", &["component"], components::core_module()),
        file("truncated", Refused, "PluginIncompatible", &[], half[..half.len() / 2].to_vec()),
        file(
            "compile-bomb",
            Refused,
            "PluginCompile",
            &["limit"],
            components::compile_bomb(&Card::sinner("compile-bomb"), 3_000, 3_000),
        ),
        Row { key: "plugin.wasm.zst", ..file("zip-bomb", Refused, "PluginTooLarge", &["33554432"], zip_bomb(1 << 32)) },
        file(
            "huge-manifest",
            Refused,
            "PluginTooLarge",
            &["manifest", "65536"],
            components::packed(huge.component(), "0.1.0", "step-plugin", &described),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_hostile_plugins_harm_nobody_but_themselves() {
    let client = client().await;
    let home = namespace(&client).await;
    let good = Card::good("good", "good").component();
    let running = engine_operator(client.clone(), home, &["step"], &[&good]).await;
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"value": "theirs"}});
    let maps = running.api::<ConfigMap>();
    let parameters = PostParams { field_manager: Some("somebody".into()), ..PostParams::default() };
    maps.create(&parameters, &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let stranger = json!({"metadata": {"name": "stranger"}, "stringData": {"password": "hunter2"}});
    running.api::<Secret>().create(&parameters, &serde_json::from_value(stranger).unwrap()).await.unwrap();
    let mut others = Others { running: &running, turn: 0, slowest: Duration::ZERO };
    others.go_on("before").await;

    let only = std::env::var("STEPWRIGHT_SIN").ok();
    let mut wrong = Vec::new();
    let rows = rows();
    assert_eq!(rows.len(), 30);
    for row in rows.into_iter().filter(|row| only.as_deref().is_none_or(|only| only == row.sin)) {
        let began = Instant::now();
        let before = others.slowest;
        others.slowest = Duration::ZERO;
        let said = commit(&running, &mut others, &row).await;
        println!(
            "{:18} {:5} ms, others within {:4} ms: {}",
            row.sin,
            began.elapsed().as_millis(),
            others.slowest.as_millis(),
            said.as_ref().unwrap_or_else(|wrong| wrong)
        );
        others.slowest = others.slowest.max(before);
        wrong.extend(said.err().map(|error| format!("{}: {error}", row.sin)));
    }
    assert!(running.lives(), "the operator ended");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(others.slowest < IN_TIME, "another primary waited for {:?}", others.slowest);
}

/// Puts the plugin there, shows it the victim, and takes it away again. What was said of it; an error says what was not so.
async fn commit(running: &Running, others: &mut Others<'_>, row: &Row) -> Result<String, String> {
    let victim = format!("victim-{}", row.sin);
    let before = world(running).await;
    put_plugin(running, row.sin, row.key, &row.bytes, json!({}), &[]).await;
    // Until it is taken up or refused, there is nothing to see.
    let state = until(&format!("{} to be taken up or refused", row.sin), TOLD, || async {
        let map = running.api::<ConfigMap>().get(row.sin).await.map_err(|error| error.to_string())?;
        map.annotations().get("stepwright.dev/state").cloned().ok_or_else(|| format!("{:?}", map.metadata))
    })
    .await;
    running.apply(&victim, json!({"value": "3", "victim": true})).await;
    let mut outcome = match row.end {
        Harmless => {
            let _: ConfigMap = running.object(&format!("{victim}-config"), |_| true).await;
            Ok(format!("{state}, harmless"))
        }
        Refused | Stopped => told(running, row, &victim).await,
    };
    others.go_on(row.sin).await;
    // A refused plugin leaves the good one at work, for the victim too.
    if matches!(row.end, Stopped) {
        let after = world(running).await;
        if before != after {
            outcome = Err(format!("something was written: {before:?} became {after:?}"));
        }
    }
    if row.sin == ROLLED_BACK {
        until("the version to be taken back", TOLD, || async {
            let map = running.api::<ConfigMap>().get(row.sin).await.unwrap();
            let reason = map.annotations().get("stepwright.dev/reason").cloned().unwrap_or_default();
            if reason.starts_with("PluginRolledBack") && reason.contains("64 MiB") { Ok(()) } else { Err(reason) }
        })
        .await;
        let events = running.events(row.sin).await;
        assert!(events.iter().any(|(reason, _)| reason == "PluginRolledBack"), "{events:?}");
    }
    if matches!(row.end, Refused) != (state == "refused") {
        outcome = Err(format!("it came to be `{state}`"));
    }

    running.api::<ConfigMap>().delete(row.sin, &DeleteParams::default()).await.unwrap();
    let healed = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["by"] == "good");
    running.object(&format!("{victim}-config"), healed).await;
    running.condition(&victim, "Degraded", "False").await;
    running.things().delete(&victim, &DeleteParams::default()).await.unwrap();
    others.go_on("after").await;
    outcome
}

/// Everything that people see about the plugin and its victim: condition, Events, annotations. Waits until the reason and all
/// that it should say is there in one of them.
async fn told(running: &Running, row: &Row, victim: &str) -> Result<String, String> {
    let began = Instant::now();
    loop {
        let mut texts = Vec::new();
        let map = running.api::<ConfigMap>().get(row.sin).await.unwrap();
        texts.extend(map.annotations().get("stepwright.dev/reason").cloned());
        let thing = running.things().get(victim).await.unwrap();
        for condition in thing.data.pointer("/status/conditions").and_then(|it| it.as_array()).into_iter().flatten() {
            texts.push(format!(
                "{}: {}",
                condition["reason"].as_str().unwrap(),
                condition["message"].as_str().unwrap()
            ));
        }
        for about in [victim, row.sin] {
            texts.extend(running.events(about).await.into_iter().map(|(reason, note)| format!("{reason}: {note}")));
        }
        let fits = |text: &&String| {
            text.contains(row.reason) && row.says.iter().all(|part| text.contains(part)) && names_plugin(text, row)
        };
        if let Some(text) = texts.iter().find(fits) {
            return Ok(text.clone());
        }
        if began.elapsed() > TOLD {
            return Err(format!("wanted {} and {:?}; was told: {texts:#?}", row.reason, row.says));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A plugin that could not be read has no name; what is said of it stands on its ConfigMap.
fn names_plugin(text: &str, row: &Row) -> bool {
    matches!(row.end, Refused)
        || text.contains(&format!("`{}`", row.sin))
        || text.contains(&format!("plugin {}@", row.sin))
}

/// What there is in the namespace but for plugins and their history, what the others want and what the good step wrote; and all
/// namespaces.
async fn world(running: &Running) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut note = |kind: &str, metadata: &kube::api::ObjectMeta| {
        let name = metadata.name.clone().unwrap_or_default();
        let labels = metadata.labels.clone().unwrap_or_default();
        let hosts = name == "stepwright-history";
        if !hosts && !name.starts_with("other-") && !labels.contains_key("stepwright.dev/plugin") {
            all.insert(format!("{kind} {name}"), metadata.resource_version.clone().unwrap_or_default());
        }
    };
    let list = ListParams::default();
    // Once a sinner is rolled back, the version below it writes what it should.
    let good = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.get("by").is_some_and(|by| by == "good"));
    let maps = running.api::<ConfigMap>().list(&list).await.unwrap();
    maps.iter().filter(|map| !good(map)).for_each(|it| note("ConfigMap", it.meta()));
    running.api::<Secret>().list(&list).await.unwrap().iter().for_each(|it| note("Secret", it.meta()));
    running.api::<Service>().list(&list).await.unwrap().iter().for_each(|it| note("Service", it.meta()));
    running.api::<Pod>().list(&list).await.unwrap().iter().for_each(|it| note("Pod", it.meta()));
    let namespaces: Api<Namespace> = Api::all(running.client.clone());
    for namespace in namespaces.list(&list).await.unwrap() {
        all.insert(format!("Namespace {}", namespace.name_any()), String::new());
    }
    all.insert("calls".to_owned(), running.table.calls.lock().len().to_string());
    all
}

/// The primaries that the sinner should not be able to hold up.
struct Others<'a> {
    running: &'a Running,
    turn: u32,
    slowest: Duration,
}

impl Others<'_> {
    /// Changes each, and waits until the change is carried out.
    async fn go_on(&mut self, when: &str) {
        self.turn += 1;
        let value = self.turn.to_string();
        for other in 0..OTHERS {
            let name = format!("other-{other}");
            let began = Instant::now();
            self.running.apply(&name, json!({"value": value})).await;
            let carried_out = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["value"] == value);
            let _: ConfigMap = self.running.object(&format!("{name}-config"), carried_out).await;
            let took = began.elapsed();
            assert!(took < IN_TIME, "{name} waited for {took:?} ({when})");
            self.slowest = self.slowest.max(took);
        }
    }
}
