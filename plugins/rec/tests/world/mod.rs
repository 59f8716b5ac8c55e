//! A cluster as the step would observe it, said in few words.

#![allow(dead_code, reason = "each test file uses a part")]

use serde_json::{Map, Value, json};
use stepwright_rec::Rec;
use stepwright_sdk::testing::{Given, readable};
use stepwright_sdk::{Failure, Plan};

/// When the resource was made.
pub(crate) const BORN: &str = "2026-01-01T00:00:10Z";
/// When a claim was made that is older than the resource.
pub(crate) const BEFORE: &str = "2025-12-31T00:00:00Z";

pub(crate) struct World {
    pub(crate) spec: Value,
    pub(crate) status: Value,
    pub(crate) deleting: bool,
    /// Pod name, address (none: not running yet), and what it answers to `GET /v1/bootstrap`.
    pub(crate) pods: Vec<(String, Option<String>, Value)>,
    /// Ordinal and time of creation.
    pub(crate) claims: Vec<(u32, String)>,
    /// Claims as a whole, for those that look at sizes.
    pub(crate) sized_claims: Vec<Value>,
    pub(crate) statefulset: Option<Value>,
    pub(crate) secrets: Vec<Value>,
    pub(crate) rivals: Vec<Value>,
    pub(crate) databases: Vec<Value>,
    pub(crate) facts: Vec<(String, Value)>,
    /// Why the cluster's nodes are not known, where it is not for want of a fact.
    pub(crate) unknown: Option<String>,
    pub(crate) replies: Vec<(String, u16, Value)>,
    pub(crate) round: u32,
    /// Racks of the Kubernetes nodes of the first pods; the others have no label.
    pub(crate) racks: Vec<String>,
    /// Why Kubernetes nodes cannot be read, if they cannot.
    pub(crate) nodes_unreadable: Option<String>,
    /// What of the last plan the host left undone: kind, name, reason, message.
    pub(crate) refused: Option<[&'static str; 4]>,
    /// Revisions of the first pods' templates.
    pub(crate) revisions: Vec<String>,
    /// More labels: pod and key.
    pub(crate) labels: Vec<(String, String)>,
    /// Why the containers of the first pods wait, if they do.
    pub(crate) stuck: Vec<String>,
    pub(crate) configmaps: Vec<Value>,
    /// PodDisruptionBudgets: name and selector.
    pub(crate) budgets: Vec<(String, Value)>,
    /// Accounts that an admin made.
    pub(crate) broker_accounts: Vec<Value>,
    /// The services rigger's.
    pub(crate) accounts: Vec<Value>,
    /// The time, if it matters.
    pub(crate) now: String,
    /// What the step `upgrade` says of a change of version.
    pub(crate) upgrade: Value,
}

impl Default for World {
    fn default() -> Self {
        Self {
            spec: json!({ "nodes": 3 }),
            status: json!({}),
            deleting: false,
            pods: Vec::new(),
            claims: Vec::new(),
            sized_claims: Vec::new(),
            statefulset: None,
            secrets: Vec::new(),
            rivals: Vec::new(),
            databases: Vec::new(),
            facts: Vec::new(),
            unknown: None,
            replies: Vec::new(),
            round: 0,
            racks: Vec::new(),
            nodes_unreadable: None,
            refused: None,
            revisions: Vec::new(),
            labels: Vec::new(),
            stuck: Vec::new(),
            configmaps: Vec::new(),
            budgets: Vec::new(),
            broker_accounts: Vec::new(),
            accounts: Vec::new(),
            now: "2026-01-01T00:00:00Z".to_owned(),
            upgrade: json!({}),
        }
    }
}

pub(crate) fn says(state: &str) -> Value {
    json!({ "bootstrap_status": { "state": state } })
}

pub(crate) fn ip(ordinal: u32) -> String {
    format!("10.9.0.{}", 10 + ordinal)
}

pub(crate) fn statefulset(ready: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "rec", "generation": 1 },
        "spec": { "volumeClaimTemplates": [
            { "metadata": { "name": "redis-enterprise-storage" }, "spec": { "resources": { "requests": { "storage": "20Gi" } } } },
        ] },
        "status": { "observedGeneration": 1, "readyReplicas": ready, "currentRevision": "a", "updateRevision": "a" },
    })
}

pub(crate) fn credentials() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "rec" },
        "data": { "username": "fp:1", "password": "fp:2", "license": "fp:3" },
    })
}

