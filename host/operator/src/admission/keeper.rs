//! Keeps the certificate in its Secret, the endpoint's identity as the Secret says, and the `caBundle` of the webhook
//! configuration as both need it. Watches all of them; only the process that leads writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::AdmissionSettings;
use super::authority::{Due, Material};
use super::serve::Identity;
use crate::apply::MANAGER;
use crate::context::Context;

/// How often the time is looked at, and what failed is tried again.
const LOOKS: Duration = Duration::from_secs(5);
/// cert-manager looks after the `caBundle` of what has this annotation, or one like it.
const INJECTED: &str = "cert-manager.io/inject-";

pub(super) struct Keeper {
    settings: AdmissionSettings,
    client: Client,
    namespace: String,
    leads: watch::Receiver<bool>,
    identity: Arc<Identity>,
    /// `None` before it was looked for.
    secret: Option<Option<Secret>>,
    /// `None` where there is none, or it may not be seen.
    webhook: Option<ValidatingWebhookConfiguration>,
    shown: Option<(String, String)>,
    failed: Option<String>,
}

impl Keeper {
    pub(super) fn new(
        settings: AdmissionSettings,
        context: &Context,
        leads: watch::Receiver<bool>,
        identity: Arc<Identity>,
    ) -> Self {
        Self {
            settings,
            client: context.client.clone(),
            namespace: context.home.clone(),
            leads,
            identity,
            secret: None,
            webhook: None,
            shown: None,
            failed: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut secrets = only(self.secrets(), &self.settings.secret);
        let mut webhooks = only(self.webhooks(), &self.settings.webhook);
        let mut looks = tokio::time::interval(LOOKS);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(secret) = secrets.next() => self.secret = Some(secret),
                Some(webhook) = webhooks.next() => self.webhook = webhook,
                changed = self.leads.changed() => if changed.is_err() { return },
                _ = looks.tick() => {}
            }
            self.show();
            if *self.leads.borrow() {
                let failed = self.tend().await.err();
                if failed != self.failed
                    && let Some(why) = &failed
                {
                    warn!(why, "the certificate for the API server is not as it should be; tried again");
                }
                self.failed = failed;
            }
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn webhooks(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// Lets the endpoint show what the Secret says.
    fn show(&mut self) {
        let Some(data) = self.secret.as_ref().and_then(Option::as_ref).and_then(|it| it.data.as_ref()) else { return };
        let pair = |chain: &str, key: &str| Some((text(data, chain)?, text(data, key)?));
        let Some((chain, key)) = pair("tls.crt", "tls.key").or_else(|| pair("cert", "privateKey")) else { return };
        let wanted = Some((chain, key));
        if self.shown == wanted {
            return;
        }
        let Some((chain, key)) = wanted.as_ref() else { return };
        match self.identity.set(chain, key) {
            Ok(()) => info!(secret = %self.settings.secret, "the API server is shown the certificate of the Secret"),
            Err(why) => warn!(secret = %self.settings.secret, why, "the certificate of the Secret is of no use"),
        }
        self.shown = wanted;
    }

    /// Makes what is due, and writes down whom the API server is to trust.
    async fn tend(&mut self) -> Result<(), String> {
        let Some(secret) = self.secret.clone() else { return Ok(()) };
        let none = BTreeMap::new();
        let data = secret.as_ref().and_then(|it| it.data.as_ref()).unwrap_or(&none);
        if data.contains_key("tls.crt") {
            // Somebody else's, cert-manager's as a rule, who renews it.
            return match text(data, "ca.crt") {
                Some(authority) => self.trust(&authority).await,
                None => Ok(()),
            };
        }
        let name = format!("{}.{}.svc", self.settings.service, self.namespace);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let known = Material::of(data);
        let trusted = self.trusted();
        let due = known.as_ref().map_or(Due::Everything, |it| it.due(&name, trusted.as_deref(), now));
        let made = match (&known, due) {
            (_, Due::Nothing) => None,
            (Some(known), Due::Authority) => Some(known.with_authority(now)),
            (Some(known), Due::Certificate) => Some(known.with_certificate(&name, now)),
            _ => Some(Material::new(&name, now)),
        };
        let material = match made {
            None => known,
            Some(made) => {
                let failed = |error| format!("failed to make a certificate: {error}");
                let made = made.map_err(failed)?;
                let made = if made.is_sound(&name, now) { made } else { Material::new(&name, now).map_err(failed)? };
                self.store(secret.as_ref(), &made).await?;
                info!(secret = %self.settings.secret, made = ?due, "made for the API server");
                Some(made)
            }
        };
        self.show();
        match material {
            Some(material) => self.trust(&material.authorities).await,
            None => Ok(()),
        }
    }

    async fn store(&mut self, before: Option<&Secret>, made: &Material) -> Result<(), String> {
        let name = &self.settings.secret;
        let failed = |error: kube::Error| format!("failed to write Secret {}/{name}: {error}", self.namespace);
        let api = self.secrets();
        let stored = match before {
            None => {
                let labels = BTreeMap::from([("app".to_owned(), "redis-enterprise".to_owned())]);
                let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
                let secret = Secret { metadata, data: Some(made.data()), ..Secret::default() };
                let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
                api.create(&parameters, &secret).await
            }
            Some(before) => {
                // With the version: of two processes that both believe to lead, one writes.
                let body = json!({"metadata": {"resourceVersion": before.resource_version()}, "data": made.data()});
                let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                api.patch(name, &parameters, &Patch::Merge(&body)).await
            }
        };
        self.secret = Some(Some(stored.map_err(failed)?));
        Ok(())
    }

    /// The webhooks that come to this endpoint: name and what they trust.
    fn ours(&self) -> Vec<(String, Option<String>)> {
        let ours = |service: &k8s_openapi::api::admissionregistration::v1::ServiceReference| {
            service.namespace == self.namespace && service.name == self.settings.service
        };
        let webhooks = self.webhook.iter().flat_map(|it| it.webhooks.iter().flatten());
        webhooks
            .filter(|it| it.client_config.service.as_ref().is_some_and(ours))
            .map(|it| {
                let bundle = it.client_config.ca_bundle.as_ref().and_then(|it| String::from_utf8(it.0.clone()).ok());
                (it.name.clone(), bundle)
            })
            .collect()
    }

    /// What all of them trust; `None` if there are none.
    fn trusted(&self) -> Option<String> {
        // With several, the first that lacks something counts: nothing is signed that one of them would not know.
        self.ours().into_iter().map(|(_, bundle)| bundle.unwrap_or_default()).min_by_key(String::len)
    }

    async fn trust(&mut self, authorities: &str) -> Result<(), String> {
        let Some(webhook) = &self.webhook else { return Ok(()) };
        if webhook.annotations().keys().any(|key| key.starts_with(INJECTED)) {
            return Ok(());
        }
        let other = |(name, bundle): (String, Option<String>)| (bundle.as_deref() != Some(authorities)).then_some(name);
        let names: Vec<String> = self.ours().into_iter().filter_map(other).collect();
        if names.is_empty() {
            return Ok(());
        }
        let bundle = ByteString(authorities.as_bytes().to_vec());
        let of = |name: &String| json!({"name": name, "clientConfig": {"caBundle": bundle}});
        let body = json!({"webhooks": names.iter().map(of).collect::<Vec<_>>()});
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        // Strategic: the list is merged by the names of the webhooks.
        let written = self.webhooks().patch(&self.settings.webhook, &parameters, &Patch::Strategic(&body)).await;
        let failed = |error| {
            format!("failed to write caBundle of ValidatingWebhookConfiguration {}: {error}", self.settings.webhook)
        };
        self.webhook = Some(written.map_err(failed)?);
        info!(webhook = %self.settings.webhook, names = %names.join(", "), "the API server trusts the certificate");
        Ok(())
    }
}

fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).filter(|text| !text.is_empty())
}

/// The one object of this name each time that it changes; `None`: it is not there.
fn only<K>(api: Api<K>, name: &str) -> futures::stream::BoxStream<'static, Option<K>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut found = None;
    let told = move |event: Result<watcher::Event<K>, watcher::Error>| {
        let news = match event {
            Ok(watcher::Event::Init) => {
                found = None;
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                found = Some(object);
                None
            }
            Ok(watcher::Event::InitDone) => Some(found.take()),
            Ok(watcher::Event::Apply(object)) => Some(Some(object)),
            Ok(watcher::Event::Delete(_)) => Some(None),
            Err(error) => {
                // Without deploy/webhook.yaml there is no right to look, and nothing to look at.
                debug!(error = &error as &dyn std::error::Error, "a watch is started again");
                None
            }
        };
        futures::future::ready(news)
    };
    watcher::watcher(api, config).default_backoff().filter_map(told).boxed()
}
