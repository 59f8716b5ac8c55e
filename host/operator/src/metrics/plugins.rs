//! What is counted of each version of each plugin. Series of versions that are gone are dropped, so that a thousand swaps
//! leave no thousand series behind.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use stepwright_core::guest::Usage;
use stepwright_core::journal::PluginRef;
use stepwright_core::slot::Role;

use super::Metrics;

/// A version in a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    plugin: String,
    /// The first characters of the component's digest.
    digest: String,
    step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    plugin: String,
    digest: String,
    step: String,
    role: &'static str,
    outcome: String,
}

pub(super) struct Plugins {
    calls: Family<OutcomeLabels, Counter>,
    seconds: Family<VersionLabels, Histogram, fn() -> Histogram>,
    memory: Family<VersionLabels, Gauge<u64, AtomicU64>>,
    bytes_in: Family<VersionLabels, Counter>,
    bytes_out: Family<VersionLabels, Counter>,
    differences: Family<VersionLabels, Counter>,
    swap_seconds: Histogram,
    /// What has series.
    versions: Mutex<HashSet<VersionLabels>>,
    outcomes: Mutex<HashSet<OutcomeLabels>>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 4.0, 8))),
            memory: Family::default(),
            bytes_in: Family::default(),
            bytes_out: Family::default(),
            differences: Family::default(),
            swap_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            versions: Mutex::default(),
            outcomes: Mutex::default(),
        }
    }
}

impl Plugins {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("plugin_calls", "Calls of each version by role and outcome", self.calls.clone());
        registry.register("plugin_call_seconds", "Time in each version, sandbox included", self.seconds.clone());
        let help = "The most memory that one call of a version used";
        registry.register_with_unit("plugin_peak_memory", help, Unit::Bytes, self.memory.clone());
        registry.register("plugin_bytes_in", "Bytes handed to each version", self.bytes_in.clone());
        registry.register("plugin_bytes_out", "Bytes handed back by each version", self.bytes_out.clone());
        let help = "Fields in which a shadow's plans differed from those carried out";
        registry.register("plugin_shadow_differences", help, self.differences.clone());
        let help = "From the watch's news of a ConfigMap to the first pass on its plugin, rehearsal included";
        registry.register("plugin_swap_seconds", help, self.swap_seconds.clone());
    }

    fn labels(&self, step: &str, plugin: &str, digest: &str) -> VersionLabels {
        let digest = digest.get(..12).unwrap_or(digest).to_owned();
        let labels = VersionLabels { plugin: plugin.to_owned(), digest, step: step.to_owned() };
        let mut versions = self.versions.lock();
        if !versions.contains(&labels) {
            versions.insert(labels.clone());
        }
        labels
    }
}

impl Metrics {
    /// One call of a version for a step (for a policy, the step whose plan it was shown), and what the call used.
    pub fn guest(&self, step: &str, plugin: &PluginRef, role: Role, outcome: &str, usage: &Usage) {
        let of = &self.plugins;
        let version = of.labels(step, &plugin.name, &plugin.digest);
        let labels = OutcomeLabels {
            plugin: version.plugin.clone(),
            digest: version.digest.clone(),
            step: version.step.clone(),
            role: role_label(role),
            outcome: outcome.to_owned(),
        };
        of.calls.get_or_create(&labels).inc();
        of.outcomes.lock().insert(labels);
        of.seconds.get_or_create(&version).observe(usage.took.as_secs_f64());
        let memory = of.memory.get_or_create(&version);
        memory.inner().fetch_max(usage.memory_bytes, std::sync::atomic::Ordering::Relaxed);
        drop(memory);
        of.bytes_in.get_or_create(&version).inc_by(usage.bytes_in);
        of.bytes_out.get_or_create(&version).inc_by(usage.bytes_out);
    }

    /// Fields in which a shadow's plan differed.
    pub(crate) fn shadow_differed(&self, step: &str, plugin: &str, digest: &str, fields: usize) {
        let labels = self.plugins.labels(step, plugin, digest);
        self.plugins.differences.get_or_create(&labels).inc_by(u64::try_from(fields).unwrap_or(u64::MAX));
    }

    /// The first pass on a new version is done.
    pub(crate) fn swapped_in(&self, took: Duration) {
        self.plugins.swap_seconds.observe(took.as_secs_f64());
    }

    /// Drops the series of versions that are in no slot any more. A version is known by its whole digest.
    pub(crate) fn keep_versions(&self, digests: &HashSet<String>) {
        let shorts: HashSet<&str> = digests.iter().map(|it| it.get(..12).unwrap_or(it)).collect();
        let of = &self.plugins;
        of.versions.lock().retain(|labels| {
            let keep = shorts.contains(labels.digest.as_str());
            if !keep {
                of.seconds.remove(labels);
                of.memory.remove(labels);
                of.bytes_in.remove(labels);
                of.bytes_out.remove(labels);
                of.differences.remove(labels);
            }
            keep
        });
        of.outcomes.lock().retain(|labels| {
            let keep = shorts.contains(labels.digest.as_str());
            if !keep {
                of.calls.remove(labels);
            }
            keep
        });
    }
}

fn role_label(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Canary => "canary",
        Role::Shadow => "shadow",
        Role::Fallback => "fallback",
        Role::Held => "held",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plugin(digest: &str) -> PluginRef {
        PluginRef { name: "p".into(), version: "1".into(), digest: digest.into(), source: "embedded".into() }
    }

    #[test]
    fn a_version_is_counted_and_leaves_nothing_behind() {
        let metrics = Metrics::default();
        let usage = Usage { memory_bytes: 7, bytes_in: 10, ..Usage::default() };
        for digest in ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"] {
            metrics.guest("step", &plugin(digest), Role::Shadow, "planned", &usage);
            metrics.guest("step", &plugin(digest), Role::Shadow, "planned", &Usage { memory_bytes: 3, ..usage });
        }
        let text = metrics.text(&BTreeMap::new());
        let labels = r#"{plugin="p",digest="aaaaaaaaaaaa",step="step"}"#;
        assert!(text.contains(&format!("stepwright_plugin_peak_memory_bytes{labels} 7")), "{text}");
        assert!(text.contains(&format!("stepwright_plugin_bytes_in_total{labels} 20")), "{text}");
        assert!(text.contains(r#"role="shadow",outcome="planned"} 2"#), "{text}");
        metrics.keep_versions(&HashSet::from(["bbbbbbbbbbbbbbbb".to_owned()]));
        let text = metrics.text(&BTreeMap::new());
        assert!(!text.contains("aaaaaaaaaaaa") && text.contains("bbbbbbbbbbbb"), "{text}");
    }
}
