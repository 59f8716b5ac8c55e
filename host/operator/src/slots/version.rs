//! A version of a plugin in a slot: what it is, whence it came, what it may do, how it takes part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use stepwright_core::admit::Grants;
use stepwright_core::guest::Guest;
use stepwright_core::journal::PluginRef;
use stepwright_core::manifest::{Observe, PolicyManifest, StepManifest};
use stepwright_core::object::TypeRef;
use stepwright_core::part::FactPart;
use stepwright_core::slot::{Mode, OnFailure, Role, Tally};

use super::record::Record;

/// Where a plugin came from. Later ones win; of one kind, the larger name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Embedded,
    Directory(String),
    /// `namespace/name`.
    ConfigMap(String),
    /// `namespace/name` of the ConfigMap that names the artifact.
    Oci(String),
}

impl Source {
    /// `namespace/name` of the ConfigMap behind it, if there is one.
    pub fn config_map(&self) -> Option<&str> {
        match self {
            Self::ConfigMap(name) | Self::Oci(name) => Some(name),
            Self::Embedded | Self::Directory(_) => None,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Directory(path) => write!(f, "file {path}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
            Self::Oci(name) => write!(f, "OCI artifact of ConfigMap {name}"),
        }
    }
}

/// A ServiceAccount that opted in to being acted as.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
}

impl Identity {
    /// Its name as the API server knows users.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

/// A version as it is to be taken up.
#[derive(Clone)]
pub struct Version {
    pub guest: Arc<dyn Guest>,
    /// JSON text, found good by the plugin.
    pub settings: String,
    pub mode: Mode,
    pub promote_after: Option<u32>,
    pub on_failure: OnFailure,
    /// The account as which its effects are carried out; `None`: as the operator, and within what the version that came with
    /// the host may do.
    pub identity: Option<Identity>,
    /// Of a policy.
    pub priority: i32,
    /// When the wish for it arrived: the start of the time that a swap takes.
    pub since: Option<Instant>,
}

impl Version {
    /// One that answers for every primary as the operator.
    pub fn new(guest: Arc<dyn Guest>, settings: String) -> Self {
        Self {
            guest,
            settings,
            mode: Mode::Active,
            promote_after: None,
            on_failure: OnFailure::default(),
            identity: None,
            priority: 0,
            since: None,
        }
    }
}

/// All that a source gives: the version that comes last is above the others. One that is tried out lies above the one that
/// answered before, and one that answers above the one that would after a rollback.
#[derive(Clone)]
pub struct Installation {
    pub source: Source,
    pub versions: Vec<Version>,
}

/// A plugin in the slot of a step, and what it may do.
#[derive(Clone)]
pub struct Active {
    pub guest: Arc<dyn Guest>,
    pub step: StepManifest,
    pub grants: Grants,
    /// JSON text.
    pub settings: String,
    pub source: Source,
    pub mode: Mode,
    /// By its mode: the part in which it is asked.
    pub role: Role,
    pub on_failure: OnFailure,
    /// The account as which its effects are carried out; `None`: as the operator.
    pub identity: Option<Identity>,
    pub(crate) record: Arc<Record>,
    pub(crate) watched: Arc<Watched>,
}

impl Active {
    /// For records and messages.
    pub fn plugin(&self) -> PluginRef {
        plugin_ref(&self.guest, &self.source)
    }

    /// How it fared since it was taken up, over all of its steps.
    pub fn tally(&self) -> Tally {
        self.record.tally()
    }
}

/// Who answers for one step and one primary, and who is asked beside it.
#[derive(Clone)]
pub struct Choice {
    /// Its role is `Active` or `Canary`.
    pub active: Arc<Active>,
    pub shadow: Option<Arc<Active>>,
}

/// A policy in the chain after a step.
#[derive(Clone)]
pub struct Chained {
    pub guest: Arc<dyn Guest>,
    pub policy: PolicyManifest,
    /// JSON text.
    pub settings: String,
    pub source: Source,
    /// Smaller ones are asked first; equal ones in the order of their sources.
    pub priority: i32,
    pub mode: Mode,
    /// `Shadow`: its verdict is recorded and has no effect.
    pub role: Role,
    pub on_failure: OnFailure,
    pub(crate) record: Arc<Record>,
    pub(crate) watched: Arc<Watched>,
}

impl Chained {
    /// For records and messages.
    pub fn plugin(&self) -> PluginRef {
        plugin_ref(&self.guest, &self.source)
    }

    /// How it fared since it was taken up.
    pub fn tally(&self) -> Tally {
        self.record.tally()
    }
}

fn plugin_ref(guest: &Arc<dyn Guest>, source: &Source) -> PluginRef {
    PluginRef {
        name: guest.manifest().name.clone(),
        version: guest.manifest().version.clone(),
        digest: guest.digest().to_string(),
        source: source.to_string(),
    }
}

/// What a version looks at and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub observes: Vec<Observe>,
    pub writes: Vec<TypeRef>,
    pub facts: Vec<String>,
    pub facts_when: BTreeMap<String, String>,
    pub fact_parts: BTreeMap<String, FactPart>,
}

impl From<&StepManifest> for Watched {
    fn from(step: &StepManifest) -> Self {
        let StepManifest { observes, writes, facts, facts_when, fact_parts, .. } = step.clone();
        Self { observes, writes, facts, facts_when, fact_parts }
    }
}

impl From<&PolicyManifest> for Watched {
    fn from(policy: &PolicyManifest) -> Self {
        let PolicyManifest { observes, writes, facts, .. } = policy.clone();
        Self { observes, writes, facts, facts_when: BTreeMap::new(), fact_parts: BTreeMap::new() }
    }
}

impl Watched {
    /// Kinds observed and written: those that have to be in the caches whatever the primary. Others are watched once a
    /// primary is about to be looked at for which they are read.
    pub fn kinds(&self) -> impl Iterator<Item = TypeRef> {
        let required = self.observes.iter().filter(|it| it.is_required());
        required.map(Observe::type_ref).chain(self.writes.iter().cloned())
    }
}

/// The part in which a version with this mode is asked.
pub(super) fn role_of(mode: &Mode) -> Role {
    match mode {
        Mode::Active => Role::Active,
        Mode::Shadow => Role::Shadow,
        Mode::Canary(_) => Role::Canary,
    }
}

/// A plugin that was not taken up. The one before it goes on working.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("plugin `{plugin}` implements no step; the steps of the pipelines are: {wanted}")]
    NoStep { plugin: String, wanted: String },
    #[error(
        "plugin `{plugin}` asks for more than the version that came with the host: {beyond}. Ask for no more than that one does, or let it act as an account of its own: annotation stepwright.dev/service-account"
    )]
    AsksForMore { plugin: String, beyond: String },
    #[error("plugin `{plugin}` refuses its settings: {message}")]
    Settings { plugin: String, message: String },
}

impl Refused {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoStep { .. } => "PluginImplementsNoStep",
            Self::AsksForMore { .. } => "PluginAsksForMore",
            Self::Settings { .. } => "PluginSettingsInvalid",
        }
    }
}
