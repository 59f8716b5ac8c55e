//! The layers of all slots as data: who lies above whom, and who is asked for a primary. No locks, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stepwright_core::admit::Grants;
use stepwright_core::guest::Digest;
use stepwright_core::manifest::{PolicyManifest, StepManifest};
use stepwright_core::object::TypeRef;
use stepwright_core::slot::{Mode, Rules};

use super::record::Record;
use super::version::role_of;
use super::{Active, Chained, Choice, Refused, Source, Version, Watched};

/// Every version of every slot.
#[derive(Clone, Default)]
pub(super) struct Layers {
    /// Step name, to its layers; within one, the version that comes last is above the others.
    steps: BTreeMap<String, BTreeMap<Source, Vec<Arc<Active>>>>,
    policies: BTreeMap<Source, Vec<Arc<Chained>>>,
}

/// A version that was found by its digest.
pub(super) struct Found {
    /// The plugin's name.
    pub(super) plugin: String,
    pub(super) source: Source,
    pub(super) record: Arc<Record>,
}

impl Layers {
    /// Versions of a step, the uppermost first.
    fn downwards(&self, step: &str) -> impl Iterator<Item = &Arc<Active>> {
        self.steps.get(step).into_iter().flat_map(|slot| slot.values().rev().flat_map(|versions| versions.iter().rev()))
    }

    pub(super) fn from(&self, step: &str, source: &Source) -> Option<&Vec<Arc<Active>>> {
        self.steps.get(step)?.get(source)
    }

    pub(super) fn active(&self, step: &str) -> Option<Arc<Active>> {
        self.downwards(step).find(|it| it.mode == Mode::Active).cloned()
    }

    pub(super) fn choose(&self, step: &str, uid: &str, labels: &BTreeMap<String, String>) -> Option<Choice> {
        let mut shadow = None;
        for version in self.downwards(step) {
            match &version.mode {
                Mode::Active => return Some(Choice { active: version.clone(), shadow }),
                Mode::Canary(share) if share.holds(uid, labels) => {
                    return Some(Choice { active: version.clone(), shadow });
                }
                Mode::Canary(_) => {}
                Mode::Shadow => shadow = shadow.or_else(|| Some(version.clone())),
            }
        }
        None
    }

