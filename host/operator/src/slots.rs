//! Which plugin answers for a step right now: embedded, overridden by a directory, a ConfigMap, an OCI artifact; who is asked
//! beside it, and which policies are shown its plans.
//!
//! A swap is one exchange under a lock; passes under way keep the `Arc`s that they began with. Where versions come from, and
//! whether they may be taken up, is decided elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use stepwright_core::guest::{Digest, Guest};
use stepwright_core::object::TypeRef;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::slot::{Decision, Mode};
use stepwright_core::world::World;
use tokio::sync::mpsc;

mod layers;
mod record;
mod version;

use layers::Layers;
pub use record::News;
pub use stepwright_core::slot::Judgement;
pub use version::{Active, Chained, Choice, Identity, Installation, Refused, Source, Version, Watched};

/// The slots of all steps.
pub struct Slots {
    layers: RwLock<Layers>,
    /// Names of the steps that some pipeline has.
    wanted: Vec<String>,
    /// Names of the checks before storing that some pipeline has.
    checks: Vec<String>,
    started: Instant,
    news: mpsc::UnboundedSender<News>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<News>>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Slots {
    /// Slots for the steps and checks of these pipelines.
    pub fn of(pipelines: &[Pipeline]) -> Self {
        let checks = pipelines.iter().flat_map(|it| it.admission.clone()).collect();
        Self { checks, ..Self::new(pipelines.iter().flat_map(|it| it.steps.clone()).collect()) }
    }

    /// Slots for these steps.
    pub fn new(wanted: Vec<String>) -> Self {
        // Unbounded: a pass must never wait for whoever writes annotations, and there is little news.
        let (news, receiver) = mpsc::unbounded_channel();
        Self {
            layers: RwLock::default(),
            wanted,
            checks: Vec::new(),
            started: Instant::now(),
            news,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// What becomes known of versions by their passes. For one listener: `None` when it was taken before.
    pub(crate) fn news(&self) -> Option<mpsc::UnboundedReceiver<News>> {
        self.receiver.lock().take()
    }

    /// Names of the steps, or for a plugin of the admission world the checks, that some pipeline has.
    pub fn wanted(&self, world: World) -> &[String] {
        if world == World::Admission { &self.checks } else { &self.wanted }
    }

    /// The version that answers for the step of every primary that no canary holds.
    pub fn active(&self, step: &str) -> Option<Arc<Active>> {
        self.layers.read().active(step)
    }

    /// Who answers for the step of this primary, and who is asked beside it.
    pub fn choose(&self, step: &str, uid: &str, labels: &BTreeMap<String, String>) -> Option<Choice> {
        self.layers.read().choose(step, uid, labels)
    }

    /// The version that came with the host, for a slot that falls back to it.
    pub fn embedded(&self, step: &str) -> Option<Arc<Active>> {
        self.layers.read().from(step, &Source::Embedded).and_then(|versions| versions.last().cloned())
    }

    /// The policies that are shown the plans of this step of this primary, in order.
    pub fn policies(&self, step: &str, uid: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<Chained>> {
        self.layers.read().policies(step, uid, labels)
    }

    /// What whoever may be asked about the step looks at and writes: active, canary and shadow versions, policies, and the
    /// embedded version in case of need.
    pub fn observing(&self, step: &str) -> Vec<Arc<Watched>> {
        self.layers.read().observing(step)
    }

    /// Every kind that `observing` names for some step.
    pub fn kinds(&self) -> Vec<TypeRef> {
        self.layers.read().kinds()
    }

    /// Every version of every slot, step by step, the one that comes last above the others.
    pub fn versions(&self) -> Vec<(String, Arc<Active>)> {
        self.layers.read().versions()
    }

    /// Every policy version.
    pub fn chain(&self) -> Vec<Arc<Chained>> {
        self.layers.read().chain()
    }

    /// Takes note of how a version fared in a pass. What follows from it, a promotion or the way back to the version before,
    /// takes effect at once. `plugin` is its digest.
    pub fn judged(&self, step: &str, plugin: &Digest, _uid: &str, judgement: &Judgement) {
        let Some(found) = self.layers.read().find(step, plugin) else { return };
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (first, decision) = found.record.judged(now, judgement);
        let tell = |news| {
            // The listener ends only with the operator.
            let _ = self.news.send(news);
        };
        if let Some(took) = first {
            tell(News::FirstPass { source: found.source.clone(), digest: plugin.clone(), step: step.to_owned(), took });
        }
        if let Judgement::Differed(fields) = judgement {
            let (plugin, digest) = (found.plugin, plugin.clone());
            tell(News::Differed { step: step.to_owned(), plugin, digest, fields: *fields });
        }
        match decision {
            Decision::Keep => {}
            Decision::Promote => {
                let steps = self.promote(&found.source, plugin);
                tell(News::Promoted { source: found.source, digest: plugin.clone(), steps });
            }
            Decision::RollBack { reason, message } => {
                let steps = self.layers.write().withdraw(&found.source, plugin);
                tell(News::RolledBack { source: found.source, digest: plugin.clone(), steps, reason, message });
            }
        }
    }

    /// Makes a version that was tried out answer for every primary. Returns the steps concerned.
    pub(crate) fn promote(&self, source: &Source, plugin: &Digest) -> Vec<String> {
        self.layers.write().change_mode(source, plugin, &Mode::Active)
    }

    /// Exchanges all that came from these sources, as one: all are taken up, or none. What a source had before and is not
    /// among its new versions is given up. Returns the steps concerned.
    pub fn install(&self, installations: Vec<Installation>) -> Result<Vec<String>, Refused> {
        let mut layers = self.layers.write();
        let before = layers.clone();
        let mut next = before.clone();
        let mut steps = Vec::new();
        for installation in &installations {
            steps.extend(next.remove(&installation.source));
        }
        for Installation { source, versions } in installations {
            for version in versions {
                let wanted = self.wanted(version.guest.world());
                steps.extend(next.add(&before, wanted, &source, version)?);
            }
        }
        *layers = next;
        steps.sort();
        steps.dedup();
        Ok(steps)
    }

    /// Whether a version could be installed, without doing so.
    pub fn check(&self, source: &Source, version: Version) -> Result<Vec<String>, Refused> {
        let before = self.layers.read().clone();
        let mut next = before.clone();
        next.remove(source);
        next.add(&before, self.wanted(version.guest.world()), source, version)
    }

    /// Takes a plugin up for every step that it implements and some pipeline has, beside what else came from the source: for
    /// embedded plugins and those of a directory. Returns those steps; for a policy, the ones that it reviews.
    ///
    /// A plugin that did not come with the host may ask for no more than the one that did.
    pub fn put(&self, source: Source, guest: &Arc<dyn Guest>, settings: &str) -> Result<Vec<String>, Refused> {
        check_settings(guest.as_ref(), settings)?;
        let version = Version::new(guest.clone(), settings.to_owned());
        let mut layers = self.layers.write();
        let mut next = layers.clone();
        let steps = next.add(&layers, self.wanted(guest.world()), &source, version)?;
        *layers = next;
        Ok(steps)
    }

    /// Gives up what came from a source; what lies below answers again. Returns the steps concerned.
    pub fn remove(&self, source: &Source) -> Vec<String> {
        self.layers.write().remove(source)
    }
}

/// Asks the plugin about its settings. Blocks.
pub(crate) fn check_settings(guest: &dyn Guest, settings: &str) -> Result<(), Refused> {
    let plugin = guest.manifest().name.clone();
    let message = match guest.validate_settings(settings) {
        Ok(violations) if violations.is_empty() => return Ok(()),
        Ok(violations) => {
            let texts: Vec<String> = violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
            texts.join("; ")
        }
        Err(error) => error.to_string(),
    };
    Err(Refused::Settings { plugin, message })
}
