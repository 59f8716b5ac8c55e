//! Which plugin answers for a step right now: embedded, overridden by a directory, overridden by a ConfigMap.
//!
//! A swap is one exchange under a lock; passes under way keep the `Arc` that they began with.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use stepwright_core::admit::Grants;
use stepwright_core::guest::Guest;
use stepwright_core::journal::PluginRef;
use stepwright_core::manifest::{PolicyManifest, StepManifest};
use stepwright_core::object::TypeRef;
use stepwright_core::slot::{OnFailure, Role};

/// Where a plugin came from. Later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Embedded,
    Directory(String),
    /// `namespace/name`.
    ConfigMap(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Directory(path) => write!(f, "file {path}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
        }
    }
}

/// The plugin that answers for a step, and what it may do.
#[derive(Clone)]
pub struct Active {
    pub guest: Arc<dyn Guest>,
    pub step: StepManifest,
    pub grants: Grants,
    /// JSON text.
    pub settings: String,
    pub source: Source,
    pub role: Role,
    pub on_failure: OnFailure,
    /// The account as which its effects are carried out; `None`: as the operator.
    pub identity: Option<Identity>,
}

impl Active {
    /// For records and messages.
    pub fn plugin(&self) -> PluginRef {
        plugin_ref(&self.guest, &self.source)
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
    /// `Shadow`: its verdict is recorded and has no effect.
    pub role: Role,
    pub on_failure: OnFailure,
}

impl Chained {
    /// For records and messages.
    pub fn plugin(&self) -> PluginRef {
        plugin_ref(&self.guest, &self.source)
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

/// What one pass has to say of a version: what promotion and rollback are decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Its plan was carried out.
    Good,
    /// A shadow's plan was the same as that of the version that answers.
    Agreed,
    /// A shadow's plan was another: how many fields differ.
    Differed(usize),
    /// It gave no plan that could be carried out: reason word and message.
    Bad { reason: String, message: String },
}

/// A plugin that was not taken up. The one before it goes on working.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("plugin `{plugin}` implements no step; the steps of the pipelines are: {wanted}")]
    NoStep { plugin: String, wanted: String },
    #[error(
        "plugin `{plugin}` asks for more than the version it would replace: {beyond}. Ask for no more than that version does"
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

/// The slots of all steps.
#[derive(Default)]
pub struct Slots {
    /// Step name to its layers, the winner last.
    layers: RwLock<BTreeMap<String, BTreeMap<Source, Arc<Active>>>>,
    /// Names of the steps that some pipeline has.
    wanted: Vec<String>,
}

impl Slots {
    /// Slots for these steps.
    pub fn new(wanted: Vec<String>) -> Self {
        Self { layers: RwLock::default(), wanted }
    }

    /// The plugin that answers for the step.
    pub fn active(&self, step: &str) -> Option<Arc<Active>> {
        self.layers.read().get(step)?.values().next_back().cloned()
    }

    /// The plugin that answers for each step.
    pub fn all_active(&self) -> Vec<(String, Arc<Active>)> {
        let layers = self.layers.read();
        layers.iter().filter_map(|(step, slot)| Some((step.clone(), slot.values().next_back()?.clone()))).collect()
    }

    /// Who answers for the step of this primary.
    pub fn choose(&self, step: &str, _uid: &str, _labels: &BTreeMap<String, String>) -> Option<Choice> {
        Some(Choice { active: self.active(step)?, shadow: None })
    }

    /// The version that came with the host, for a slot that falls back to it.
    pub fn embedded(&self, step: &str) -> Option<Arc<Active>> {
        self.layers.read().get(step)?.get(&Source::Embedded).cloned()
    }

    /// The policies that are shown the plans of this step of this primary, in order.
    pub fn policies(&self, _step: &str, _uid: &str, _labels: &BTreeMap<String, String>) -> Vec<Arc<Chained>> {
        Vec::new()
    }

    /// Takes note of how a version fared. `plugin` is its digest.
    pub fn judged(&self, _step: &str, _plugin: &stepwright_core::guest::Digest, _uid: &str, _judgement: &Judgement) {}

    /// Takes a plugin up for every step that it implements and some pipeline has. Returns those steps.
    ///
    /// A plugin that did not come with the host may ask for no more than the version below it does.
    pub fn put(&self, source: Source, guest: &Arc<dyn Guest>, settings: &str) -> Result<Vec<String>, Refused> {
        let plugin = guest.manifest().name.clone();
        let violations = guest.validate_settings(settings);
        let violations = violations.map_err(|error| error.to_string()).and_then(|violations| {
            if violations.is_empty() {
                Ok(())
            } else {
                let texts: Vec<String> =
                    violations.iter().map(|violation| format!("{}: {}", violation.field, violation.message)).collect();
                Err(texts.join("; "))
            }
        });
        if let Err(message) = violations {
            return Err(Refused::Settings { plugin, message });
        }
        let steps: Vec<&StepManifest> =
            guest.manifest().steps.iter().filter(|step| self.wanted.contains(&step.name)).collect();
        if steps.is_empty() {
            return Err(Refused::NoStep { plugin, wanted: self.wanted.join(", ") });
        }
        let mut layers = self.layers.write();
        if source != Source::Embedded {
            for step in &steps {
                // What lies directly below the new layer is the measure of what it may ask for.
                let below = layers.get(&step.name).and_then(|slot| slot.range(..source.clone()).next_back());
                let beyond = below.map(|(_, below)| Grants::asked_by(step).beyond(&below.grants)).unwrap_or_default();
                if !beyond.is_empty() {
                    return Err(Refused::AsksForMore { plugin, beyond: beyond.join(", ") });
                }
            }
        }
        let mut names = Vec::new();
        for step in steps {
            let active = Arc::new(Active {
                guest: guest.clone(),
                step: step.clone(),
                grants: Grants::asked_by(step),
                settings: settings.to_owned(),
                source: source.clone(),
                role: Role::Active,
                on_failure: OnFailure::default(),
                identity: None,
            });
            layers.entry(step.name.clone()).or_default().insert(source.clone(), active);
            names.push(step.name.clone());
        }
        Ok(names)
    }

    /// Gives up what came from a source; what lies below answers again. Returns the steps concerned.
    pub fn remove(&self, source: &Source) -> Vec<String> {
        let mut layers = self.layers.write();
        let mut names = Vec::new();
        for (step, slot) in layers.iter_mut() {
            if slot.remove(source).is_some() {
                names.push(step.clone());
            }
        }
        names
    }

    /// Every kind that the active plugins observe or write.
    pub fn kinds(&self) -> Vec<TypeRef> {
        let layers = self.layers.read();
        let mut kinds: Vec<TypeRef> = layers
            .values()
            .filter_map(|slot| slot.values().next_back())
            .flat_map(|active| {
                let observed = active.step.observes.iter().map(|observe| observe.type_ref());
                observed.chain(active.step.writes.iter().cloned())
            })
            .collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}
