//! The plugin as a component: generated bindings, and the moves between their types and ours. Only built for WebAssembly.

use std::marker::PhantomData;
use std::sync::Once;
use std::time::Duration;

use admission_bindings::exports::stepwright::plugin::{admission, plugin as admission_plugin};
use bindings::exports::stepwright::plugin::{plugin, step};
use bindings::stepwright::plugin::types as wit;
use policy_bindings::exports::stepwright::plugin::{plugin as policy_plugin, policy};

use crate::observation::{Object, ObjectRef, ObjectSet, Observation, RawFact, Reply};
use crate::plan::{Call, Event, Plan, Progress, Severity, Wait};
use crate::{Admission, Failure, Judged, Plugin, Policy, Question, Verdict, Violation};

pub use stepwright_sdk_bindings as bindings;

/// The policy world; its types are those of the world above.
#[allow(missing_docs, reason = "generated")]
#[allow(clippy::all, reason = "generated")]
pub mod policy_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy-plugin",
        pub_export_macro: true,
        export_macro_name: "export_policy_plugin",
        default_bindings_module: "stepwright_sdk::export::policy_bindings",
        with: {
            "stepwright:plugin/types@0.1.0": stepwright_sdk_bindings::stepwright::plugin::types,
            "stepwright:plugin/log@0.1.0": stepwright_sdk_bindings::stepwright::plugin::log,
        },
    });
}

pub use stepwright_sdk_admission_bindings as admission_bindings;

/// Exports `P`.
pub struct Adapter<P>(PhantomData<P>);

impl<P: Plugin> plugin::Guest for Adapter<P> {
    fn describe() -> String {
        tell_panics();
        // A manifest holds strings, numbers and string maps only: it can always be written.
        serde_json::to_string(&P::manifest()).unwrap_or_default()
    }

    fn validate_settings(settings: String) -> Vec<wit::Violation> {
        tell_panics();
        P::validate_settings(&settings).into_iter().map(violation).collect()
    }
}

impl<P: Plugin> step::Guest for Adapter<P> {
    fn reconcile(observed: wit::Observation) -> Result<wit::Plan, wit::Failure> {
        tell_panics();
        crate::run::<P>(&observation(observed)).map(plan).map_err(failure)
    }
}

/// Exports the policy `P`.
pub struct PolicyAdapter<P>(PhantomData<P>);

impl<P: Policy> policy_plugin::Guest for PolicyAdapter<P> {
    fn describe() -> String {
        tell_panics();
        serde_json::to_string(&P::manifest()).unwrap_or_default()
    }

    fn validate_settings(settings: String) -> Vec<wit::Violation> {
        tell_panics();
        P::validate_settings(&settings).into_iter().map(violation).collect()
    }
}

impl<P: Policy> policy::Guest for PolicyAdapter<P> {
    fn review(observed: wit::Observation, planned: wit::Plan) -> policy::Verdict {
        tell_panics();
        match crate::review::<P>(&observation(observed), &planned_by_a_step(planned)) {
            Verdict::Pass => policy::Verdict::Pass,
            Verdict::Amend(patch) => policy::Verdict::Amend(patch),
            Verdict::Deny(why) => policy::Verdict::Deny(why),
            Verdict::Hold { until, reason } => policy::Verdict::Hold((until, reason)),
        }
    }
}

/// Exports the admission plugin `A`.
pub struct AdmissionAdapter<A>(PhantomData<A>);

impl<A: Admission> admission_plugin::Guest for AdmissionAdapter<A> {
    fn describe() -> String {
        tell_panics();
        serde_json::to_string(&A::manifest()).unwrap_or_default()
    }

    fn validate_settings(settings: String) -> Vec<wit::Violation> {
        tell_panics();
        A::validate_settings(&settings).into_iter().map(violation).collect()
    }
}

impl<A: Admission> admission::Guest for AdmissionAdapter<A> {
    fn review(question: admission::Question) -> admission::Answer {
        tell_panics();
        let question = Question {
            check: question.check,
            request: question.request,
            objects: question.objects.into_iter().map(object_set).collect(),
            facts: question.facts.into_iter().map(fact).collect(),
            settings: question.settings,
        };
        let Judged { violations, warnings } = crate::judge::<A>(&question);
        admission::Answer { violations: violations.into_iter().map(violation).collect(), warnings }
    }
}

/// Without this a panic reaches the host as a bare trap, its text lost.
fn tell_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string(), &[])));
    });
}

