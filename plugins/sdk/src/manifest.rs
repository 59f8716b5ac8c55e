//! What a plugin says of itself. Mirrors the host's type without depending on the host, so that guests stay small;
//! a test holds the two together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What `describe` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    name: String,
    version: String,
    description: String,
    steps: Vec<StepManifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyManifest>,
}

impl Manifest {
    /// A plugin of this name (lower-case, as in file names) and version.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), description: String::new(), steps: Vec::new(), policy: None }
    }

    /// One sentence on what it is for.
    pub fn description(mut self, text: &str) -> Self {
        self.description = text.into();
        self
    }

    /// Adds a step.
    pub fn step(mut self, step: StepManifest) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds a check of resources that are about to be stored, by the name that a pipeline's `admission` has. Only of a plugin that
    /// is an [`Admission`](crate::Admission), which plans nothing: it writes and calls nothing.
    pub fn check(self, check: StepManifest) -> Self {
        self.step(check)
    }

    /// What the plugin reviews. Only of a plugin that is a [`Policy`](crate::Policy), which has no steps.
    pub fn policy(mut self, policy: PolicyManifest) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The steps, in the order in which they were added.
    pub fn steps(&self) -> &[StepManifest] {
        &self.steps
    }
}

/// One step that the plugin implements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepManifest {
    name: String,
    primary: Vec<String>,
    observes: Vec<Observe>,
    facts: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    facts_when: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fact_parts: BTreeMap<String, FactPart>,
    writes: Vec<TypeRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    takes: Vec<Takes>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    resets: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    follows: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    begins: BTreeSet<TypeRef>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retires: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    system_secrets: BTreeSet<String>,
    calls: Vec<String>,
    clock: bool,
    limits: Limits,
}

impl StepManifest {
    /// A step of this name; a pipeline refers to it.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            primary: Vec::new(),
            observes: Vec::new(),
            facts: Vec::new(),
            facts_when: BTreeMap::new(),
            fact_parts: BTreeMap::new(),
            writes: Vec::new(),
            takes: Vec::new(),
            resets: BTreeMap::new(),
            follows: BTreeSet::new(),
            begins: BTreeSet::new(),
            retires: false,
            system_secrets: BTreeSet::new(),
            calls: Vec::new(),
            clock: false,
            limits: Limits::default(),
        }
    }

    /// Fields of the primary that are read: dotted paths such as `spec` or `status.state`.
    pub fn primary<'a>(mut self, fields: impl IntoIterator<Item = &'a str>) -> Self {
        self.primary.extend(fields.into_iter().map(str::to_owned));
        self
    }

    /// Adds an object set.
    pub fn observe(mut self, observe: Observe) -> Self {
        self.observes.push(observe);
        self
    }

    /// Facts that are read, by name.
    pub fn facts<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.facts.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// A fact that is read only for primaries that say something at a path: `spec.ldap`.
    pub fn fact_when(mut self, name: &str, path: &str) -> Self {
        self.facts_when.insert(name.into(), path.into());
        self
    }

    /// What is read of a fact, where that is not all of it. A change of the rest does not have the step asked again.
    pub fn fact_part(mut self, name: &str, part: FactPart) -> Self {
        self.fact_parts.insert(name.into(), part);
        self
    }

    /// Fields of a kind that is written: dotted paths that an amendment may take from another field manager.
    pub fn takes<'a>(mut self, api_version: &str, kind: &str, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let fields = fields.into_iter().map(str::to_owned).collect();
        self.takes.push(Takes { api_version: api_version.into(), kind: kind.into(), fields });
        self
    }

    /// A field of the primary's spec that is a request, and the value at which it rests: `spec.recover` and `false`. A plan says
    /// that the request is done by naming the field, with that value, among its [`defaults`](crate::Plan::defaults).
    pub fn resets(mut self, field: &str, rests_at: impl Into<serde_json::Value>) -> Self {
        self.resets.insert(field.into(), rests_at.into());
        self
    }

    /// A field of the primary's spec that follows something elsewhere: what a plan's [`defaults`](crate::Plan::defaults) say of it
    /// is put there, whatever stands there.
    pub fn follows(mut self, field: &str) -> Self {
        self.follows.insert(field.into());
        self
    }

    /// A kind of which the plan may [begin](crate::Plan::begin) objects: one that is there is left as it is.
    pub fn begins(mut self, api_version: &str, kind: &str) -> Self {
        self.begins.insert(TypeRef { api_version: api_version.into(), kind: kind.into() });
        self
    }

    /// A plan whose note has `retire`, a text that says why, has the host delete the primary.
    pub fn retires(mut self) -> Self {
        self.retires = true;
        self
    }

    /// Secrets of the managed system's namespace whose values calls may hold, by name: `login-$(spec.peers[].name)`.
    pub fn system_secrets<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.system_secrets.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// A kind that the plan may hold in `desired` or `amended`.
    pub fn writes(mut self, api_version: &str, kind: &str) -> Self {
        self.writes.push(TypeRef { api_version: api_version.into(), kind: kind.into() });
        self
    }

    /// Calls that the plan may hold: `PUT /v1/bdbs/*`; a `*` stands for one path segment.
    pub fn calls<'a>(mut self, calls: impl IntoIterator<Item = &'a str>) -> Self {
        self.calls.extend(calls.into_iter().map(str::to_owned));
        self
    }

    /// The plan depends on `now`. Without it the time does not decide whether the step is asked again.
    pub fn clock(mut self) -> Self {
        self.clock = true;
        self
    }

    /// Other limits than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// A check that sees these object sets and facts of what the step sees, and does nothing.
    pub fn part(&self, name: &str, sets: &[&str], facts: &[&str]) -> Self {
        Self {
            primary: self.primary.clone(),
            observes: self.observes.iter().filter(|it| sets.contains(&it.name.as_str())).cloned().collect(),
            facts: self.facts.iter().filter(|it| facts.contains(&it.as_str())).cloned().collect(),
            ..Self::new(name)
        }
    }

    /// Names of the object sets.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &str> {
        self.observes.iter().map(|observe| observe.name.as_str())
    }

    /// The step's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What is read of a fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FactPart {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<BTreeMap<String, String>>,
}