    pub(super) fn policies(&self, step: &str, uid: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<Chained>> {
        let mut chain: Vec<Arc<Chained>> = Vec::new();
        for (source, versions) in &self.policies {
            for version in versions.iter().rev().filter(|it| it.policy.reviews(step)) {
                let answers = match &version.mode {
                    Mode::Active => true,
                    Mode::Canary(share) if share.holds(uid, labels) => true,
                    Mode::Canary(_) => continue,
                    Mode::Shadow => false,
                };
                chain.push(version.clone());
                // Of a ConfigMap's versions one answers; embedded policies are all different ones.
                if answers && source.config_map().is_some() {
                    break;
                }
            }
        }
        chain.sort_by(|a, b| (a.priority, &a.source).cmp(&(b.priority, &b.source)));
        chain
    }

    pub(super) fn observing(&self, step: &str) -> Vec<Arc<Watched>> {
        let mut all: Vec<Arc<Watched>> = Vec::new();
        for version in self.downwards(step) {
            all.push(version.watched.clone());
            if version.mode == Mode::Active {
                break;
            }
        }
        if let Some(embedded) = self.from(step, &Source::Embedded).and_then(|versions| versions.last())
            && !all.iter().any(|it| Arc::ptr_eq(it, &embedded.watched))
        {
            all.push(embedded.watched.clone());
        }
        let policies = self.policies.values().flatten().filter(|it| it.policy.reviews(step));
        all.extend(policies.map(|it| it.watched.clone()));
        all
    }

    pub(super) fn kinds(&self) -> Vec<TypeRef> {
        let steps = self.steps.keys().flat_map(|step| self.observing(step));
        let kinds: BTreeSet<TypeRef> = steps.flat_map(|watched| watched.kinds().collect::<Vec<_>>()).collect();
        kinds.into_iter().collect()
    }

    pub(super) fn versions(&self) -> Vec<(String, Arc<Active>)> {
        let of = |(step, slot): (&String, &BTreeMap<Source, Vec<Arc<Active>>>)| {
            slot.values().flatten().map(|version| (step.clone(), version.clone())).collect::<Vec<_>>()
        };
        self.steps.iter().flat_map(of).collect()
    }

    pub(super) fn chain(&self) -> Vec<Arc<Chained>> {
        self.policies.values().flatten().cloned().collect()
    }

    /// The uppermost version of the step with this digest, or a policy that is shown its plans.
    pub(super) fn find(&self, step: &str, plugin: &Digest) -> Option<Found> {
        let of_step = self.downwards(step).find(|it| it.guest.digest() == plugin);
        if let Some(it) = of_step {
            let name = it.guest.manifest().name.clone();
            return Some(Found { plugin: name, source: it.source.clone(), record: it.record.clone() });
        }
        let policy = self.policies.values().rev().flatten().find(|it| it.guest.digest() == plugin)?;
        let name = policy.guest.manifest().name.clone();
        Some(Found { plugin: name, source: policy.source.clone(), record: policy.record.clone() })
    }

    fn record_of(&self, source: &Source, version: &Version) -> Option<Arc<Record>> {
        let same = |digest: &Digest, mode: &Mode| digest == version.guest.digest() && *mode == version.mode;
        let in_slots = self.steps.values().filter_map(|slot| slot.get(source)).flatten();
        let found = in_slots.filter(|it| same(it.guest.digest(), &it.mode)).map(|it| it.record.clone()).next();
        let policies = || self.policies.get(source).into_iter().flatten();
        found.or_else(|| policies().find(|it| same(it.guest.digest(), &it.mode)).map(|it| it.record.clone()))
    }

    /// Lays a version above what else came from the source. `before` are the layers as they were: a version that was there
    /// and takes part in the same way keeps its record.
    pub(super) fn add(
        &mut self,
        before: &Self,
        wanted: &[String],
        source: &Source,
        version: Version,
    ) -> Result<Vec<String>, Refused> {
        let record = before.record_of(source, &version).unwrap_or_else(|| {
            let mut rules = Rules::of(&version.mode, version.promote_after);
            if source.config_map().is_none() {
                // Nobody could take it back: it lies where no annotation can name it.
                rules.faults = u32::MAX;
            }
            Arc::new(Record::new(rules, version.since))
        });
        if let Some(policy) = version.guest.manifest().policy.clone() {
            return self.add_policy(wanted, source, version, policy, record);
        }
        let plugin = version.guest.manifest().name.clone();
        let steps: Vec<StepManifest> =
            version.guest.manifest().steps.iter().filter(|step| wanted.contains(&step.name)).cloned().collect();
        if steps.is_empty() {
            return Err(Refused::NoStep { plugin, wanted: wanted.join(", ") });
        }
        for step in &steps {
            let asked = Grants::asked_by(step);
            // Of one with an account of its own, that account's rights decide about the rest.
            let asked = if version.identity.is_some() { asked.beside_rights() } else { asked };
            let beyond = self.beyond(source, step, &asked);
            if !beyond.is_empty() {
                return Err(Refused::AsksForMore { plugin, beyond: beyond.join(", ") });
            }
        }
        let names = steps.iter().map(|step| step.name.clone()).collect();
        for step in steps {
            let active = Arc::new(Active {
                guest: version.guest.clone(),
                grants: Grants::asked_by(&step),
                watched: Arc::new(Watched::from(&step)),
                settings: version.settings.clone(),
                source: source.clone(),
                mode: version.mode.clone(),
                role: role_of(&version.mode),
                on_failure: version.on_failure,
                identity: version.identity.clone(),
                record: record.clone(),
                step,
            });
            let layer = self.steps.entry(active.step.name.clone()).or_default().entry(source.clone()).or_default();
            if source.config_map().is_none() {
                layer.clear();
            }
            layer.push(active);
        }
        Ok(names)
    }

    /// What a step asks for beyond what the version that came with the host may do.
    fn beyond(&self, source: &Source, step: &StepManifest, asked: &Grants) -> Vec<String> {
        let slot = self.steps.get(&step.name);
        let lowest = slot.and_then(|slot| slot.iter().find(|(it, _)| it.config_map().is_none() && *it < source));
        match lowest.and_then(|(_, versions)| versions.last()) {
            Some(came_with_the_host) => asked.beyond(&came_with_the_host.grants),
            // A folder is as trusted as the host itself; a ConfigMap for a step that nobody serves may ask for nothing.
            None if source.config_map().is_none() => Vec::new(),
            None => asked.beyond(&Grants::default()),
        }
    }

    fn add_policy(
        &mut self,
        wanted: &[String],
        source: &Source,
        version: Version,
        policy: PolicyManifest,
        record: Arc<Record>,
    ) -> Result<Vec<String>, Refused> {
        let steps: Vec<String> = wanted.iter().filter(|step| policy.reviews(step)).cloned().collect();
        if steps.is_empty() {
            let plugin = version.guest.manifest().name.clone();
            return Err(Refused::NoStep { plugin, wanted: wanted.join(", ") });
        }
        let layer = self.policies.entry(source.clone()).or_default();
        if source.config_map().is_none() {
            layer.retain(|it| it.guest.manifest().name != version.guest.manifest().name);
        }
        layer.push(Arc::new(Chained {
            watched: Arc::new(Watched::from(&policy)),
            role: role_of(&version.mode),
            guest: version.guest,
            policy,
            settings: version.settings,
            source: source.clone(),
            priority: version.priority,
            mode: version.mode,
            on_failure: version.on_failure,
            record,
        }));
        Ok(steps)
    }

    /// Gives up what came from a source. Returns the steps concerned.
    pub(super) fn remove(&mut self, source: &Source) -> Vec<String> {
        self.edit(source, |_| None::<Mode>, |_| true)
    }

    /// Gives up one version of a ConfigMap.
    pub(super) fn withdraw(&mut self, source: &Source, plugin: &Digest) -> Vec<String> {
        self.edit(source, |_| None, |digest| digest == plugin)
    }

    /// Lets a version take part in another way.
    pub(super) fn change_mode(&mut self, source: &Source, plugin: &Digest, mode: &Mode) -> Vec<String> {
        self.edit(source, |digest| (digest == plugin).then(|| mode.clone()), |_| false)
    }

    fn edit(
        &mut self,
        source: &Source,
        mode: impl Fn(&Digest) -> Option<Mode>,
        drops: impl Fn(&Digest) -> bool,
    ) -> Vec<String> {
        let mut names = Vec::new();
        for (step, slot) in &mut self.steps {
            let Some(layer) = slot.get_mut(source) else { continue };
            let mut touched = false;
            layer.retain(|it| {
                let drop = drops(it.guest.digest());
                touched |= drop;
                !drop
            });
            for version in layer.iter_mut() {
                if let Some(mode) = mode(version.guest.digest()).filter(|mode| *mode != version.mode) {
                    touched = true;
                    let record = Arc::new(Record::new(Rules::of(&mode, None), None));
                    *version = Arc::new(Active { role: role_of(&mode), mode, record, ..version.as_ref().clone() });
                }
            }
            if layer.is_empty() {
                slot.remove(source);
            }
            if touched {
                names.push(step.clone());
            }
        }
        if let Some(layer) = self.policies.get_mut(source) {
            layer.retain(|it| {
                let drop = drops(it.guest.digest());
                if drop {
                    names.extend(it.policy.reviews.clone());
                }
                !drop
            });
            for version in layer.iter_mut() {
                if let Some(mode) = mode(version.guest.digest()).filter(|mode| *mode != version.mode) {
                    names.extend(version.policy.reviews.clone());
                    let record = Arc::new(Record::new(Rules::of(&mode, None), None));
                    *version = Arc::new(Chained { role: role_of(&mode), mode, record, ..version.as_ref().clone() });
                }
            }
            if layer.is_empty() {
                self.policies.remove(source);
            }
        }
        // A policy of every step concerns every step.
        if names.iter().any(|name| name == "*") {
            names = self.steps.keys().cloned().collect();
        }
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests;
