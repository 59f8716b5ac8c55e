//! Redis Enterprise as a managed system: facts from, and calls to, its REST API.
//!
//! [`RedisEnterprise`] implements the operator's `ManagedSystem`. Which node is asked and what is tried again is in
//! `client`, whom credentials are sent to in `tls` and `lockout`, what a fact is made of in `facts`, and how often is asked
//! in `poll`. Nothing here decides what a cluster should be like: that is the steps' business.

mod client;
mod connection;
mod dialer;
mod error;
mod facts;
mod items;
mod lockout;
mod members;
mod poll;
mod settings;
mod snapshot;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use kube::ResourceExt;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use stepwright_core::object::TypeRef;
use stepwright_core::observation::Reply;
use stepwright_core::secrets::Fingerprinter;
use stepwright_operator::system::{Known, ManagedSystem, News, Reader, ResolvedCall, SystemId};
use tokio::sync::broadcast;
use tracing::{error, info};

pub use crate::dialer::{Dialer, Direct, Io, PodRef, PortForward};
pub use crate::error::{CallError, Cause};
pub use crate::settings::Settings;

use crate::client::Tools;
use crate::connection::Counters;
use crate::facts::{FactKind, Source};
use crate::members::{CLUSTER_KIND, cluster_type, locate, pod_type, secret_type};
use crate::poll::{Shared, Watched};

/// Which steps the kinds of Redis Enterprise go through, as JSON.
pub const PIPELINES: &str = include_str!("../pipelines.json");

/// Changes that may wait for a slow listener. One that misses some hears of the cluster again at its next change.
const CHANGES: usize = 1024;

/// All Redis Enterprise clusters that the operator has to do with.
pub struct RedisEnterprise {
    tools: Tools,
    systems: Mutex<HashMap<SystemId, Watched>>,
    changes: broadcast::Sender<News>,
}

impl RedisEnterprise {
    /// Nothing is asked before somebody wants to know something. Tasks end when the last reference goes.
    pub fn new(
        reader: Arc<dyn Reader>,
        dialer: Arc<dyn Dialer>,
        fingerprinter: Arc<Fingerprinter>,
        settings: Settings,
    ) -> Arc<Self> {
        let tools = Tools {
            reader,
            dialer,
            fingerprinter,
            settings: Arc::new(settings),
            counters: Arc::new(Counters::default()),
            tls: tls::connector(),
        };
        let (changes, _) = broadcast::channel(CHANGES);
        Arc::new(Self { tools, systems: Mutex::default(), changes })
    }

    fn watched(&self, system: &SystemId) -> Arc<Shared> {
        let mut systems = self.systems.lock();
        if systems.get(system).is_some_and(Watched::is_dead) {
            error!(%system, "the task that reads the cluster has died; starting another");
            systems.remove(system);
        }
        let start = || Watched::start(system.clone(), self.tools.clone(), self.changes.clone());
        systems.entry(system.clone()).or_insert_with(start).shared.clone()
    }
}

#[async_trait]
impl ManagedSystem for RedisEnterprise {
    fn needs(&self) -> Vec<TypeRef> {
        vec![cluster_type(), secret_type(), pod_type()]
    }

    fn locate(&self, primary: &DynamicObject, reader: &dyn Reader) -> Option<SystemId> {
        locate(primary, reader, &self.tools.settings.namespace)
    }

    fn exists(&self, system: &SystemId) -> bool {
        self.tools.reader.get(&cluster_type(), &system.namespace, &system.name).is_some()
    }

    async fn facts(&self, system: &SystemId, names: &[String]) -> Vec<Known> {
        let kinds: Vec<FactKind> = names.iter().filter_map(|name| Some(Source::named(name)?.kind)).collect();
        // Without the resource there is nothing to be asked, and nothing that would end the asking.
        let (known, why) = if !self.exists(system) {
            (Vec::new(), CallError::NoCluster(system.name.clone()).to_string())
        } else if kinds.is_empty() {
            (Vec::new(), String::new())
        } else {
            match self.watched(system).facts(&kinds).await {
                Some(facts) => (facts, String::new()),
                None => (Vec::new(), "the cluster has not answered in time".to_owned()),
            }
        };
        let fact = |name: &String| match known.iter().find(|fact| fact.name == *name) {
            Some(fact) => fact.clone(),
            None if Source::named(name).is_none() => Known {
                name: name.clone(),
                value: Err(format!("there is no fact of this name; there are {}", Source::names())),
            },
            None => Known { name: name.clone(), value: Err(why.clone()) },
        };
        names.iter().map(fact).collect()
    }

    async fn call(&self, system: &SystemId, call: ResolvedCall) -> Reply {
        let no_answer = |error: &CallError| {
            info!(%system, method = %call.method, path = %call.path, reason = error.reason(), %error, "call had no answer");
            Reply { id: call.id.clone(), status: 0, body: Value::String(error.to_string()).to_string() }
        };
        if !self.exists(system) {
            return no_answer(&CallError::NoCluster(system.name.clone()));
        }
        let watched = self.watched(system);
        let result = if matches!(call.method.as_str(), "GET" | "HEAD") {
            watched.client.call(&call).await
        } else {
            watched.change(&call).await
        };
        match result {
            Err(error) => no_answer(&error),
            Ok(answer) => match facts::reply_body(&answer, &call.path, &self.tools.fingerprinter) {
                Ok(body) => {
                    info!(%system, method = %call.method, path = %call.path, status = answer.status, "call answered");
                    Reply { id: call.id, status: answer.status, body }
                }
                Err(cause) => {
                    let pod = call.target.clone().unwrap_or_else(|| "the cluster".to_owned());
                    no_answer(&CallError::Lost { pod, cause })
                }
            },
        }
    }

    fn changes(&self) -> broadcast::Receiver<News> {
        self.changes.subscribe()
    }

    fn requests(&self) -> BTreeMap<(String, u16), u64> {
        self.tools.counters.lock().clone()
    }

    fn gone(&self, primary: &DynamicObject) {
        let is_cluster = primary.types.as_ref().is_some_and(|types| types.kind == CLUSTER_KIND);
        if is_cluster && let Some(namespace) = primary.namespace() {
            self.systems.lock().remove(&SystemId { namespace, name: primary.name_any() });
        }
    }
}
