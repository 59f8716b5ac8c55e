//! Between the contract's types and those of core, both ways. Values only move; nothing is checked or read here.

use std::time::Duration;

use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::observation::{Fact, ObjectSet, Observation};
use stepwright_core::plan::{Call, Event, Failure, Plan, Progress, Severity, Violation, Wait};

use crate::worlds::types as wit;

pub(crate) fn observation(observed: &Observation) -> wit::Observation {
    wit::Observation {
        step: observed.step.clone(),
        primary: object(&observed.primary),
        deleting: observed.deleting,
        objects: object_sets(&observed.objects),
        facts: facts(&observed.facts),
        replies: observed
            .replies
            .iter()
            .map(|reply| wit::Reply { id: reply.id.clone(), status: reply.status, body: reply.body.clone() })
            .collect(),
        notes: observed.notes.clone(),
        settings: observed.settings.clone(),
        round: observed.round,
        now: observed.now.clone(),
    }
}

pub(crate) fn object_sets(sets: &[ObjectSet]) -> Vec<wit::ObjectSet> {
    sets.iter().map(|set| wit::ObjectSet { name: set.name.clone(), objects: objects(&set.objects) }).collect()
}

pub(crate) fn facts(facts: &[Fact]) -> Vec<wit::Fact> {
    facts.iter().map(|fact| wit::Fact { name: fact.name.clone(), value: fact.value.clone() }).collect()
}

fn objects(objects: &[Object]) -> Vec<wit::Object> {
    objects.iter().map(object).collect()
}

fn object(object: &Object) -> wit::Object {
    let ObjectRef { api_version, kind, namespace, name } = object.id.clone();
    wit::Object { id: wit::ObjectRef { api_version, kind, namespace, name }, body: object.body.clone() }
}

pub(crate) fn plan(plan: &Plan) -> wit::Plan {
    wit::Plan {
        desired: objects(&plan.desired),
        amended: objects(&plan.amended),
        calls: plan.calls.iter().map(call).collect(),
        status: plan.status.clone(),
        defaults: plan.defaults.clone(),
        events: plan.events.iter().map(event).collect(),
        notes: plan.notes.clone(),
        progress: match &plan.progress {
            Progress::Done => wit::Progress::Done,
            Progress::Waiting(why) => wit::Progress::Waiting(wait(why)),
            Progress::Blocked(why) => wit::Progress::Blocked(wait(why)),
        },
    }
}

fn call(call: &Call) -> wit::Call {
    let Call { id, target, method, path, body } = call.clone();
    wit::Call { id, target, method, path, body }
}

fn event(event: &Event) -> wit::Event {
    wit::Event {
        severity: match event.severity {
            Severity::Normal => wit::Severity::Normal,
            Severity::Warning => wit::Severity::Warning,
        },
        reason: event.reason.clone(),
        message: event.message.clone(),
    }
}

fn wait(wait: &Wait) -> wit::Wait {
    // Longer than 49 days is as good as 49 days.
    let again_in = wait.again_in.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
    wit::Wait { word: wait.word.clone(), reason: wait.reason.clone(), again_in }
}

pub(crate) fn answer(answer: Result<wit::Plan, wit::Failure>) -> Result<Plan, Failure> {
    match answer {
        Ok(plan) => Ok(plan_from(plan)),
        Err(wit::Failure::Transient(why)) => Err(Failure::Transient(why)),
        Err(wit::Failure::Invalid(broken)) => Err(Failure::Invalid(violations(broken))),
    }
}

pub(crate) fn violations(violations: Vec<wit::Violation>) -> Vec<Violation> {
    violations.into_iter().map(|wit::Violation { field, message }| Violation { field, message }).collect()
}

pub(crate) fn plan_from(plan: wit::Plan) -> Plan {
    Plan {
        desired: plan.desired.into_iter().map(object_from).collect(),
        amended: plan.amended.into_iter().map(object_from).collect(),
        calls: plan
            .calls
            .into_iter()
            .map(|wit::Call { id, target, method, path, body }| Call { id, target, method, path, body })
            .collect(),
        status: plan.status,
        defaults: plan.defaults,
        events: plan.events.into_iter().map(event_from).collect(),
        notes: plan.notes,
        progress: match plan.progress {
            wit::Progress::Done => Progress::Done,
            wit::Progress::Waiting(wait) => Progress::Waiting(wait_from(wait)),
            wit::Progress::Blocked(wait) => Progress::Blocked(wait_from(wait)),
        },
    }
}

fn object_from(object: wit::Object) -> Object {
    let wit::ObjectRef { api_version, kind, namespace, name } = object.id;
    Object { id: ObjectRef { api_version, kind, namespace, name }, body: object.body }
}

fn event_from(event: wit::Event) -> Event {
    let severity = match event.severity {
        wit::Severity::Normal => Severity::Normal,
        wit::Severity::Warning => Severity::Warning,
    };
    Event { severity, reason: event.reason, message: event.message }
}

fn wait_from(wait: wit::Wait) -> Wait {
    let again_in = wait.again_in.map(|millis| Duration::from_millis(millis.into()));
    Wait { word: wait.word, reason: wait.reason, again_in }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn any_object() -> impl Strategy<Value = Object> {
        (".{0,8}", ".{0,8}", option::of(".{0,8}"), ".{0,8}", ".{0,20}").prop_map(
            |(api_version, kind, namespace, name, body)| Object {
                id: ObjectRef { api_version, kind, namespace, name },
                body,
            },
        )
    }

    fn any_call() -> impl Strategy<Value = Call> {
        (".{0,4}", option::of(".{0,4}"), ".{0,4}", ".{0,4}", option::of(".{0,9}"))
            .prop_map(|(id, target, method, path, body)| Call { id, target, method, path, body })
    }

    fn any_event() -> impl Strategy<Value = Event> {
        (any::<bool>(), ".{0,4}", ".{0,9}").prop_map(|(warning, reason, message)| Event {
            severity: if warning { Severity::Warning } else { Severity::Normal },
            reason,
            message,
        })
    }

    fn any_progress() -> impl Strategy<Value = Progress> {
        (0..3, option::of(".{0,4}"), ".{0,9}", option::of(any::<u32>())).prop_map(|(case, word, reason, millis)| {
            let wait = Wait { word, reason, again_in: millis.map(|millis| Duration::from_millis(millis.into())) };
            match case {
                0 => Progress::Done,
                1 => Progress::Waiting(wait),
                _ => Progress::Blocked(wait),
            }
        })
    }

    prop_compose! {
        fn any_plan()(
            desired in vec(any_object(), 0..3),
            amended in vec(any_object(), 0..3),
            calls in vec(any_call(), 0..3),
            events in vec(any_event(), 0..3),
            (status, defaults, notes) in (option::of(".{0,9}"), option::of(".{0,9}"), option::of(".{0,9}")),
            progress in any_progress(),
        ) -> Plan {
            Plan { desired, amended, calls, status, defaults, events, notes, progress }
        }
    }

    proptest! {
        #[test]
        fn a_plan_survives_the_way_there_and_back(original in any_plan()) {
            prop_assert_eq!(plan_from(plan(&original)), original);
        }
    }

    #[test]
    fn a_wait_too_long_for_the_contract_is_the_longest_that_fits() {
        let long = Wait { word: None, reason: String::new(), again_in: Some(Duration::from_secs(1 << 40)) };
        assert_eq!(wait(&long).again_in, Some(u32::MAX));
    }
}
