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
mod remote;
mod resolve;
mod settings;
mod snapshot;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join;
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
pub use crate::resolve::{NotResolve, Resolve};
pub use crate::settings::Settings;

use crate::client::{Client, Tools};
use crate::connection::Counters;
use crate::facts::{FactKind, Source};
use crate::members::{CLUSTER_KIND, cluster_type, locate, pod_type, secret_type};
use crate::poll::{Shared, Watched};
use crate::remote::REMOTE_KIND;

/// Which steps the kinds of Redis Enterprise go through, as JSON.
pub const PIPELINES: &str = include_str!("../pipelines.json");

/// Changes that may wait for a slow listener. One that misses some hears of the cluster again at its next change.
const CHANGES: usize = 1024;

/// Which of the two tasks of a cluster reads something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Main,
    /// What the cluster has to ask other clusters for, and so may wait for.
    Distant,
}

impl Lane {
    fn of(kind: FactKind) -> Self {
        if kind == FactKind::CrdbHealth { Self::Distant } else { Self::Main }
    }
}

/// All Redis Enterprise clusters that the operator has to do with.
pub struct RedisEnterprise {
    tools: Tools,
    systems: Mutex<HashMap<(SystemId, Lane), Watched>>,
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
        self.in_lane(system, Lane::Main)
    }

    fn in_lane(&self, system: &SystemId, lane: Lane) -> Arc<Shared> {
        let main = (lane == Lane::Distant).then(|| self.watched(system));
        let mut systems = self.systems.lock();
        let key = (system.clone(), lane);
        if systems.get(&key).is_some_and(Watched::is_dead) {
            error!(%system, "the task that reads the cluster has died; starting another");
            systems.remove(&key);
        }
        let start = || {
            let mut tools = self.tools.clone();
            if lane == Lane::Distant || remote::name_of(system).is_some() {
                let interval = tools.settings.distant_interval;
                let settings =
                    Settings { rest_interval: interval, full_interval: interval, ..(*tools.settings).clone() };
                tools.settings = Arc::new(settings);
            }
            let client = match &main {
                Some(main) => main.client.beside(tools.clone()),
                None => Client::new(system.clone(), tools.clone()),
            };
            Watched::start(client, system.clone(), tools, self.changes.clone())
        };
        systems.entry(key).or_insert_with(start).shared.clone()
    }

    /// Why there is nothing that could be asked.
    fn missing(&self, system: &SystemId) -> CallError {
        match remote::name_of(system) {
            Some(remote) => CallError::NoRemote(remote.to_owned()),
            None => CallError::NoCluster(system.name.clone()),
        }
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
        let reader = self.tools.reader.as_ref();
        match remote::name_of(system) {
            Some(remote) => reader.get(&remote::remote_type(), &system.namespace, remote).is_some(),
            None => reader.get(&cluster_type(), &system.namespace, &system.name).is_some(),
        }
    }

    async fn facts(&self, system: &SystemId, names: &[String]) -> Vec<Known> {
        let kinds: Vec<FactKind> = names.iter().filter_map(|name| Some(Source::named(name)?.kind)).collect();
        // Without the resource there is nothing to be asked, and nothing that would end the asking.
        let (mut known, mut why) = (Vec::new(), "the cluster has not answered in time".to_owned());
        if self.exists(system) {
            let (distant, main): (Vec<FactKind>, Vec<FactKind>) =
                kinds.into_iter().partition(|kind| Lane::of(*kind) == Lane::Distant);
            let ask = async |lane: Lane, kinds: &[FactKind]| {
                if kinds.is_empty() { None } else { self.in_lane(system, lane).facts(kinds).await }
            };
            let (main, distant) = join(ask(Lane::Main, &main), ask(Lane::Distant, &distant)).await;
            known.extend(main.into_iter().chain(distant).flatten());
        } else {
            why = self.missing(system).to_string();
        }
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
            return no_answer(&self.missing(system));
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
        let (Some(kind), Some(namespace)) = (primary.types.as_ref().map(|it| it.kind.as_str()), primary.namespace())
        else {
            return;
        };
        let gone = match kind {
            CLUSTER_KIND => SystemId { namespace, name: primary.name_any() },
            REMOTE_KIND => remote::id(namespace, &primary.name_any()),
            _ => return,
        };
        self.systems.lock().retain(|(system, _), _| *system != gone);
    }
}
