//! The sins that need code. Each is one answer, or none, to one observation.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Instant, SystemTime};

use guest_kit::types::{Call, Event, Severity};
use guest_kit::{Failure, Observation, Plan, log, nothing, quoted};

use crate::{card, good, object, value};

pub(crate) fn commit(sin: &str, observed: Observation) -> Result<Plan, Failure> {
    let map = |body: &str| Plan { desired: vec![object("ConfigMap", "sin", body.to_owned())], ..nothing() };
    Ok(match sin {
        "endless-loop" => endless_loop(),
        "memory-bomb" => memory_bomb(),
        "stack-overflow" => Plan { notes: Some(deeper(u64::from(observed.round)).to_string()), ..nothing() },
        "huge-output" => Plan { status: Some("x".repeat(100_000_000)), ..nothing() },
        "million-items" => million_items(),
        "malformed-json" => map(r#"{"data":{"value":"1""#),
        "duplicate-keys" => map(r#"{"data":{"value":"1"},"data":{"value":"2"}}"#),
        "invalid-utf8" => map(&card::words()),
        "deep-nesting" => map(&format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000))),
        "unknown-fields" => map(r#"{"dada":{"value":"1"}}"#),
        "wrong-kind" => Plan { desired: vec![object("Pod", "sin", "{}".to_owned())], ..nothing() },
        "foreign-namespace" => {
            let mut plan = map("{}");
            plan.desired[0].id.namespace = Some("kube-system".to_owned());
            plan
        }
        "cluster-scoped" => Plan { desired: vec![object("Namespace", "sin", "{}".to_owned())], ..nothing() },
        "owner-of-another" => map(
            r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"theirs","uid":"1"}]}}"#,
        ),
        "echoes-observed" => {
            Plan { desired: observed.objects.into_iter().flat_map(|set| set.objects).collect(), ..nothing() }
        }
        // `theirs` was made by somebody else.
        "foreign-field" => {
            let body = r#"{"data":{"value":"taken over"}}"#.to_owned();
            Plan { amended: vec![object("ConfigMap", "theirs", body)], ..nothing() }
        }
        "call-not-granted" => calls(1, "/v1/users", None),
        "call-flood" => calls(300, "/v1/bdbs", None),
        "strangers-secret" => {
            calls(1, "/v1/bdbs", Some(r#"{"password":{"$secretKeyRef":{"name":"stranger","key":"password"}}}"#))
        }
        "log-flood" => log_flood(&observed),
        "traps-every-third" if value(&observed).parse().is_ok_and(|value: u64| value.is_multiple_of(3)) => {
            panic!("I do not like {}", value(&observed))
        }
        // Much work, and then the right answer.
        "burns-fuel" => {
            (0..1_000_000_u64).for_each(|turn| {
                black_box(turn);
            });
            good(&observed)
        }
        "different-answers" => different_answers(&observed),
        _ => good(&observed),
    })
}

fn endless_loop() -> Plan {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn memory_bomb() -> Plan {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

#[allow(unconditional_recursion, reason = "the sin")]
fn deeper(depth: u64) -> u64 {
    let here = black_box([depth; 16]);
    // The sum after the call keeps it from becoming a loop.
    deeper(depth + 1).wrapping_add(here.iter().sum::<u64>())
}

fn million_items() -> Plan {
    let event = || Event { severity: Severity::Normal, reason: String::new(), message: String::new() };
    Plan { events: (0..1_000_000).map(|_| event()).collect(), ..nothing() }
}

fn calls(count: usize, path: &str, body: Option<&str>) -> Plan {
    let call = |number: usize| Call {
        id: number.to_string(),
        target: None,
        method: "PUT".to_owned(),
        path: path.to_owned(),
        body: body.map(str::to_owned),
    };
    Plan { calls: (0..count).map(call).collect(), ..nothing() }
}

/// Ten thousand lines, and then the right answer.
fn log_flood(observed: &Observation) -> Plan {
    for line in 0..10_000 {
        log::write(log::Level::Info, &format!("line {line}"), &[("line".to_owned(), line.to_string())]);
    }
    good(observed)
}

/// Takes in everything by which two calls of a program usually differ: clocks, randomness, the order of a map, addresses.
fn different_answers(observed: &Observation) -> Plan {
    let began = Instant::now();
    let map: HashMap<u32, u32> = (0..64).map(|key| (key, key)).collect();
    let order: Vec<String> = map.keys().map(u32::to_string).collect();
    let heap = std::ptr::from_ref(black_box(&*Box::new(1_u8))).addr();
    let stack = std::ptr::from_ref(black_box(&0_u8)).addr();
    let text = format!("{:?} {:?} {} {heap} {stack}", SystemTime::now(), began.elapsed(), order.join(","));
    let body = format!(r#"{{"data":{{"value":{},"by":{}}}}}"#, quoted(&text), quoted(card::words().trim_end()));
    let name = format!("{}-config", observed.primary.id.name);
    Plan { desired: vec![object("ConfigMap", &name, body)], ..nothing() }
}