impl FactPart {
    /// These fields only, of each item if the fact is a list: dotted paths.
    pub fn fields<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        Self { fields: fields.into_iter().map(str::to_owned).collect(), items: Vec::new() }
    }

    /// Of a list, the items that have this value at this path: `name`, `$(metadata.name)`. Said several times, those of which
    /// one of these is true. `$(path)` stands for a field of the primary; where that is empty, it is true of no item.
    pub fn having(path: &str, value: &str) -> Self {
        Self::default().or_having(path, value)
    }

    /// And those.
    pub fn or_having(mut self, path: &str, value: &str) -> Self {
        self.items.push(BTreeMap::from([(path.into(), value.into())]));
        self
    }
}

/// What a policy reviews, sees, and may change in the plans that it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyManifest {
    reviews: Vec<String>,
    primary: Vec<String>,
    observes: Vec<Observe>,
    facts: Vec<String>,
    writes: Vec<TypeRef>,
    calls: Vec<String>,
    status: bool,
    clock: bool,
    limits: Limits,
}

impl PolicyManifest {
    /// A policy that is shown the plans of these steps; `*` stands for every step.
    pub fn reviewing<'a>(steps: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            reviews: steps.into_iter().map(str::to_owned).collect(),
            primary: Vec::new(),
            observes: Vec::new(),
            facts: Vec::new(),
            writes: Vec::new(),
            calls: Vec::new(),
            status: false,
            clock: false,
            limits: Limits::default(),
        }
    }

    /// Fields of the primary that are read: dotted paths such as `spec` or `status.state`.
    pub fn primary<'a>(mut self, fields: impl IntoIterator<Item = &'a str>) -> Self {
        self.primary.extend(fields.into_iter().map(str::to_owned));
        self
    }

    /// Adds an object set.
    pub fn observe(mut self, observe: Observe) -> Self {
        self.observes.push(observe);
        self
    }

    /// Facts that are read, by name.
    pub fn facts<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.facts.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// A kind that an amendment may add, change or remove.
    pub fn writes(mut self, api_version: &str, kind: &str) -> Self {
        self.writes.push(TypeRef { api_version: api_version.into(), kind: kind.into() });
        self
    }

    /// Calls that an amendment may add or change, as in [`StepManifest::calls`].
    pub fn calls<'a>(mut self, calls: impl IntoIterator<Item = &'a str>) -> Self {
        self.calls.extend(calls.into_iter().map(str::to_owned));
        self
    }

    /// An amendment may change the plan's status.
    pub fn status(mut self) -> Self {
        self.status = true;
        self
    }

    /// The verdict depends on `now`.
    pub fn clock(mut self) -> Self {
        self.clock = true;
        self
    }

    /// Other limits than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// An API version and kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeRef {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `ConfigMap`.
    pub kind: String,
}