pub(crate) fn log(level: crate::log::Level, message: &str, fields: &[(&str, &str)]) {
    use bindings::stepwright::plugin::log as host;

    let level = match level {
        crate::log::Level::Trace => host::Level::Trace,
        crate::log::Level::Debug => host::Level::Debug,
        crate::log::Level::Info => host::Level::Info,
        crate::log::Level::Warn => host::Level::Warn,
        crate::log::Level::Error => host::Level::Error,
    };
    let fields: Vec<_> = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    host::write(level, message, &fields);
}

fn object(object: wit::Object) -> Object {
    let wit::ObjectRef { api_version, kind, namespace, name } = object.id;
    Object { id: ObjectRef { api_version, kind, namespace, name }, body: object.body }
}

fn object_back(object: Object) -> wit::Object {
    let ObjectRef { api_version, kind, namespace, name } = object.id;
    wit::Object { id: wit::ObjectRef { api_version, kind, namespace, name }, body: object.body }
}

fn object_set(set: wit::ObjectSet) -> ObjectSet {
    ObjectSet { name: set.name, objects: set.objects.into_iter().map(object).collect() }
}

fn fact(fact: wit::Fact) -> RawFact {
    RawFact { name: fact.name, value: fact.value }
}

fn observation(observed: wit::Observation) -> Observation {
    Observation {
        step: observed.step,
        primary: object(observed.primary),
        deleting: observed.deleting,
        objects: observed.objects.into_iter().map(object_set).collect(),
        facts: observed.facts.into_iter().map(fact).collect(),
        replies: observed
            .replies
            .into_iter()
            .map(|reply| Reply { id: reply.id, status: reply.status, body: reply.body })
            .collect(),
        notes: observed.notes,
        settings: observed.settings,
        round: observed.round,
        now: observed.now,
    }
}

fn plan(plan: Plan) -> wit::Plan {
    wit::Plan {
        desired: plan.desired.into_iter().map(object_back).collect(),
        amended: plan.amended.into_iter().map(object_back).collect(),
        calls: plan
            .calls
            .into_iter()
            .map(|call| wit::Call {
                id: call.id,
                target: call.target,
                method: call.method,
                path: call.path,
                body: call.body,
            })
            .collect(),
        status: plan.status,
        defaults: plan.defaults,
        events: plan.events.into_iter().map(event).collect(),
        notes: plan.notes,
        progress: match plan.progress {
            Progress::Done => wit::Progress::Done,
            Progress::Waiting(wait) => wit::Progress::Waiting(waited(wait)),
            Progress::Blocked(wait) => wit::Progress::Blocked(waited(wait)),
        },
    }
}

fn planned_by_a_step(planned: wit::Plan) -> Plan {
    let wait = |wait: wit::Wait| Wait {
        word: wait.word,
        reason: wait.reason,
        again_in: wait.again_in.map(|milliseconds| Duration::from_millis(milliseconds.into())),
    };
    let mut plan = Plan::with(match planned.progress {
        wit::Progress::Done => Progress::Done,
        wit::Progress::Waiting(why) => Progress::Waiting(wait(why)),
        wit::Progress::Blocked(why) => Progress::Blocked(wait(why)),
    });
    plan.desired = planned.desired.into_iter().map(object).collect();
    plan.amended = planned.amended.into_iter().map(object).collect();
    plan.calls = planned.calls.into_iter().map(call).collect();
    plan.status = planned.status;
    plan.defaults = planned.defaults;
    plan.events = planned.events.into_iter().map(event_back).collect();
    plan.notes = planned.notes;
    plan
}

fn call(asked: wit::Call) -> Call {
    let mut call = Call::new(asked.id, &asked.method, asked.path);
    call.target = asked.target;
    call.body = asked.body;
    call
}

fn event_back(event: wit::Event) -> Event {
    let severity = match event.severity {
        wit::Severity::Normal => Severity::Normal,
        wit::Severity::Warning => Severity::Warning,
    };
    Event { severity, reason: event.reason, message: event.message }
}

fn event(event: Event) -> wit::Event {
    let severity = match event.severity {
        Severity::Normal => wit::Severity::Normal,
        Severity::Warning => wit::Severity::Warning,
    };
    wit::Event { severity, reason: event.reason, message: event.message }
}

fn waited(wait: Wait) -> wit::Wait {
    // Longer than 49 days is as good as 49 days.
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    wit::Wait { word: wait.word, reason: wait.reason, again_in: wait.again_in.map(milliseconds) }
}

fn violation(violation: Violation) -> wit::Violation {
    wit::Violation { field: violation.field, message: violation.message }
}

fn failure(failure: Failure) -> wit::Failure {
    match failure {
        Failure::Transient(reason) => wit::Failure::Transient(reason),
        Failure::Invalid(violations) => wit::Failure::Invalid(violations.into_iter().map(violation).collect()),
    }
}
