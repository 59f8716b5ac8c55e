//! Why a plugin was not taken up: one reason word each, and a message that says what would be accepted.

use stepwright_core::error::Blame;
use stepwright_core::guest::GuestError;

use crate::slots::Refused;
use crate::sources::OfferError;
use crate::sources::oci::OciError;
use crate::sources::signature::SignatureError;

/// A plugin that was not taken up. What answered before goes on.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("signatures cannot be checked: {message}; put public keys into a Secret and name it with --signature-keys")]
    KeysUnavailable { message: String },
    #[error(
        "Secret {namespace}/{name} with the credentials for registries is not there; make it: kubectl create secret docker-registry {name} -n {namespace} --docker-server=… --docker-username=… --docker-password=…"
    )]
    CredentialsMissing { namespace: String, name: String },
    #[error("the signature cannot be checked, since the component has no manifest section: {message}")]
    SectionMissing { message: String },
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Slot(#[from] Refused),
    #[error(
        "the plugin would act as ServiceAccount {namespace}/{name}, which is not there; make it: kubectl create serviceaccount {name} -n {namespace}"
    )]
    AccountMissing { namespace: String, name: String },
    #[error(
        "ServiceAccount {namespace}/{name} has not opted in to being acted as by plugin {plugin}; let it: kubectl annotate serviceaccount {name} -n {namespace} stepwright.dev/act-as={plugin}"
    )]
    AccountNotOptedIn { namespace: String, name: String, plugin: String },
    #[error("ServiceAccount {account} may not {missing}; allow it: {remedy}")]
    AccountForbidden { account: String, missing: String, remedy: String },
    #[error("the plugin makes calls that are not confirmed; add these lines to `data.calls` if it may: {missing}")]
    CallsNotConfirmed { missing: String },
    #[error(
        "what the plugin looks at could not be read within {seconds} seconds: {kinds}; the operator's own account needs get, list and watch for it, and the API server has to serve it"
    )]
    KindsUnavailable { kinds: String, seconds: u64 },
    #[error(
        "in rehearsal, {failed} of {asked} questions were not answered with a plan that could be carried out; {first}"
    )]
    RehearsalFailed { failed: usize, asked: usize, first: String },
    #[error("failed to {attempted}: {message}; it is tried again")]
    Api { attempted: String, message: String },
    #[error("the plugin could not be loaded: {message}")]
    Host { message: String },
}

impl Refusal {
    /// Annotation, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Offer(error) => error.reason(),
            Self::Oci(error) => error.reason(),
            Self::Signature(error) => error.reason(),
            Self::KeysUnavailable { .. } => "SignatureKeysUnavailable",
            Self::CredentialsMissing { .. } => "RegistryCredentialsMissing",
            Self::SectionMissing { .. } => "ManifestSectionMissing",
            Self::Guest(error) => error.reason(),
            Self::Slot(error) => error.reason(),
            Self::AccountMissing { .. } => "ServiceAccountMissing",
            Self::AccountNotOptedIn { .. } => "ServiceAccountNotOptedIn",
            Self::AccountForbidden { .. } => "ServiceAccountForbidden",
            Self::CallsNotConfirmed { .. } => "CallsNotConfirmed",
            Self::KindsUnavailable { .. } => "KindsUnavailable",
            Self::RehearsalFailed { .. } => "RehearsalFailed",
            Self::Api { .. } => "ApiError",
            Self::Host { .. } => "PluginNotLoaded",
        }
    }

    /// Whose it is to mend.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Offer(error) => error.blame(),
            Self::Oci(error) => error.blame(),
            Self::Signature(error) => error.blame(),
            Self::Guest(error) => error.blame(),
            Self::Slot(_) | Self::SectionMissing { .. } | Self::RehearsalFailed { .. } => Blame::Plugin,
            Self::AccountMissing { .. }
            | Self::AccountNotOptedIn { .. }
            | Self::AccountForbidden { .. }
            | Self::CallsNotConfirmed { .. }
            | Self::KeysUnavailable { .. }
            | Self::CredentialsMissing { .. } => Blame::User,
            Self::KindsUnavailable { .. } | Self::Api { .. } => Blame::Cluster,
            Self::Host { .. } => Blame::Host,
        }
    }

    /// Whether trying again may help although the ConfigMap stays as it is: the remedy lies elsewhere.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Oci(error) => error.is_transient(),
            Self::KeysUnavailable { .. }
            | Self::CredentialsMissing { .. }
            | Self::Signature(_)
            | Self::AccountMissing { .. }
            | Self::AccountNotOptedIn { .. }
            | Self::AccountForbidden { .. }
            | Self::KindsUnavailable { .. }
            | Self::Api { .. } => true,
            // It may ask for no more than what came with the host, which is settled at start; what else is wrong is in the
            // ConfigMap.
            Self::Offer(_)
            | Self::SectionMissing { .. }
            | Self::Guest(_)
            | Self::Slot(_)
            | Self::CallsNotConfirmed { .. }
            | Self::RehearsalFailed { .. }
            | Self::Host { .. } => false,
        }
    }

    /// Nothing is wrong: something is still to come.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Offer(error) if error.is_waiting())
    }
}
