//! From an offer to a version that may be taken up: fetched, verified, loaded, allowed, rehearsed. Nothing that answers is
//! touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource};
use serde::Deserialize;
use stepwright_core::delegation::Whose;
use stepwright_core::guest::{Digest, Guest};
use stepwright_core::manifest::Manifest;
use stepwright_core::object::TypeRef;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::slot::Mode;

use super::refusal::Refusal;
use super::rehearsal::{Candidate, Rehearsal, rehearse};
use super::{PluginSettings, account, grants};
use crate::context::Context;
use crate::offer::{Component, Offer};
use crate::plugin_maps::Loader;
use crate::slots::{Identity, Source, Version, check_settings};
use crate::sources::oci::{OciError, Registry};
use crate::sources::signature;

/// The key of a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG: &str = ".dockerconfigjson";
/// How long the caches of kinds that nobody looked at before may take to be filled.
const FILLS: Duration = Duration::from_secs(15);

/// A version that may be taken up.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) settings: String,
    pub(crate) identity: Option<Identity>,
    pub(crate) rehearsal: Rehearsal,
}

impl Prepared {
    pub(crate) fn digest(&self) -> &Digest {
        self.guest.digest()
    }
}

/// What came of an offer.
pub(crate) enum Outcome {
    /// It may be taken up.
    Ready(Whose, Prepared),
    /// It may not; and the digest of what was refused where that is known.
    Refused(Whose, Refusal, Option<Digest>),
    /// It has to do with steps of other processes only, which deal with it.
    Theirs,
}

/// What a component's section has, as far as it says whose the plugin is.
#[derive(Deserialize)]
struct Section {
    manifest: Manifest,
}

/// What preparing takes.
#[derive(Clone)]
pub(crate) struct Preparer {
    pub(crate) context: Arc<Context>,
    pub(crate) pipelines: Vec<Arc<Pipeline>>,
    pub(crate) loader: Loader,
    pub(crate) settings: PluginSettings,
    /// The operator's own.
    pub(crate) namespace: String,
}

impl Preparer {
    pub(crate) async fn prepare(self, offer: Offer, source: Source) -> Outcome {
        let bytes = match &offer.component {
            Component::Inline(bytes) => bytes.clone(),
            Component::Oci { reference } => match self.fetched(reference).await {
                Ok(bytes) => bytes,
                Err(refusal) => return Outcome::Refused(self.unread(), refusal, None),
            },
        };
        let digest = Digest::of(&bytes);
        // First of all, and before anything reads the bytes closely: who signed them?
        if let Err(refusal) = self.verify(&offer, &bytes).await {
            return Outcome::Refused(self.unread(), refusal, Some(digest));
        }
        let whose = match self.whose(&bytes) {
            Whose::Theirs => return Outcome::Theirs,
            whose => whose,
        };
        match self.checked(offer, source, bytes).await {
            Ok(prepared) => Outcome::Ready(whose, prepared),
            Err(refusal) => Outcome::Refused(whose, refusal, Some(digest)),
        }
    }

    /// Of what cannot be read the main process tells.
    pub(crate) fn unread(&self) -> Whose {
        if self.context.delegation.part.alone().is_some() { Whose::Shared } else { Whose::Ours }
    }

    /// By its manifest, before it is compiled.
    pub(crate) fn whose(&self, bytes: &[u8]) -> Whose {
        let delegation = &self.context.delegation;
        let section = (self.settings.section)(bytes).ok();
        match section.and_then(|text| serde_json::from_slice::<Section>(&text).ok()) {
            Some(Section { manifest }) => delegation.part.whose(&manifest, &delegation.steps),
            // Whoever loads it will say what is wrong with it.
            None => self.unread(),
        }
    }

