//! What the operator counts. Labels come from small closed sets; names of objects are not labels.

use std::collections::BTreeMap;
use std::time::Duration;

mod plugins;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    step: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    kind: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    ok: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SystemLabels {
    method: String,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

fn review_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// The operator's metrics, registered.
pub struct Metrics {
    registry: Registry,
    guest_calls: Family<CallLabels, Counter>,
    guest_seconds: Histogram,
    passes: Family<PassLabels, Counter>,
    pass_seconds: Histogram,
    reviews: Family<PassLabels, Counter>,
    review_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    review_plugin_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    writes: Family<WriteLabels, Counter>,
    system_calls: Family<SystemLabels, Counter>,
    events: Family<ReasonLabels, Counter>,
    swaps: Family<ReasonLabels, Counter>,
    guests: Family<StateLabels, Gauge>,
    plugins: plugins::Plugins,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("stepwright"),
            guest_calls: Family::default(),
            guest_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 14)),
            passes: Family::default(),
            pass_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            reviews: Family::default(),
            review_seconds: Family::new_with_constructor(review_histogram),
            review_plugin_seconds: Family::new_with_constructor(review_histogram),
            writes: Family::default(),
            system_calls: Family::default(),
            events: Family::default(),
            swaps: Family::default(),
            guests: Family::default(),
            plugins: plugins::Plugins::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("guest_calls", "Calls of plugins by step and outcome", metrics.guest_calls.clone());
        registry.register("guest_call_seconds", "Time in a plugin, sandbox included", metrics.guest_seconds.clone());
        registry.register("passes", "Passes by kind and outcome", metrics.passes.clone());
        registry.register("pass_seconds", "Time of a whole pass", metrics.pass_seconds.clone());
        registry.register("admission_reviews", "Reviews before storing by kind and outcome", metrics.reviews.clone());
        let help = "Time of a whole review before storing";
        registry.register("admission_review_seconds", help, metrics.review_seconds.clone());
        let help = "The part of a review before storing that was spent in plugins, sandbox included";
        registry.register("admission_plugin_seconds", help, metrics.review_plugin_seconds.clone());
        registry.register("writes", "Writes to the API server by kind", metrics.writes.clone());
        registry.register("system_calls", "Planned calls to the managed system", metrics.system_calls.clone());
        registry.register("events", "Events by reason", metrics.events.clone());
        let help = "Plugins taken up, given back, refused, promoted or rolled back, by reason";
        registry.register("plugin_swaps", help, metrics.swaps.clone());
        let help = "Namespaces besides the operator's own: watched, filling, or forbidden";
        registry.register("guest_namespaces", help, metrics.guests.clone());
        metrics.plugins.register(registry);
        metrics
    }
}

impl Metrics {
    pub(crate) fn guest_call(&self, step: &str, outcome: &str, took: Duration) {
        let labels = CallLabels { step: step.to_owned(), outcome: outcome.to_owned() };
        self.guest_calls.get_or_create(&labels).inc();
        self.guest_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn pass(&self, kind: &str, outcome: &str, took: Duration) {
        let labels = PassLabels { kind: kind.to_owned(), outcome: outcome.to_owned() };
        self.passes.get_or_create(&labels).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// A review before storing: how long it took, and how much of that in plugins.
    pub(crate) fn review(&self, kind: &str, outcome: &str, took: Duration, in_plugins: Duration) {
        let labels = PassLabels { kind: kind.to_owned(), outcome: outcome.to_owned() };
        self.reviews.get_or_create(&labels).inc();
        let labels = KindLabels { kind: labels.kind };
        self.review_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.review_plugin_seconds.get_or_create(&labels).observe(in_plugins.as_secs_f64());
    }

    pub(crate) fn write(&self, kind: &str, ok: bool) {
        self.writes.get_or_create(&WriteLabels { kind: kind.to_owned(), ok: ok.to_string() }).inc();
    }

    pub(crate) fn call(&self, method: &str, status: u16) {
        let labels = SystemLabels { method: method.to_owned(), status: status.to_string() };
        self.system_calls.get_or_create(&labels).inc();
    }

    pub(crate) fn event(&self, reason: &str) {
        self.events.get_or_create(&ReasonLabels { reason: reason.to_owned() }).inc();
    }

    /// How many namespaces besides the operator's own are in which state.
    pub(crate) fn guests(&self, watched: i64, filling: i64, forbidden: i64) {
        for (state, count) in [("watched", watched), ("filling", filling), ("forbidden", forbidden)] {
            self.guests.get_or_create(&StateLabels { state }).set(count);
        }
    }

    pub(crate) fn swap(&self, reason: &str) {
        self.swaps.get_or_create(&ReasonLabels { reason: reason.to_owned() }).inc();
    }

    /// All of them in the OpenMetrics text format, with the requests to the managed system as it counts them itself.
    pub fn text(&self, requests: &BTreeMap<(String, u16), u64>) -> String {
        let counted = Family::<SystemLabels, Counter>::default();
        for ((method, status), count) in requests {
            let labels = SystemLabels { method: method.clone(), status: status.to_string() };
            counted.get_or_create(&labels).inc_by(*count);
        }
        let mut own = Registry::with_prefix("stepwright");
        own.register("system_requests", "Requests sent to the managed system, reads of facts included", counted);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &self.registry);
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &own);
        let _ = prometheus_client::encoding::text::encode_eof(&mut text);
        text
    }
}
