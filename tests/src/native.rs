//! A plugin that is plain Rust in this process, and a managed system that is a table: the operator can be tested without a
//! sandbox and without a database.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kube::ResourceExt;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::{Value, json};
use stepwright_core::guest::{Called, Digest, Guest, GuestError, Usage};
use stepwright_core::manifest::Manifest;
use stepwright_core::object::{Object, ObjectRef, TypeRef};
use stepwright_core::observation::{Observation, Reply};
use stepwright_core::plan::{Failure, Plan, Violation};
use stepwright_core::policy::Verdict;
use stepwright_core::world::World;
use stepwright_operator::system::{FactValue, Known, ManagedSystem, News, Reader, ResolvedCall, SystemId};
use tokio::sync::broadcast;

type Logic = dyn Fn(&Observation) -> Result<Result<Plan, Failure>, GuestError> + Send + Sync;

/// A plugin made of a closure.
pub struct Native {
    digest: Digest,
    manifest: Manifest,
    logic: Box<Logic>,
    asked: Mutex<Vec<Observation>>,
}

impl Native {
    /// `version` tells two plugins of one name apart.
    pub fn new(
        manifest: Value,
        version: &str,
        logic: impl Fn(&Observation) -> Result<Result<Plan, Failure>, GuestError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let digest = Digest::of(format!("{manifest}{version}").as_bytes());
        let manifest = serde_json::from_value(manifest).expect("a manifest");
        Arc::new(Self { digest, manifest, logic: Box::new(logic), asked: Mutex::default() })
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Observation> {
        self.asked.lock().clone()
    }
}

impl Guest for Native {
    fn digest(&self) -> &Digest {
        &self.digest
    }
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    fn validate_settings(&self, _settings: &str) -> Result<Vec<Violation>, GuestError> {
        Ok(Vec::new())
    }
    fn world(&self) -> World {
        World::Step
    }
    fn ask(&self, observed: &Observation) -> Called<Result<Plan, Failure>> {
        self.asked.lock().push(observed.clone());
        Called { answer: (self.logic)(observed), usage: Usage::default() }
    }
}

type Judges = dyn Fn(&Observation, &Plan) -> Result<Verdict, GuestError> + Send + Sync;

/// A policy made of a closure.
pub struct NativePolicy {
    digest: Digest,
    manifest: Manifest,
    judges: Box<Judges>,
    shown: Mutex<Vec<(Observation, Plan)>>,
}

impl NativePolicy {
    /// `policy` is the policy's part of the manifest; `version` tells two of one name apart.
    pub fn new(
        policy: Value,
        version: &str,
        judges: impl Fn(&Observation, &Plan) -> Result<Verdict, GuestError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let manifest = json!({"name": "native-policy", "version": "1", "policy": policy});
        let digest = Digest::of(format!("{manifest}{version}").as_bytes());
        let manifest = serde_json::from_value(manifest).expect("a manifest");
        Arc::new(Self { digest, manifest, judges: Box::new(judges), shown: Mutex::default() })
    }

    /// What it was shown so far.
    pub fn shown(&self) -> Vec<(Observation, Plan)> {
        self.shown.lock().clone()
    }
}

impl Guest for NativePolicy {
    fn digest(&self) -> &Digest {
        &self.digest
    }
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    fn validate_settings(&self, _settings: &str) -> Result<Vec<Violation>, GuestError> {
        Ok(Vec::new())
    }
    fn world(&self) -> World {
        World::Policy
    }
    fn ask(&self, _observed: &Observation) -> Called<Result<Plan, Failure>> {
        let error = GuestError::Incompatible { plugin: self.manifest.name.clone(), message: "a policy".into() };
        Called { answer: Err(error), usage: Usage::default() }
    }
    fn review(&self, observed: &Observation, planned: &Plan) -> Called<Verdict> {
        self.shown.lock().push((observed.clone(), planned.clone()));
        Called { answer: (self.judges)(observed, planned), usage: Usage::default() }
    }
}

/// An object of the core group for a plan.
pub fn core_object(kind: &str, name: &str, body: Value) -> Object {
    let id = ObjectRef { api_version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() };
    Object { id, body: body.to_string() }
}

/// The primary's body as JSON.
pub fn primary(observed: &Observation) -> Value {
    serde_json::from_str(&observed.primary.body).expect("JSON")
}

/// On an object that belongs to the managed system of another one: `<namespace>/<name>` of that.
pub const SYSTEM_ANNOTATION: &str = "test.stepwright.dev/system";

/// A managed system that knows what it is told and answers 200 to every call.
pub struct Table {
    pub facts: Mutex<BTreeMap<String, Value>>,
    pub calls: Mutex<Vec<(String, String, Option<String>)>>,
    changes: broadcast::Sender<News>,
}

impl Default for Table {
    fn default() -> Self {
        Self { facts: Mutex::default(), calls: Mutex::default(), changes: broadcast::channel(16).0 }
    }
}

#[async_trait]
impl ManagedSystem for Table {
    fn needs(&self) -> Vec<TypeRef> {
        Vec::new()
    }
    fn locate(&self, primary: &DynamicObject, _reader: &dyn Reader) -> Option<SystemId> {
        if let Some((namespace, name)) = primary.annotations().get(SYSTEM_ANNOTATION).and_then(|it| it.split_once('/'))
        {
            return Some(SystemId { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        Some(SystemId { namespace: primary.namespace()?, name: primary.name_any() })
    }
    fn exists(&self, _system: &SystemId) -> bool {
        true
    }
    async fn facts(&self, _system: &SystemId, names: &[String]) -> Vec<Known> {
        let facts = self.facts.lock();
        let value = |name: &String| {
            let value = facts.get(name).ok_or_else(|| "not known".to_owned())?;
            Ok(Arc::new(FactValue::new(value.clone())))
        };
        names.iter().map(|name| Known { name: name.clone(), value: value(name) }).collect()
    }
    async fn call(&self, _system: &SystemId, call: ResolvedCall) -> Reply {
        self.calls.lock().push((call.method, call.path, call.body));
        Reply { id: call.id, status: 200, body: json!({"uid": 1}).to_string() }
    }
    fn changes(&self) -> broadcast::Receiver<News> {
        self.changes.subscribe()
    }
    fn requests(&self) -> BTreeMap<(String, u16), u64> {
        BTreeMap::new()
    }
    fn gone(&self, _primary: &DynamicObject) {}
}
