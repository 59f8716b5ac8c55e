//! What Stepwright is compared with: an operator as one writes it with kube-rs. Two Controllers, reflectors of whole objects, the
//! same steps compiled in, and what they plan applied by server-side apply.
//!
//! It has none of what Stepwright adds: no sandbox, no admission, policies, journal, drift reports, conditions, plugins or
//! leadership. It is no straw man either: what it read of the REST API serves all passes for a second, of a long list a step gets the part that
//! its manifest names, and nothing is applied twice that was applied before.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef as StoreRef, Store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource as _, ResourceExt, discovery};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepwright_core::guest::Guest;
use stepwright_core::manifest::{Observe, Select, StepManifest, Within};
use stepwright_core::mask::mask;
use stepwright_core::object::{Object, ObjectRef, TypeRef};
use stepwright_core::observation::{Fact, ObjectSet, Observation, Reply, failure};
use stepwright_core::part::has;
use stepwright_core::plan::{Call, Failure, Plan, Progress, Severity};
use stepwright_core::secrets::{self, Directive, Fingerprinter, SecretError};
use stepwright_core::select::{Selection, each, says};
use stepwright_tests::world::{NAMESPACE, http};

use crate::compiled_in::CompiledIn;
use crate::many::{Many, redb};

/// What was read of the REST API is believed for so long.
const BELIEVED: Duration = Duration::from_secs(1);
/// How often a resource at rest is looked at again: nothing else tells of changes in Redis Enterprise.
const AT_REST: Duration = Duration::from_secs(60);
/// The cluster sooner: endpoints are followed by it.
const CLUSTER_AT_REST: Duration = Duration::from_secs(10);
const ROUNDS: u32 = 8;
const FACTS: [(&str, &str); 8] = [
    ("bdbs", "/v1/bdbs"),
    ("license", "/v1/license"),
    ("cluster", "/v1/cluster"),
    ("policy", "/v1/cluster/policy"),
    ("nodes", "/v1/nodes"),
    ("nodes-status", "/v1/nodes/status"),
    ("modules", "/v1/modules"),
    ("bootstrap", "/v1/bootstrap"),
];
const SECRET_FIELDS: [&str; 3] = ["authentication_redis_pass", "authentication_admin_pass", "authentication_sasl_pass"];
const PORT: u16 = 8080;

