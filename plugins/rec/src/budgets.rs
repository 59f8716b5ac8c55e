//! PodDisruptionBudgets of others that select the cluster's pods. A pod with two of them cannot be evicted at all, so that
//! draining a Kubernetes node never ends; the operator's own does what is needed.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::seen::Seen;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Budget {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Option<Selector>,
}

/// An empty one selects every pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Selector {
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|it| it.holds(labels.get(&it.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// In words, the budgets beside the operator's own, by name.
pub(crate) fn overlapping(seen: &Seen<'_>) -> Vec<String> {
    let others = seen.budgets.iter().filter(|budget| budget.id.name != seen.name());
    let selects = |budget: &Budget| {
        budget.spec.selector.as_ref().is_some_and(|it| seen.pods.iter().any(|pod| it.selects(&pod.metadata.labels)))
    };
    let mut names: Vec<&str> = others.filter(|it| selects(&it.value)).map(|it| it.id.name.as_str()).collect();
    names.sort_unstable();
    let text = |name: &str| {
        format!(
            "the PodDisruptionBudget `{name}` selects pods of this cluster, as the operator's own `{}` does: Kubernetes evicts no pod \
             with two of them, so that draining a node never ends; delete `{name}`, or have it select other pods",
            seen.name()
        )
    };
    names.into_iter().map(text).collect()
}
