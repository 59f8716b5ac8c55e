//! A service instance as a RedisEnterpriseDatabase: made, looked at, deleted.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::Broker;
use crate::error::BrokerError;

/// Label with the id of the service instance.
pub(crate) const INSTANCE: &str = "servicebroker.app.redislabs.com/instance";
/// Annotation with what was asked for, so that the same request can be told from another one.
const ASKED: &str = "servicebroker.app.redislabs.com/asked";

/// How far an instance has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    InProgress(String),
    Succeeded,
    Failed(String),
}

/// A name that is always valid and the same for the same id: ids are the platform's and may be anything.
pub(crate) fn name(instance: &str) -> String {
    let digest = hex::encode(Sha256::digest(instance.as_bytes()));
    format!("sb-{}", digest.get(..16).unwrap_or(&digest))
}

impl Broker {
    fn databases(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("app.redislabs.com", "v1alpha1", "RedisEnterpriseDatabase");
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// The database of an instance.
    pub(crate) async fn find(&self, instance: &str) -> Result<Option<DynamicObject>, BrokerError> {
        let name = name(instance);
        let found = self.databases().get_opt(&name).await;
        let found =
            found.map_err(|source| BrokerError::Kubernetes { action: format!("read database {name}"), source })?;
        // One of that name that somebody else made is not the broker's to hand out or to delete.
        Ok(found.filter(|database| database.labels().get(INSTANCE).is_some_and(|id| id == instance)))
    }

    /// Makes the database of an instance. `false` if it is there, made by the same request.
    pub(crate) async fn provision(
        &self,
        instance: &str,
        asked: &Value,
        mut spec: Map<String, Value>,
    ) -> Result<bool, BrokerError> {
        let conflict = || BrokerError::Conflict { what: "service instance", id: instance.to_owned() };
        let asked = asked.to_string();
        let is_same = |found: &DynamicObject| found.annotations().get(ASKED) == Some(&asked);
        if let Some(found) = self.find(instance).await? {
            return if is_same(&found) { Ok(false) } else { Err(conflict()) };
        }
        spec.insert("redisEnterpriseCluster".to_owned(), json!({"name": self.cluster}));
        let name = name(instance);
        let mut database = DynamicObject::new(
            &name,
            &ApiResource::from_gvk(&GroupVersionKind::gvk("app.redislabs.com", "v1alpha1", "RedisEnterpriseDatabase")),
        )
        .data(json!({"spec": spec}));
        database.meta_mut().labels = Some(BTreeMap::from([
            ("app".to_owned(), "redis-enterprise".to_owned()),
            (INSTANCE.to_owned(), instance.to_owned()),
        ]));
        database.meta_mut().annotations = Some(BTreeMap::from([(ASKED.to_owned(), asked.clone())]));
        match self.databases().create(&PostParams::default(), &database).await {
            Ok(_) => Ok(true),
            // What the API server finds wrong in the spec is the user's to know, in its words.
            Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => {
                Err(BrokerError::Invalid(status.message.clone()))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => match self.find(instance).await? {
                Some(found) if is_same(&found) => Ok(false),
                _ => Err(conflict()),
            },
            Err(source) => Err(BrokerError::Kubernetes { action: format!("make database {name}"), source }),
        }
    }

    /// Deletes the database of an instance.
    pub(crate) async fn deprovision(&self, instance: &str) -> Result<(), BrokerError> {
        let Some(found) = self.find(instance).await? else {
            return Err(BrokerError::Gone { what: "service instance", id: instance.to_owned() });
        };
        let name = found.name_any();
        match self.databases().delete(&name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(BrokerError::Kubernetes { action: format!("delete database {name}"), source }),
        }
    }

    /// How to reach the database: what a binding hands out.
    pub(crate) async fn credentials(&self, database: &DynamicObject) -> Result<Value, BrokerError> {
        let text = |path: &str| database.data.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let instance = database.labels().get(INSTANCE).cloned().unwrap_or_default();
        let secret = text("/spec/databaseSecretName").ok_or_else(|| BrokerError::NotReady(instance.clone()))?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
        let secrets: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let found = secrets.get_opt(&secret).await;
        let found =
            found.map_err(|source| BrokerError::Kubernetes { action: format!("read Secret {secret}"), source })?;
        let value = |key: &str| {
            let text = found.as_ref()?.data.pointer(&format!("/data/{key}"))?.as_str()?;
            String::from_utf8(STANDARD.decode(text).ok()?).ok()
        };
        let (Some(password), Some(port)) = (value("password"), value("port").and_then(|it| it.parse::<u16>().ok()))
        else {
            return Err(BrokerError::NotReady(instance));
        };
        let name = database.name_any();
        let host = format!("{name}.{}.svc.cluster.local", self.namespace);
        Ok(
            json!({"host": host, "port": port, "password": password, "uri": format!("redis://:{password}@{host}:{port}")}),
        )
    }

    /// Whether Kubernetes answers.
    pub(crate) async fn is_reachable(&self) -> bool {
        self.databases().list(&ListParams::default().limit(1)).await.is_ok()
    }
}

/// What the database's status says of its instance.
pub(crate) fn state(database: &DynamicObject) -> State {
    let text = |path: &str| database.data.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if database.metadata.deletion_timestamp.is_some() {
        return State::InProgress("the database is being deleted".to_owned());
    }
    let ready = database.data.pointer("/status/conditions").and_then(Value::as_array).and_then(|conditions| {
        conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"))
    });
    let words = ready.and_then(|it| it.get("message")).and_then(Value::as_str).unwrap_or("the database is being made");
    match text("/status/status") {
        "active" => State::Succeeded,
        "creation-failed" => State::Failed(words.to_owned()),
        _ if text("/status/specStatus") == "Invalid" => State::Failed(words.to_owned()),
        _ => State::InProgress(words.to_owned()),
    }
}

/// The id as the value of a label: what Kubernetes takes there.
pub(crate) fn check_id(what: &str, id: &str) -> Result<(), BrokerError> {
    let fits = !id.is_empty()
        && id.len() <= 63
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && id.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if fits {
        return Ok(());
    }
    Err(BrokerError::Invalid(format!(
        "the id of a {what} has up to 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit; a GUID will do"
    )))
}