    async fn checked(&self, offer: Offer, source: Source, bytes: Vec<u8>) -> Result<Prepared, Refusal> {
        let loader = self.loader.clone();
        let settings = offer.settings.clone();
        let guest = blocking(move || -> Result<Arc<dyn Guest>, Refusal> {
            let guest = loader(&bytes)?;
            check_settings(guest.as_ref(), &settings)?;
            Ok(guest)
        })
        .await??;

        let slots = &self.context.slots;
        let mut identity =
            offer.wishes.service_account.clone().map(|name| Identity { namespace: self.namespace.clone(), name });
        let trial = Version { identity: identity.clone(), ..Version::new(guest.clone(), offer.settings.clone()) };
        let steps = slots.check(&source, trial)?;

        let manifest = guest.manifest();
        let of_steps = || manifest.steps.iter().filter(|step| steps.contains(&step.name));
        // With an account of its own, the calls are what the admin confirms; without, what came with the host is the
        // measure, and what the ConfigMap says can only narrow it.
        if identity.is_some() || offer.wishes.calls.is_some() {
            let asked = of_steps().flat_map(|step| &step.calls).chain(manifest.policy.iter().flat_map(|it| &it.calls));
            let missing = grants::not_confirmed(asked, offer.wishes.calls.as_deref().unwrap_or_default());
            if !missing.is_empty() {
                return Err(Refusal::CallsNotConfirmed { missing: missing.join(", ") });
            }
        }

        let writes: Vec<TypeRef> = of_steps().flat_map(|step| step.writes.clone()).collect();
        let policy_sees = manifest.policy.iter().flat_map(|policy| &policy.observes);
        let observes = of_steps().flat_map(|step| &step.observes).chain(policy_sees).filter(|it| it.is_required());
        let mut kinds: Vec<TypeRef> = observes.map(|it| it.type_ref()).chain(writes.iter().cloned()).collect();
        kinds.sort();
        kinds.dedup();
        self.fill(&kinds).await?;

        if let Some(wished) = identity.take() {
            let mut resources: BTreeMap<String, ApiResource> = BTreeMap::new();
            for kind in &writes {
                if let Some(served) = self.context.caches.served(kind) {
                    resources.insert(format!("{}/{}", kind.group(), served.resource.plural), served.resource);
                }
            }
            let resources: Vec<ApiResource> = resources.into_values().collect();
            let namespaces = self.context.caches.namespaces();
            identity = Some(account::check(self.client(), wished, &offer.name, &resources, namespaces).await?);
        }

        let candidate = Candidate {
            guest: &guest,
            settings: &offer.settings,
            source: &source,
            priority: offer.wishes.priority,
            live: offer.wishes.rehearse_live,
            passes: self.settings.rehearsal_passes,
        };
        let rehearsal = rehearse(&self.context, &self.pipelines, &candidate).await;
        if let (Some(first), Mode::Active) = (rehearsal.errors.first(), &offer.wishes.mode) {
            let (failed, asked) = (rehearsal.failed, rehearsal.asked());
            return Err(Refusal::RehearsalFailed { failed, asked, first: first.clone() });
        }
        Ok(Prepared { guest, settings: offer.settings, identity, rehearsal })
    }

    fn client(&self) -> &Client {
        &self.context.client
    }

    /// From a registry, with the credentials as they stand in their Secret now.
    async fn fetched(&self, reference: &str) -> Result<Vec<u8>, Refusal> {
        let mut settings = self.settings.registry.clone();
        if let Some(name) = &self.settings.registry_credentials {
            let Some(secret) = self.secret(name).await? else {
                return Err(Refusal::CredentialsMissing { namespace: self.namespace.clone(), name: name.clone() });
            };
            let config = secret.data.unwrap_or_default().remove(DOCKER_CONFIG);
            let config = config.and_then(|bytes| String::from_utf8(bytes.0).ok());
            let message = || format!("Secret {}/{name} has no `{DOCKER_CONFIG}`", self.namespace);
            let config = config.ok_or_else(|| OciError::CredentialsInvalid { message: message() })?;
            settings.docker_config = Some(config);
        }
        Ok(Registry::new(settings).fetch(reference).await?)
    }

    async fn secret(&self, name: &str) -> Result<Option<Secret>, Refusal> {
        let api: Api<Secret> = Api::namespaced(self.client().clone(), &self.namespace);
        api.get_opt(name).await.map_err(|error| Refusal::Api {
            attempted: format!("read Secret {}/{name}", self.namespace),
            message: error.to_string(),
        })
    }

    /// A signature that is there is checked where there are keys, wanted or not: a wrong one is no good sign.
    async fn verify(&self, offer: &Offer, bytes: &[u8]) -> Result<(), Refusal> {
        let required = self.settings.require_signatures;
        let secret = match &self.settings.signature_keys {
            None if required => {
                let message = "no Secret of keys is named".to_owned();
                return Err(Refusal::KeysUnavailable { message });
            }
            None => return Ok(()),
            Some(_) if !required && offer.signature.is_none() => return Ok(()),
            Some(name) => name,
        };
        let Some(signature) = &offer.signature else { return Err(signature::SignatureError::Missing.into()) };
        let Some(found) = self.secret(secret).await? else {
            let message = format!("Secret {}/{secret} is not there", self.namespace);
            return Err(Refusal::KeysUnavailable { message });
        };
        let data: BTreeMap<String, Vec<u8>> =
            found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        let keys = signature::keys(&data)?;
        let section = (self.settings.section)(bytes).map_err(|message| Refusal::SectionMissing { message })?;
        signature::verify(bytes, &section, Some(signature), &keys)?;
        Ok(())
    }

    /// What it looks at has to be in the caches before it is swapped in: passes would wait for it otherwise.
    async fn fill(&self, kinds: &[TypeRef]) -> Result<(), Refusal> {
        let caches = &self.context.caches;
        caches.ensure(kinds.to_vec());
        if tokio::time::timeout(FILLS, caches.synced(kinds)).await.is_ok() {
            return Ok(());
        }
        let names: Vec<String> = caches.missing(kinds).iter().map(TypeRef::to_string).collect();
        Err(Refusal::KindsUnavailable { kinds: names.join(", "), seconds: FILLS.as_secs() })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Host { message: error.to_string() })
}
