//! The managed system behind a primary, as the rest of the operator sees it: facts to read, calls to make.
//!
//! One implementation exists, for Redis Enterprise; this module knows nothing of it.

use std::sync::Arc;

use async_trait::async_trait;
use kube::core::DynamicObject;
use stepwright_core::object::TypeRef;
use stepwright_core::observation::{Fact, Reply};
use stepwright_core::part::Difference;
use tokio::sync::broadcast;

pub use crate::facts::FactValue;

/// One instance of a managed system; for Redis Enterprise, one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemId {
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Display for SystemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A fact as everybody reads it; what of it a step is shown is its manifest's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    /// The error says why it is not known.
    pub value: Result<Arc<FactValue>, String>,
}

impl Known {
    /// All of it.
    pub fn whole(self) -> Fact {
        Fact { name: self.name, value: self.value.map(|value| value.text()) }
    }
}

/// Something known of an instance changed.
#[derive(Debug, Clone)]
pub struct News {
    pub system: SystemId,
    /// Facts by name; `None`: whatever is known may be another.
    pub facts: Option<Arc<Vec<(String, Difference)>>>,
}

/// Reads from the operator's caches. Never asks the API server.
pub trait Reader: Send + Sync {
    fn get(&self, kind: &TypeRef, namespace: &str, name: &str) -> Option<Arc<DynamicObject>>;
    /// Every object of the kind in the namespace.
    fn list(&self, kind: &TypeRef, namespace: &str) -> Vec<Arc<DynamicObject>>;
}

/// A call whose secrets are filled in: not to be logged.
pub struct ResolvedCall {
    pub id: String,
    pub target: Option<String>,
    pub method: String,
    pub path: String,
    /// JSON text.
    pub body: Option<String>,
}

/// The managed system.
#[async_trait]
pub trait ManagedSystem: Send + Sync {
    /// Kinds that `Reader` must hold for this implementation to work.
    fn needs(&self) -> Vec<TypeRef>;

    /// Which instance a primary belongs to. `None` while that cannot be told.
    fn locate(&self, primary: &DynamicObject, reader: &dyn Reader) -> Option<SystemId>;

    /// Whether the instance exists, as far as Kubernetes tells: that its resource does, not that it answers.
    fn exists(&self, system: &SystemId) -> bool;

    /// What is known, one fact for each name asked for and in that order; concurrent askers share one answer.
    ///
    /// Values of secrets in it are fingerprints. Not to know is a fact too.
    async fn facts(&self, system: &SystemId, names: &[String]) -> Vec<Known>;

    /// Sends one call. What was known of the system counts as stale afterwards.
    async fn call(&self, system: &SystemId, call: ResolvedCall) -> Reply;

    /// Tells of an instance each time that something known of it changed.
    fn changes(&self) -> broadcast::Receiver<News>;

    /// Requests sent so far, by method and status (0: no answer came). For metrics.
    fn requests(&self) -> std::collections::BTreeMap<(String, u16), u64>;

    /// A primary is gone for good. If an instance went with it, forget its connections and what was known of it.
    fn gone(&self, primary: &DynamicObject);
}