/// What `GET /v1/nodes` and `/v1/nodes/status` say of these ordinals.
pub(crate) fn listed(ordinals: impl IntoIterator<Item = u32>) -> Vec<(String, Value)> {
    let mut nodes = Vec::new();
    let mut status = Map::new();
    for (index, ordinal) in ordinals.into_iter().enumerate() {
        let role = if index == 0 { "master" } else { "slave" };
        nodes.push(json!({
            "uid": ordinal + 1, "addr": ip(ordinal), "status": "active", "software_version": "8.0.20-44",
            "supported_database_versions": [
                { "db_type": "redis", "version": "8.0.2", "redis_version": "8.0", "major": true },
                { "db_type": "memcached", "version": "1.4.17" },
            ],
        }));
        let entry = json!({ "hostname": format!("rec-{ordinal}"), "node_status": "active", "role": role });
        status.insert((ordinal + 1).to_string(), entry);
    }
    vec![("nodes".into(), Value::Array(nodes)), ("nodes-status".into(), Value::Object(status))]
}

/// What a cluster of these nodes answers.
pub(crate) fn answers(ordinals: impl IntoIterator<Item = u32>) -> Vec<(String, Value)> {
    let mut facts = listed(ordinals);
    facts.push(("cluster".into(), json!({ "name": "rec.ns.svc.cluster.local", "handle_redirects": true })));
    facts.push((
        "license".into(),
        json!({
            "license": "", "expired": false, "owner": null, "shards_limit": 4, "ram_shards_in_use": 0,
            "flash_shards_in_use": 0, "activation_date": "2026-01-01T00:00:00Z",
            "expiration_date": "2026-01-31T00:00:00Z", "features": ["trial", "bigstore"],
        }),
    ));
    facts.push((
        "modules".into(),
        json!([
            { "uid": "b", "module_name": "search", "display_name": "RediSearch 2", "semantic_version": "8.2.0" },
            { "uid": "a", "module_name": "bf", "display_name": "RedisBloom", "semantic_version": "8.2.0" },
        ]),
    ));
    facts
}

/// The services rigger's account.
pub(crate) fn account() -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "rec-services-rigger", "uid": "uid-of-it" } })
}

/// What a host says of itself that leaves the services rigger to a process of its own.
pub(crate) fn host() -> Value {
    json!({
        "image": "registry:5000/stepwright/operator:0.1.0", "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": ["operator-pull"],
        "delegated": { "services-rigger": {
            "arguments": ["run", "--steps=services-rigger"],
            "rules": [{ "apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch", "create"] }],
        } },
    })
}

impl World {
    /// The pods are up, nothing is bootstrapped.
    pub(crate) fn pods_up() -> Self {
        let pod = |ordinal| (format!("rec-{ordinal}"), Some(ip(ordinal)), says("idle"));
        Self {
            status: json!({ "state": "BootstrappingFirstPod", "specStatus": "Valid" }),
            statefulset: Some(statefulset(0)),
            secrets: vec![credentials()],
            pods: (0..3).map(pod).collect(),
            claims: (0..3).map(|ordinal| (ordinal, BORN.to_owned())).collect(),
            ..Self::default()
        }
    }

    /// The first `members` nodes are in the cluster, and the status knows of it.
    pub(crate) fn formed(members: u32) -> Self {
        let mut world = Self::pods_up();
        for ordinal in 0..members {
            world.says(ordinal, says("completed"));
        }
        world.facts = answers(0..members);
        world.status = json!({ "state": "Initializing", "clusterCredentialSecretName": "rec" });
        world.statefulset = Some(statefulset(members));
        world
    }

    /// Everything is as it should be.
    pub(crate) fn running() -> Self {
        let mut world = Self::formed(3);
        world.status = json!({ "state": "Running", "clusterCredentialSecretName": "rec" });
        world
    }

    pub(crate) fn says(&mut self, ordinal: u32, answer: Value) {
        self.pods[ordinal as usize].2 = answer;
    }