/// Fields that an amendment may take from another field manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Takes {
    api_version: String,
    kind: String,
    fields: Vec<String>,
}

/// Which objects of a kind a step sees, under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observe {
    name: String,
    api_version: String,
    kind: String,
    select: Select,
    #[serde(skip_serializing_if = "Within::is_primary")]
    within: Within,
    fields: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
}

/// Whose namespace is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
enum Within {
    #[default]
    Primary,
    System,
    SameSystem,
    Anywhere,
}

impl Within {
    fn is_primary(&self) -> bool {
        *self == Self::Primary
    }
}

/// How objects are chosen. `$(metadata.name)` in a value stands for that field of the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Select {
    /// Objects that Stepwright made for this primary, whichever step did.
    Owned,
    /// Objects of the primary's namespace with all of these labels; of a cluster-scoped kind, all with these labels.
    Labels(BTreeMap<String, String>),
    /// Objects of the primary's namespace by name.
    Names(Vec<String>),
}

impl Observe {
    /// An object set of this name. It holds what the primary owns until told otherwise.
    pub fn new(name: &str, api_version: &str, kind: &str) -> Self {
        Self {
            name: name.into(),
            api_version: api_version.into(),
            kind: kind.into(),
            select: Select::Owned,
            within: Within::Primary,
            fields: Vec::new(),
            when: None,
            optional: false,
        }
    }

    /// Only for primaries that say something at this path: for others the set is empty, and the kind is not watched.
    pub fn when(mut self, path: &str) -> Self {
        self.when = Some(path.into());
        self
    }

    /// The operator may have no right to read the kind; read the set with
    /// [`Observation::optional_set`](crate::Observation::optional_set).
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Objects of the namespace with all of these labels; none: every object of the kind.
    pub fn labels<'a>(mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.select = Select::Labels(labels);
        self
    }

    /// Every object of the kind in the namespace; of a cluster-scoped kind, every one.
    pub fn all(self) -> Self {
        self.labels([])
    }

    /// Objects of the namespace by name.
    pub fn names<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.select = Select::Names(names.into_iter().map(str::to_owned).collect());
        self
    }

    /// Objects of the namespace where the managed system is that the primary belongs to, which may not be the primary's own.
    pub fn within_system(mut self) -> Self {
        self.within = Within::System;
        self
    }

    /// Objects that belong to the same managed system as the primary, in whichever namespace that the operator watches.
    pub fn of_same_system(mut self) -> Self {
        self.within = Within::SameSystem;
        self
    }

    /// Objects in whichever namespace that the operator watches.
    pub fn anywhere(mut self) -> Self {
        self.within = Within::Anywhere;
        self
    }

    /// Fields that are read: dotted paths.
    pub fn fields<'a>(mut self, fields: impl IntoIterator<Item = &'a str>) -> Self {
        self.fields.extend(fields.into_iter().map(str::to_owned));
        self
    }
}

/// What one call of a step or policy may use, and what one pass may ask for. The default is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Sum over all linear memories and tables of an instance.
    pub memory_mib: u32,
    /// Wall time of one call.
    pub milliseconds: u32,
    /// A bound that is the same on every machine: about one unit for each instruction. `None`: none is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Size of what one call hands back.
    pub plan_kib: u32,
    /// Lines that one call may log.
    pub log_lines: u32,
    /// Bytes that one call may log, over all lines.
    pub log_kib: u32,
    /// Objects, desired and amended, in one plan.
    pub objects: u32,
    /// Calls to the managed system in one round.
    pub calls: u32,
    /// Rounds of calls in one pass.
    pub rounds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mib: 64,
            milliseconds: 500,
            fuel: None,
            plan_kib: 4096,
            log_lines: 100,
            log_kib: 64,
            objects: 5_000,
            calls: 256,
            rounds: 8,
        }
    }
}