/// Starts it as a process of its own, with what it would read from its environment.
pub async fn start(many: &Many) -> anyhow::Result<tokio::process::Child> {
    let world = &many.world;
    let nodes: Vec<String> = ["rec-0", "rec-1", "rec-2"]
        .into_iter()
        .map(|pod| Ok(format!("{pod}={}", world.address(pod)?)))
        .collect::<anyhow::Result<_>>()?;
    let login = format!("{}:{}", world.secret("rec", "username")?, world.secret("rec", "password")?);
    let child = tokio::process::Command::new(std::env::current_exe()?)
        .arg("--be-plain")
        .env("KUBECONFIG", world.cluster.kubeconfig())
        .env("PLAIN_NODES", nodes.join(","))
        .env("PLAIN_LOGIN", login)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// What the REST API said, or why that is not known.
type Read = Arc<Result<Value, String>>;

struct Plain {
    client: Client,
    recorder: Recorder,
    stores: HashMap<TypeRef, (ApiResource, Store<DynamicObject>)>,
    fingerprinter: Fingerprinter,
    nodes: Vec<(String, Ipv4Addr)>,
    login: (String, String),
    /// Which node answered last.
    master: Mutex<usize>,
    read: tokio::sync::Mutex<HashMap<String, (Instant, Read)>>,
    /// What was applied, by manager and object.
    applied: Mutex<HashMap<(String, ObjectRef), [u8; 32]>>,
}

/// A kind that is reconciled, and its steps.
struct Pipeline {
    plain: Arc<Plain>,
    kind: TypeRef,
    steps: Vec<Arc<dyn Guest>>,
    at_rest: Duration,
}

/// Runs until the process ends.
pub async fn run() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_default().await?;
    let cluster: Vec<Arc<dyn Guest>> = vec![
        Arc::new(CompiledIn::<stepwright_upgrade::Upgrade>::new()?),
        Arc::new(CompiledIn::<stepwright_rec::Rec>::new()?),
        Arc::new(CompiledIn::<stepwright_services_rigger::ServicesRigger>::new()?),
    ];
    let database: Vec<Arc<dyn Guest>> = vec![Arc::new(CompiledIn::<stepwright_redb::Redb>::new()?)];
    let mut kinds = vec![cluster_type(), database_type()];
    for step in cluster.iter().chain(&database).flat_map(|guest| &guest.manifest().steps) {
        kinds.extend(step.observes.iter().filter(|it| it.is_required()).map(Observe::type_ref));
        kinds.extend(step.writes.iter().cloned());
    }
    kinds.sort();
    kinds.dedup();
    let mut stores = HashMap::new();
    for kind in kinds {
        let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.kind);
        // What is not served here is needed by nobody.
        let Ok((resource, _)) = discovery::pinned_kind(&client, &gvk).await else { continue };
        let writer = Writer::new(resource.clone());
        let store = writer.as_reader();
        let events = watcher(Api::all_with(client.clone(), &resource), watcher::Config::default()).default_backoff();
        tokio::spawn(reflector(writer, events).for_each(|_| async {}));
        stores.insert(kind, (resource, store));
    }
    for (_, store) in stores.values() {
        store.wait_until_ready().await?;
    }
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let nodes = variable("PLAIN_NODES")?;
    let nodes = nodes.split(',').filter_map(|pair| pair.split_once('='));
    let nodes = nodes.map(|(pod, ip)| Ok((pod.to_owned(), ip.parse()?))).collect::<anyhow::Result<_>>()?;
    let login = variable("PLAIN_LOGIN")?;
    let (user, password) = login.split_once(':').context("PLAIN_LOGIN is USER:PASSWORD")?;
    let plain = Arc::new(Plain {
        client: client.clone(),
        recorder: Recorder::new(client, Reporter { controller: "plain".to_owned(), instance: None }),
        stores,
        fingerprinter: Fingerprinter::new([7; 32]),
        nodes,
        login: (user.to_owned(), password.to_owned()),
        master: Mutex::default(),
        read: tokio::sync::Mutex::default(),
        applied: Mutex::default(),
    });
    let clusters = Pipeline { plain: plain.clone(), kind: cluster_type(), steps: cluster, at_rest: CLUSTER_AT_REST };
    let databases = Pipeline { plain, kind: database_type(), steps: database, at_rest: AT_REST };
    tokio::join!(control(clusters), control(databases)).0
}

async fn control(pipeline: Pipeline) -> anyhow::Result<()> {
    let plain = pipeline.plain.clone();
    let (resource, _) = plain.stores.get(&pipeline.kind).context("the CRDs are not installed")?.clone();
    let (secrets, _) = plain.stores.get(&TypeRef::new("v1", "Secret")).context("no Secrets")?.clone();
    let api: Api<DynamicObject> = Api::all_with(plain.client.clone(), &resource);
    let owned: Api<DynamicObject> = Api::all_with(plain.client.clone(), &secrets);
    Controller::new_with(api, watcher::Config::default(), resource)
        .owns_with(owned, secrets, watcher::Config::default())
        .with_config(Config::default().concurrency(16))
        .run(
            reconcile,
            |_, error: &Failed, _| {
                eprintln!("{error}");
                Action::requeue(Duration::from_secs(5))
            },
            Arc::new(pipeline),
        )
        .for_each(|_| async {})
        .await;
    bail!("a controller ended")
}

fn cluster_type() -> TypeRef {
    TypeRef::new("app.redislabs.com/v1", "RedisEnterpriseCluster")
}