    pub(crate) fn given(&self) -> Given {
        let mut metadata = json!({ "name": "rec", "namespace": "ns", "creationTimestamp": BORN, "generation": 1 });
        if self.deleting {
            metadata["deletionTimestamp"] = json!("2026-02-01T00:00:00Z");
        }
        let primary = json!({
            "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
            "metadata": metadata, "spec": self.spec, "status": self.status,
        });
        let mut image =
            json!({ "image": "redislabs/redis:8.0.20-44.23", "tag": "8.0.20-44.23", "pullPolicy": "IfNotPresent" });
        for (field, value) in self.upgrade.as_object().into_iter().flatten() {
            image[field] = value.clone();
        }
        let mut given = Given::new::<Rec>(&primary).note("upgrade", &image).round(self.round).now(&self.now);
        let mut bootstrap = Map::new();
        for (name, ip, answer) in &self.pods {
            let ordinal: usize = name.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or_default();
            let mut pod =
                json!({ "kind": "Pod", "metadata": { "name": name, "labels": {} }, "status": { "podIP": ip } });
            let worker = format!("worker-{ordinal}");
            pod["spec"] = json!({ "nodeName": worker });
            let mut node = json!({ "kind": "Node", "metadata": { "name": worker, "labels": {} } });
            if let Some(rack) = self.racks.get(ordinal) {
                node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(rack);
            }
            for (_, key) in self.labels.iter().filter(|(pod, _)| pod == name) {
                pod["metadata"]["labels"][key] = json!("");
            }
            given = given.object("kubernetes-nodes", &node);
            if let Some(revision) = self.revisions.get(ordinal) {
                pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
            }
            if let Some(reason) = self.stuck.get(ordinal).filter(|reason| !reason.is_empty()) {
                pod["status"]["containerStatuses"] = json!([{ "state": { "waiting": { "reason": reason } } }]);
            }
            given = given.object("pods", &pod);
            if ip.is_some() {
                bootstrap.insert(name.clone(), answer.clone());
            }
        }
        given = given.fact("bootstrap", &Value::Object(bootstrap));
        for (ordinal, time) in &self.claims {
            let name = format!("redis-enterprise-storage-rec-{ordinal}");
            let metadata = json!({ "name": name, "creationTimestamp": time });
            let claim =
                json!({ "kind": "PersistentVolumeClaim", "metadata": metadata, "status": { "phase": "Bound" } });
            given = given.object("claims", &claim);
        }
        let sets = [
            ("claims", self.sized_claims.as_slice()),
            ("statefulsets", self.statefulset.as_slice()),
            ("secrets", &self.secrets),
            ("rivals", &self.rivals),
            ("databases", &self.databases),
            ("configmaps", &self.configmaps),
            ("accounts", &self.broker_accounts),
            ("rigger-accounts", &self.accounts),
        ];
        for (set, objects) in sets {
            for object in objects {
                given = given.object(set, object);
            }
        }
        for (name, selector) in &self.budgets {
            let metadata = json!({ "name": name });
            let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": { "selector": selector } });
            given = given.object("budgets", &budget);
        }
        for name in self.unknown.iter().flat_map(|_| ["nodes", "nodes-status"]) {
            given = given.unknown(name, self.unknown.as_deref().unwrap_or_default());
        }
        if let Some(why) = &self.nodes_unreadable {
            given = given.unreadable("kubernetes-nodes", why);
        }
        if let Some([kind, name, reason, message]) = self.refused {
            given = given.refused(kind, name, reason, message);
        }
        for (name, fact) in &self.facts {
            given = given.fact(name, fact);
        }
        for (id, status, body) in &self.replies {
            given = given.reply(id, *status, body);
        }
        given
    }

    pub(crate) fn run(&self) -> Result<Plan, Failure> {
        self.given().run::<Rec>()
    }

    /// The plan as a value.
    #[track_caller]
    pub(crate) fn plan(&self) -> Value {
        readable(&self.run().expect("a plan"))
    }

    /// The plan without the objects, which are the same in most states.
    #[track_caller]
    pub(crate) fn answer(&self) -> Value {
        let mut plan = self.plan();
        let desired = plan.as_object_mut().expect("an object").remove("desired");
        plan["objects"] = json!(desired.map_or(0, |desired| desired.as_array().map_or(0, Vec::len)));
        plan
    }

    /// `METHOD path to target` of each call.
    #[track_caller]
    pub(crate) fn requests(&self) -> Vec<String> {
        let plan = self.plan();
        let calls = plan["calls"].as_array().cloned().unwrap_or_default();
        calls.iter().map(|call| call["request"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn state(&self) -> String {
        self.plan()["status"]["state"].as_str().unwrap_or_default().to_owned()
    }
}
