use stepwright_core::journal::{Answer, Effect, PluginRef, RoundRecord, StepRecord, Used};
use stepwright_core::object::Object;
use stepwright_core::observation::Observation;
use stepwright_core::plan::Failure;
use stepwright_core::slot::Role;

use super::*;

fn id(name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "test/v1".to_owned(),
        kind: "Thing".to_owned(),
        namespace: Some("ns".to_owned()),
        name: name.to_owned(),
    }
}

fn observation(name: &str, bytes: usize, now: &str) -> Arc<Observation> {
    Arc::new(Observation {
        step: "step".to_owned(),
        primary: Object { id: id(name), body: "x".repeat(bytes) },
        deleting: false,
        objects: vec![],
        facts: vec![],
        replies: vec![],
        notes: vec![],
        settings: String::new(),
        round: 0,
        now: now.to_owned(),
    })
}

/// A pass whose one observation has this many bytes.
fn record(number: u64, name: &str, bytes: usize) -> PassRecord {
    let round = RoundRecord {
        observation: observation(name, bytes, &format!("time {number}")),
        remembered: false,
        answer: Answer::Failed(Failure::Transient(String::new())),
        policies: vec![],
        effects: vec![],
        usage: Used::default(),
    };
    let plugin =
        PluginRef { name: String::new(), version: String::new(), digest: String::new(), source: String::new() };
    PassRecord {
        number,
        primary: id(name),
        uid: String::new(),
        generation: 1,
        started: String::new(),
        micros: 0,
        outcome: "settled".to_owned(),
        message: None,
        steps: vec![StepRecord {
            step: "step".to_owned(),
            plugin,
            role: Role::Active,
            rounds: vec![round],
            error: None,
        }],
    }
}

fn numbers(journal: &Journal, name: &str) -> Vec<u64> {
    journal.of(&id(name)).iter().map(|it| it.number).collect()
}

#[test]
fn the_bound_holds_after_every_record() {
    let journal = Journal::new(50_000);
    for number in 0..1_000 {
        // Seven primaries, sizes all over the place, one in a while larger than everything.
        let bytes = usize::try_from(number * 7919 % 9_000).unwrap() + if number % 97 == 0 { 60_000 } else { 0 };
        journal.push(record(number, &format!("p{}", number % 7), bytes));
        assert!(journal.bytes() <= 50_000, "{}", journal.bytes());
        let counted: usize = journal.all().iter().map(|it| it.size()).sum();
        assert_eq!(journal.bytes(), counted, "nothing is shared here");
    }
    assert!(!journal.all().is_empty());
}

#[test]
fn noise_of_one_primary_leaves_the_last_three_of_another() {
    let journal = Journal::new(50_000);
    for number in 0..6 {
        journal.push(record(number, "quiet", 2_000));
    }
    for number in 6..500 {
        journal.push(record(number, "noisy", 2_000));
    }
    assert_eq!(numbers(&journal, "quiet"), [3, 4, 5]);
    assert_eq!(numbers(&journal, "noisy").last(), Some(&499));
    assert!(numbers(&journal, "noisy").len() > 3);
}

#[test]
fn when_even_three_of_each_do_not_fit_everyone_has_the_last_one() {
    let journal = Journal::new(50_000);
    for number in 0..100 {
        journal.push(record(number, &format!("p{}", number % 10), 3_000));
    }
    for number in 90..100 {
        assert_eq!(numbers(&journal, &format!("p{}", number % 10)).last(), Some(&number));
    }
}

#[test]
fn one_primary_keeps_no_more_than_its_share_of_an_empty_journal() {
    let journal = Journal::default();
    for number in 0..200 {
        journal.push(record(number, "p", 10));
    }
    assert_eq!(numbers(&journal, "p"), (150..200).collect::<Vec<_>>());
}

#[test]
fn what_is_shared_counts_once_and_is_given_back_with_its_last_holder() {
    let journal = Journal::new(100_000);
    for number in 0..40 {
        let mut record = record(number, "p", 20_000);
        // The same question as before at another time, answered from memory.
        record.steps[0].rounds[0].remembered = number > 0;
        // Told apart by what it did; else these would be one record.
        record.message = Some(format!("pass {number}"));
        journal.push(record);
    }
    assert_eq!(numbers(&journal, "p").len(), 40, "forty times 20 kB would not fit");
    let all = journal.of(&id("p"));
    assert!(Arc::ptr_eq(&all[0].steps[0].rounds[0].observation, &all[39].steps[0].rounds[0].observation));
    drop(all);
    for number in 40..100 {
        journal.push(record(number, "q", 24_000));
    }
    let counted: usize = journal.all().iter().filter(|it| it.primary.name == "q").map(|it| it.size()).sum();
    let of_p: Vec<_> = journal.of(&id("p"));
    assert!(journal.bytes() <= 100_000 && of_p.len() <= 3);
    let shared = of_p[0].shared()[0].1;
    assert_eq!(journal.bytes(), counted + shared + of_p.iter().map(|it| it.own_size()).sum::<usize>());
}

#[test]
fn an_answer_that_was_asked_for_anew_keeps_its_own_time() {
    let journal = Journal::default();
    journal.push(record(1, "p", 10));
    journal.push(record(2, "p", 10));
    let times: Vec<String> =
        journal.of(&id("p")).iter().map(|it| it.steps[0].rounds[0].observation.now.clone()).collect();
    assert_eq!(times, ["time 1", "time 2"]);
}

#[test]
fn recent_is_newest_first_and_only_of_the_step() {
    let journal = Journal::default();
    for number in 1..=3 {
        journal.push(record(number, &format!("p{number}"), 10));
    }
    let numbers: Vec<u64> = journal.recent("step", 2).iter().map(|it| it.number).collect();
    assert_eq!(numbers, [3, 2]);
    assert!(journal.recent("other", 2).is_empty());
    assert_eq!(journal.get(2).map(|it| it.primary.name.clone()).as_deref(), Some("p2"));
}

#[test]
fn passes_at_rest_are_one_record_of_the_newest() {
    let journal = Journal::default();
    let mut all = Vec::new();
    for number in 0..10 {
        let mut record = record(number, "p", 10);
        // The first one asks; the sixth writes something; the rest is rest.
        record.steps[0].rounds[0].remembered = number > 0;
        if number == 5 {
            record.steps[0].rounds[0].effects = vec![Effect {
                verb: "apply".to_owned(),
                on: "Service ns/p".to_owned(),
                field: None,
                status: None,
                error: None,
            }];
        }
        all.push(record.clone());
        journal.push(record);
    }
    assert_eq!(numbers(&journal, "p"), [0, 4, 5, 9]);
    let counted: usize = journal.all().iter().map(|it| it.own_size()).sum();
    assert_eq!(journal.bytes(), counted + all[0].shared()[0].1);
}
