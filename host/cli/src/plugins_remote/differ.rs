//! What a plugin would change: its rehearsal, and its plans as a shadow beside those of the version that answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use serde_json::Value;
use stepwright_core::explain::change;
use stepwright_core::journal::{Answer, FieldChange, PassRecord, StepRecord};
use stepwright_core::plan::Plan;
use stepwright_core::plan_diff::differences;
use stepwright_core::slot::Role;

use super::seen::{Seen, look};
use crate::print;
use crate::remote::{Cluster, query};

/// Recorded passes that are looked through.
const PASSES: usize = 1_000;

pub(super) async fn diff(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let (all, operator) = look(cluster).await?;
    operator?;
    let Some(plugin) = all.iter().rfind(|it| it.is_called(name)) else {
        bail!("there is no plugin `{name}`; `stepwright plugins list` shows those that there are");
    };
    let path = format!("/v1/passes{}", query(&[("limit", Some(&PASSES.to_string()))]));
    let records = cluster.passes(&path, usize::MAX).await?;
    let mut parts = Vec::new();
    parts.extend(rehearsal(plugin)?);
    parts.extend(Shadowed::of(&records, &plugin.digest).text());
    if parts.is_empty() {
        bail!("`{name}` was not rehearsed, and no recorded pass has it as a shadow");
    }
    print(&parts.join("\n\n"));
    Ok(())
}

fn rehearsal(plugin: &Seen) -> anyhow::Result<Option<String>> {
    let Some(found) = plugin.all.get("rehearsal").filter(|it| !it.is_null()) else { return Ok(None) };
    let mut text = String::from("rehearsal, before it was taken up:\n");
    let mut rest = found.clone();
    let sample = rest.as_object_mut().and_then(|it| it.remove("sample"));
    for line in serde_yaml_ng::to_string(&rest)?.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    for it in sample.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let word = |key: &str| it.get(key).and_then(Value::as_str).unwrap_or_default();
        if let Some(Ok(changed)) = it.get("change").map(|it| serde_json::from_value::<FieldChange>(it.clone())) {
            text.push_str(&format!("  {} step {}: {}\n", word("primary"), word("step"), change(&changed)));
        }
    }
    Ok(Some(text.trim_end().to_owned()))
}

/// How the plans of a shadow compare with those that were carried out.
#[derive(Debug, Default)]
struct Shadowed {
    passes: usize,
    differing: usize,
    without_plan: usize,
    /// By object and field: how often, and the newest example.
    fields: BTreeMap<(String, String), (usize, FieldChange, u64)>,
}

impl Shadowed {
    /// Records are the newest first.
    fn of(records: &[Arc<PassRecord>], digest: &str) -> Self {
        let mut all = Self::default();
        for record in records {
            for shadow in record.steps.iter().filter(|it| it.role == Role::Shadow && it.plugin.digest == digest) {
                let active = record.steps.iter().find(|it| it.step == shadow.step && it.role != Role::Shadow);
                let Some(carried_out) = active.and_then(last_plan) else { continue };
                all.passes += 1;
                let Some(planned) = last_plan(shadow) else {
                    all.without_plan += 1;
                    continue;
                };
                let changes = differences(carried_out, planned);
                all.differing += usize::from(!changes.is_empty());
                for it in changes {
                    let key = (it.object.clone(), it.field.clone());
                    all.fields.entry(key).or_insert((0, it, record.number)).0 += 1;
                }
            }
        }
        all
    }

    fn text(&self) -> Option<String> {
        if self.passes == 0 {
            return None;
        }
        let same = self.passes - self.differing - self.without_plan;
        let mut text = format!(
            "as a shadow, in {} recorded passes: {same} plans the same, {} differ, {} without a plan",
            self.passes, self.differing, self.without_plan
        );
        for (times, example, pass) in self.fields.values() {
            text.push_str(&format!("\n  {} (in {times} of them, last in pass {pass})", change(example)));
        }
        Some(text)
    }
}

fn last_plan(step: &StepRecord) -> Option<&Plan> {
    match &step.rounds.last()?.answer {
        Answer::Planned(plan) => Some(plan),
        Answer::Failed(_) | Answer::Broken(_) => None,
    }
}
