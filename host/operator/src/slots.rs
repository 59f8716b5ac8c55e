//! Which plugin answers for a step right now: embedded, overridden by a directory, overridden by a ConfigMap.
//!
//! A swap is one exchange under a lock; passes under way keep the `Arc` that they began with.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use stepwright_core::admit::Grants;
use stepwright_core::guest::Guest;
use stepwright_core::manifest::StepManifest;
use stepwright_core::object::TypeRef;

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
