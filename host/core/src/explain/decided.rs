//! Which plugin decided a field, by the records: the newest plan that has it, as the policies left it.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::words::{plugin, value};
use crate::field_path::FieldPath;
use crate::journal::{Answer, Effect, PassRecord, PluginRef, ReviewRecord, RoundRecord, StepRecord};
use crate::object::ObjectRef;
use crate::plan::Plan;
use crate::policy::Verdict;
use crate::slot::Role;

/// Who decided one field of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub kind: String,
    pub name: String,
    pub field: FieldPath,
    /// `None`: a policy took it out of the plan.
    pub value: Option<Value>,
    pub step: String,
    pub plugin: PluginRef,
    pub role: Role,
    /// The last policy that changed it, and what it was before.
    pub policy: Option<(PluginRef, Option<Value>)>,
    /// Number and time of the newest pass that planned it.
    pub pass: (u64, String),
    /// The oldest recorded pass since which it was the same, by the same plugin.
    pub since: (u64, String),
    /// What was planned before that, if that is recorded.
    pub before: Option<Option<Value>>,
    /// What became of it in the newest pass.
    pub effect: Option<Effect>,
}

/// Every object whose field some step decided, newest records first; `of` names one object by kind and name.
///
/// The primary's own fields are `status…` and `spec…`, as a step's status and defaults.
pub fn decided(
    records: &[Arc<PassRecord>],
    primary: &ObjectRef,
    of: Option<(&str, &str)>,
    field: &FieldPath,
) -> Vec<Decision> {
    let mut all: Vec<Decision> = Vec::new();
    let mut settled: Vec<bool> = Vec::new();
    for record in records {
        for found in in_record(record, primary, of, field) {
            let known = all.iter().position(|it| it.kind == found.kind && it.name == found.name);
            let Some((known, settled)) = known.and_then(|at| Some((all.get_mut(at)?, settled.get_mut(at)?))) else {
                all.push(found);
                settled.push(false);
                continue;
            };
            if *settled {
                continue;
            }
            let same = known.value == found.value
                && known.plugin.digest == found.plugin.digest
                && known.policy.as_ref().map(|it| &it.0.digest) == found.policy.as_ref().map(|it| &it.0.digest);
            if same {
                known.since = found.pass;
            } else {
                known.before = Some(found.value);
                *settled = true;
            }
        }
    }
    all
}

/// The decisions of one pass: of each object the last one.
fn in_record(record: &PassRecord, primary: &ObjectRef, of: Option<(&str, &str)>, field: &FieldPath) -> Vec<Decision> {
    let mut all: Vec<Decision> = Vec::new();
    let acts = |step: &&StepRecord| step.role != Role::Shadow && step.error.is_none();
    for step in record.steps.iter().filter(acts) {
        for round in &step.rounds {
            let Answer::Planned(plan) = &round.answer else { continue };
            if round.policies.iter().any(|it| it.role != Role::Shadow && stops(it)) {
                continue;
            }
            for target in targets(plan, round, primary, field) {
                if of.is_some_and(|of| of != (target.kind.as_str(), target.name.as_str())) {
                    continue;
                }
                let Some((value, policy)) = effective(&target, round) else { continue };
                all.retain(|it| (&it.kind, &it.name) != (&target.kind, &target.name));
                let pass = (record.number, record.started.clone());
                let effect = round.effects.iter().rfind(|it| target.is_about(it)).cloned();
                all.push(Decision {
                    kind: target.kind,
                    name: target.name,
                    field: field.clone(),
                    value,
                    step: step.step.clone(),
                    plugin: step.plugin.clone(),
                    role: step.role,
                    policy,
                    since: pass.clone(),
                    pass,
                    before: None,
                    effect,
                });
            }
        }
    }
    all
}

fn stops(review: &ReviewRecord) -> bool {
    matches!(review.verdict, Ok(Verdict::Deny(_) | Verdict::Hold { .. }))
}

/// A part of a plan that may hold the field.
struct Target {
    kind: String,
    name: String,
    /// Where the field is in `document`.
    field: FieldPath,
    document: Value,
    /// The part as `FieldChange` and `Effect` name it: `status`, or an object.
    part: Option<&'static str>,
}

impl Target {
    /// Whether a change of this object is one of this part. A plan may leave the namespace out, so it is not compared.
    fn is(&self, object: &str) -> bool {
        match self.part {
            Some(part) => object == part,
            None => named(object).is_some_and(|(kind, name)| kind == self.kind && name == self.name),
        }
    }