fn database_type() -> TypeRef {
    let resource = redb();
    TypeRef::new(resource.api_version, resource.kind)
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Failed(#[from] anyhow::Error);

async fn reconcile(object: Arc<DynamicObject>, pipeline: Arc<Pipeline>) -> Result<Action, Failed> {
    let plain = &pipeline.plain;
    let primary = Primary::new(&pipeline.kind, &object)?;
    plain.hold(&primary).await?;
    let mut notes: Vec<(String, String)> = Vec::new();
    let mut again = pipeline.at_rest;
    for guest in &pipeline.steps {
        let step = guest.manifest().steps.first().context("a plugin without a step")?;
        let Some(plan) = plain.step(guest, step, &primary, &notes).await? else {
            return Ok(Action::requeue(AT_REST));
        };
        if let Some(note) = plan.notes {
            notes.push((step.name.clone(), note));
        }
        match plan.progress {
            Progress::Done => {}
            Progress::Waiting(wait) => again = wait.again_in.map_or(again, |it| it.min(again)),
            Progress::Blocked(wait) => return Ok(Action::requeue(wait.again_in.map_or(again, |it| it.min(again)))),
        }
    }
    Ok(Action::requeue(again))
}

struct Primary {
    kind: TypeRef,
    id: ObjectRef,
    uid: String,
    deleting: bool,
    value: Value,
}

impl Primary {
    fn new(kind: &TypeRef, object: &DynamicObject) -> anyhow::Result<Self> {
        let id = ObjectRef {
            api_version: kind.api_version.clone(),
            kind: kind.kind.clone(),
            namespace: object.namespace(),
            name: object.name_any(),
        };
        let (uid, deleting) = (object.uid().unwrap_or_default(), object.metadata.deletion_timestamp.is_some());
        Ok(Self { kind: kind.clone(), id, uid, deleting, value: serde_json::to_value(object)? })
    }

    fn namespace(&self) -> &str {
        self.id.namespace.as_deref().unwrap_or_default()
    }
}

impl Plain {
    /// Asks a step until it wants no more calls, and applies each plan. `None`: the spec is invalid.
    async fn step(
        &self,
        guest: &Arc<dyn Guest>,
        step: &StepManifest,
        primary: &Primary,
        notes: &[(String, String)],
    ) -> anyhow::Result<Option<Plan>> {
        let mut replies = Vec::new();
        for round in 0..ROUNDS {
            let observed = self.observe(step, primary, notes, &replies, round).await?;
            let guest = guest.clone();
            let answer = tokio::task::spawn_blocking(move || guest.ask(&observed).answer).await??;
            let plan = match answer {
                Ok(plan) => plan,
                Err(Failure::Invalid(_)) => return Ok(None),
                Err(Failure::Transient(why)) => bail!("{why}"),
            };
            for object in &plan.desired {
                self.desire(&step.name, primary, object).await?;
            }
            for object in &plan.amended {
                let manager = format!("plain/{}/{}", step.name, primary.id.name);
                self.apply(&manager, &object.id, serde_json::from_str(&object.body)?, false).await?;
            }
            if let Some(defaults) = &plan.defaults {
                let body = json!({"spec": serde_json::from_str::<Value>(defaults)?});
                self.apply(&format!("plain/{}/defaults", step.name), &primary.id, body, false).await?;
            }
            if !plan.calls.is_empty() {
                replies = Vec::new();
                for call in &plan.calls {
                    replies.push(self.call(primary, call).await?);
                }
                continue;
            }
            if let Some(status) = &plan.status {
                let body = json!({"status": serde_json::from_str::<Value>(status)?});
                self.apply(&format!("plain/{}", step.name), &primary.id, body, true).await?;
            }
            for event in &plan.events {
                self.publish(primary, event).await?;
            }
            return Ok(Some(plan));
        }
        bail!("too many rounds")
    }

    async fn publish(&self, primary: &Primary, event: &stepwright_core::plan::Event) -> anyhow::Result<()> {
        let (resource, _) = self.stores.get(&primary.kind).context("a kind that is not watched")?;
        let object: DynamicObject = serde_json::from_value(primary.value.clone())?;
        let type_ = match event.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        };
        let (reason, note) = (event.reason.clone(), Some(event.message.clone()));
        let event = Event { type_, action: reason.clone(), reason, note, secondary: None };
        self.recorder.publish(&event, &object.object_ref(resource)).await?;
        Ok(())
    }

    /// Puts the finalizer on, if it is not.
    async fn hold(&self, primary: &Primary) -> anyhow::Result<()> {
        let held = primary.value.pointer("/metadata/finalizers").and_then(Value::as_array);
        if held.is_some_and(|held| !held.is_empty()) {
            return Ok(());
        }
        let (resource, _) = self.stores.get(&primary.kind).context("a kind that is not watched")?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), primary.namespace(), resource);
        let body = json!({"metadata": {"finalizers": ["example.com/plain"]}});
        api.patch(&primary.id.name, &PatchParams::default(), &Patch::Merge(&body)).await?;
        Ok(())
    }

    async fn observe(
        &self,
        step: &StepManifest,
        primary: &Primary,
        notes: &[(String, String)],
        replies: &[Reply],
        round: u32,
    ) -> anyhow::Result<Observation> {
        let further = step.facts_when.iter().filter(|(_, path)| says(&primary.value, path)).map(|(name, _)| name);
        let mut facts = Vec::new();
        for name in step.facts.iter().chain(further) {
            let value = match name.as_str() {
                "host" => Ok(json!({"delegated": {}}).to_string()),
                _ => self.fact(step, primary, name).await,
            };
            facts.push(Fact { name: name.clone(), value });
        }
        Ok(Observation {
            step: step.name.clone(),
            primary: Object { id: primary.id.clone(), body: mask(&primary.value, &step.primary).to_string() },
            deleting: primary.deleting,
            objects: step.observes.iter().map(|observe| self.set(primary, observe)).collect(),
            facts,
            replies: replies.to_vec(),
            notes: notes.to_vec(),
            settings: "{}".to_owned(),
            round,
            now: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }

    fn set(&self, primary: &Primary, observe: &Observe) -> ObjectSet {
        let (kind, name) = (observe.type_ref(), observe.name.clone());
        if !observe.concerns(&primary.value) {
            return ObjectSet { name, objects: Vec::new() };
        }
        let Some((_, store)) = self.stores.get(&kind) else {
            return ObjectSet::unreadable(name, &failure(403, "Forbidden", "not watched"));
        };
        let namespace = if observe.within == Within::System { NAMESPACE } else { primary.namespace() };
        let is_here = |object: &Arc<DynamicObject>| object.namespace().as_deref() == Some(namespace);
        let found: Vec<Arc<DynamicObject>> =
            match (&observe.select, Selection::resolve(&observe.select, &primary.value)) {
                (Select::Owned, _) => {
                    let owns = |object: &Arc<DynamicObject>| {
                        object.owner_references().iter().any(|reference| reference.uid == primary.uid)
                    };
                    store.state().into_iter().filter(|object| is_here(object) && owns(object)).collect()
                }
                (_, Selection::Names(names)) => {
                    let unique: std::collections::BTreeSet<&String> = names.iter().collect();
                    unique.into_iter().filter_map(|name| self.get(&kind, namespace, name)).collect()
                }
                (_, selection) => {
                    let matches =
                        |it: &Arc<DynamicObject>| selection.matches(&it.name_any(), it.metadata.labels.as_ref());
                    store.state().into_iter().filter(|object| is_here(object) && matches(object)).collect()
                }
            };
        let objects = found.iter().map(|object| self.masked(&kind, object, &observe.fields)).collect();
        ObjectSet { name, objects }
    }

    fn masked(&self, kind: &TypeRef, object: &DynamicObject, fields: &[String]) -> Object {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        if kind.kind == "Secret" {
            self.fingerprinter.fingerprint_secret_object(&mut value);
        }
        let id = ObjectRef {
            api_version: kind.api_version.clone(),
            kind: kind.kind.clone(),
            namespace: object.namespace(),
            name: object.name_any(),
        };
        Object { id, body: mask(&value, fields).to_string() }
    }

    fn get(&self, kind: &TypeRef, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let (resource, store) = self.stores.get(kind)?;
        store.get(&StoreRef::new_with(name, resource.clone()).within(namespace))
    }

    /// A fact, or the part of it that the step reads.
    async fn fact(&self, step: &StepManifest, primary: &Primary, name: &str) -> Result<String, String> {
        let Some((_, path)) = FACTS.iter().find(|(known, _)| *known == name) else { return Ok("{}".to_owned()) };
        let value = self.read(path).await;
        let value = value.as_ref().as_ref().map_err(Clone::clone)?;
        let Some(part) = step.fact_parts.get(name) else { return Ok(value.to_string()) };
        let wanted = part.wanted(&|path| each(&primary.value, path));
        let mask = part.mask();
        let shown = |value: &Value| mask.as_ref().map_or_else(|| value.clone(), |mask| mask.apply(value));
        Ok(match value {
            Value::Array(items) => {
                let read = |item: &&Value| part.items.is_empty() || wanted.iter().any(|having| has(item, having));
                items.iter().filter(read).map(shown).collect::<Value>().to_string()
            }
            value => shown(value).to_string(),
        })
    }

    async fn read(&self, path: &str) -> Read {
        // Held while it is read, so that many who ask at once are one request.
        let mut read = self.read.lock().await;
        if let Some((at, value)) = read.get(path)
            && at.elapsed() < BELIEVED
        {
            return value.clone();
        }
        let value = Arc::new(if path == "/v1/bootstrap" { self.bootstrap().await } else { self.json(path).await });
        read.insert(path.to_owned(), (Instant::now(), value.clone()));
        value
    }

    async fn json(&self, path: &str) -> Result<Value, String> {
        let (status, text) = self.request("GET", path, None).await?;
        if status != 200 {
            return Err(format!("GET {path}: {status} {text}"));
        }
        let mut value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        self.fingerprinter.redact(&mut value, &SECRET_FIELDS);
        Ok(value)
    }

    async fn bootstrap(&self) -> Result<Value, String> {
        let mut all = serde_json::Map::new();
        for (pod, address) in self.nodes.clone() {
            let answer = blocking(move || http(address, PORT, "GET", "/v1/bootstrap", None, None)).await?;
            let value = serde_json::from_str(&answer.1).ok().filter(|_| answer.0 == 200);
            all.insert(pod, value.unwrap_or_else(|| json!({"bootstrap_status": {"state": "completed"}})));
        }
        Ok(Value::Object(all))
    }

    /// Asks the node that answered last, then the others.
    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, String), String> {
        let mut last = Err("no node answered".to_owned());
        let first = *self.master.lock();
        for turn in 0..self.nodes.len() {
            let at = (first + turn) % self.nodes.len();
            let Some((_, address)) = self.nodes.get(at).cloned() else { continue };
            let (method, path, body, login) = (method.to_owned(), path.to_owned(), body.clone(), self.login.clone());
            let sent = blocking(move || http(address, PORT, &method, &path, Some((&login.0, &login.1)), body.as_ref()));
            last = sent.await;
            match &last {
                Ok((307 | 503, _)) | Err(_) => {}
                Ok(_) => {
                    *self.master.lock() = at;
                    break;
                }
            }
        }
        last
    }

    async fn call(&self, primary: &Primary, call: &Call) -> anyhow::Result<Reply> {
        let body: Option<Value> = call.body.as_deref().map(serde_json::from_str).transpose()?;
        let body = body.map(|body| {
            secrets::resolve(body, &mut |directive| match directive {
                Directive::SecretKeyRef(reference) => self.secret(primary.namespace(), &reference.name, &reference.key),
                Directive::Generate(_) => Err(SecretError::GenerateOutsideSecret),
            })
        });
        let answer = self.request(&call.method, &call.path, body.transpose()?).await;
        if call.method != "GET" {
            self.read.lock().await.clear();
        }
        let (status, body) = match answer {
            Ok((status, text)) => {
                let mut value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                self.fingerprinter.redact(&mut value, &SECRET_FIELDS);
                (status, value)
            }
            Err(why) => (0, Value::String(why)),
        };
        Ok(Reply { id: call.id.clone(), status, body: body.to_string() })
    }

    fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<String, SecretError> {
        let missing = || SecretError::Missing { name: name.to_owned(), key: key.to_owned() };
        let secret = self.get(&TypeRef::new("v1", "Secret"), namespace, name).ok_or_else(missing)?;
        let encoded = secret.data.pointer(&format!("/data/{key}")).and_then(Value::as_str).ok_or_else(missing)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|_| missing())?;
        String::from_utf8(bytes).map_err(|_| missing())
    }

    async fn desire(&self, step: &str, primary: &Primary, object: &Object) -> anyhow::Result<()> {
        let kind = TypeRef::from(&object.id);
        let mut body: Value = serde_json::from_str(&object.body)?;
        if kind.kind == "Secret" {
            let live = self.get(&kind, primary.namespace(), &object.id.name);
            let data = live.as_ref().and_then(|live| live.data.get("data"));
            let namespace = primary.namespace();
            body = secrets::secret_data(
                body,
                data,
                &mut |reference| self.secret(namespace, &reference.name, &reference.key),
                &mut |generate| {
                    Timestamp::now().as_nanosecond().to_string().chars().cycle().take(generate.length()).collect()
                },
            )?;
        }
        let owner = json!([{
            "apiVersion": primary.kind.api_version, "kind": primary.kind.kind, "name": primary.id.name,
            "uid": primary.uid, "controller": true, "blockOwnerDeletion": true,
        }]);
        let fields = body.as_object_mut().context("an object that is none")?;
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut().filter(|_| kind.kind != "PersistentVolumeClaim") {
            metadata.insert("ownerReferences".to_owned(), owner);
        }
        let id = ObjectRef { namespace: Some(primary.namespace().to_owned()), ..object.id.clone() };
        self.apply(&format!("plain/{step}"), &id, body, false).await
    }

    /// Applies, unless the same was applied before and is still there.
    async fn apply(&self, manager: &str, id: &ObjectRef, mut body: Value, status: bool) -> anyhow::Result<()> {
        let kind = TypeRef::from(id);
        let digest: [u8; 32] = Sha256::digest(body.to_string()).into();
        let key = (manager.to_owned(), id.clone());
        let namespace = id.namespace.as_deref().unwrap_or_default();
        if self.applied.lock().get(&key) == Some(&digest) && self.get(&kind, namespace, &id.name).is_some() {
            return Ok(());
        }
        let (resource, _) = self.stores.get(&kind).with_context(|| format!("{kind} is not served"))?;
        let fields = body.as_object_mut().context("an object that is none")?;
        fields.insert("apiVersion".to_owned(), json!(kind.api_version));
        fields.insert("kind".to_owned(), json!(kind.kind));
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), json!(id.name));
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, resource);
        let parameters = PatchParams::apply(manager).force();
        if status {
            api.patch_status(&id.name, &parameters, &Patch::Apply(&body)).await?;
        } else {
            api.patch(&id.name, &parameters, &Patch::Apply(&body)).await?;
        }
        self.applied.lock().insert(key, digest);
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| format!("{error:#}"))
}