    fn is_about(&self, effect: &Effect) -> bool {
        match self.part {
            Some("defaults") => matches!(effect.verb.as_str(), "defaults" | "reset" | "follow"),
            Some(part) => effect.verb == part,
            None => matches!(effect.verb.as_str(), "apply" | "amend" | "take" | "delete") && self.is(&effect.on),
        }
    }
}

/// Kind and name of `Service default/rec`, `Service rec` and `amended Service rec`.
fn named(object: &str) -> Option<(&str, &str)> {
    let object = object.strip_prefix("amended ").unwrap_or(object);
    let (kind, name) = object.split_once(' ')?;
    Some((kind, name.rsplit('/').next().unwrap_or(name)))
}

fn targets(plan: &Plan, round: &RoundRecord, primary: &ObjectRef, field: &FieldPath) -> Vec<Target> {
    let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let target = |kind: &str, name: &str, document: Value| Target {
        kind: kind.to_owned(),
        name: name.to_owned(),
        field: field.clone(),
        document,
        part: None,
    };
    let objects = plan.desired.iter().chain(&plan.amended);
    let mut all: Vec<Target> = objects.map(|it| target(&it.id.kind, &it.id.name, json(&it.body))).collect();
    // What only a policy put there.
    for (kind, name) in round.policies.iter().flat_map(|it| &it.changes).filter_map(|it| named(&it.object)) {
        if kind != "call" && kind != "event" && !all.iter().any(|it| it.kind == kind && it.name == name) {
            all.push(target(kind, name, Value::Null));
        }
    }
    for (part, key, text) in [("status", "status", &plan.status), ("defaults", "spec", &plan.defaults)] {
        if let Some(field) = field.within(key) {
            let document = text.as_deref().map(json).unwrap_or_default();
            let part = Some(part);
            all.push(Target { kind: primary.kind.clone(), name: primary.name.clone(), field, document, part });
        }
    }
    all
}

type Effective = (Option<Value>, Option<(PluginRef, Option<Value>)>);

/// The field as the policies left it; `None` if neither the plan nor a policy says anything of it.
fn effective(target: &Target, round: &RoundRecord) -> Option<Effective> {
    let mut value = target.field.find(&target.document).cloned();
    let mut policy = None;
    for review in round.policies.iter().filter(|it| it.role != Role::Shadow) {
        for change in review.changes.iter().filter(|it| target.is(&it.object)) {
            let Ok(changed) = FieldPath::parse(&change.field) else { continue };
            let part = |whole: &Option<Value>, below: &FieldPath| whole.as_ref().and_then(|it| below.find(it)).cloned();
            if let Some(below) = target.field.below(&changed) {
                let (before, after) = (part(&change.before, &below), part(&change.after, &below));
                if before != after {
                    value = after;
                    policy = Some((review.plugin.clone(), before));
                }
            } else if changed.below(&target.field).is_some() {
                // A part of the field: what it is as a whole is not in the record, who changed it is.
                policy = Some((review.plugin.clone(), value.clone()));
            }
        }
    }
    (value.is_some() || policy.is_some()).then_some((value, policy))
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |it: &Option<Value>| it.as_ref().map_or_else(|| "nothing".to_owned(), value);
        let mut text = format!("{} of {}/{}: {}\n", self.field, self.kind, self.name, shown(&self.value));
        let mut row = |label: &str, words: &str| {
            let _ = writeln!(text, "  {label:<11} {words}");
        };
        let as_what = match self.role {
            Role::Canary => ", as a canary",
            Role::Fallback => ", as a fallback",
            Role::Held => ", whose last good plan was kept up",
            Role::Active | Role::Shadow => "",
        };
        match &self.policy {
            Some((policy, before)) => {
                row("decided by", &format!("policy {}", plugin(policy)));
                row(
                    "instead of",
                    &format!("{}, planned by {}, step {}{as_what}", shown(before), plugin(&self.plugin), self.step),
                );
            }
            None => row("decided by", &format!("plugin {}, step {}{as_what}", plugin(&self.plugin), self.step)),
        }
        row("planned in", &format!("pass {}, {}", self.pass.0, self.pass.1));
        let since = format!("pass {}, {}", self.since.0, self.since.1);
        match &self.before {
            Some(before) => row("since", &format!("{since}; before that {}", shown(before))),
            None => row("since", &format!("{since}, or earlier: that is the oldest record of it")),
        }
        match &self.effect {
            Some(Effect { error: Some(error), .. }) => row("not done", &format!("{}: {}", error.reason, error.message)),
            Some(_) => row("written in", &format!("pass {}", self.pass.0)),
            None => row("written in", "an earlier pass: it is so already"),
        }
        f.write_str(text.trim_end())
    }
}
