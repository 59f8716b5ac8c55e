use std::sync::Arc;

use stepwright_operator::system::FactValue;

use super::*;
use FactKind::{Bdbs, Bootstrap, Cluster, NodesStatus};

fn known(value: &str) -> Known {
    let value = Arc::new(FactValue::new(serde_json::Value::String(value.to_owned())));
    Known { value: Ok(value), moving: false, passing: false, items: Vec::new() }
}

fn moving(value: &str) -> Known {
    Known { moving: true, ..known(value) }
}

struct Test {
    snapshot: Snapshot,
    settings: Settings,
    start: Instant,
}

impl Test {
    fn new() -> Self {
        let start = Instant::now();
        // Not the default, so that these numbers stay what they are when that changes.
        let settings = Settings { rest_interval: Duration::from_secs(5), ..Settings::default() };
        Self { snapshot: Snapshot::new(start), settings, start }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn next(&mut self, millis: u64) -> Next {
        let now = self.at(millis);
        self.snapshot.next(now, &self.settings)
    }

    /// What is read at a time, and stored with these values.
    #[track_caller]
    fn read(&mut self, millis: u64, expected: &[FactKind], value: &Known) {
        let Next::Read { kinds, generation } = self.next(millis) else { panic!("nothing to read at {millis}") };
        assert_eq!(kinds, expected);
        for kind in kinds {
            let now = self.at(millis);
            self.snapshot.store(kind, generation, value.clone(), None, now);
        }
    }
}

#[test]
fn at_rest_one_small_answer_is_read_each_five_seconds() {
    let mut test = Test::new();
    let all = [Bootstrap, NodesStatus, Bdbs, Cluster];
    test.snapshot.ask(&all, test.start);
    test.read(0, &all, &known("1"));
    assert!(test.snapshot.note_state(Some("7".to_owned()), false).contains(&Bdbs));
    let mut reads = Vec::new();
    for second in 1..=120 {
        if let Next::Read { kinds, generation } = test.next(second * 1000) {
            for kind in &kinds {
                let now = test.at(second * 1000);
                assert_eq!(test.snapshot.store(*kind, generation, known("1"), None, now), None);
            }
            assert!(test.snapshot.note_state(Some("7".to_owned()), false).is_empty());
            reads.push((second, kinds.len()));
        }
    }
    let full: Vec<u64> = reads.iter().filter(|(_, count)| *count == 4).map(|(second, _)| *second).collect();
    assert_eq!(full, [60, 120]);
    assert_eq!(reads.len(), 24);
    assert_eq!(reads.iter().map(|(_, count)| count).sum::<usize>(), 22 + 2 * 4);
}

#[test]
fn without_the_configurations_number_quick_facts_are_read_each_time() {
    let mut test = Test::new();
    let all = [Bootstrap, NodesStatus, Bdbs, Cluster];
    test.snapshot.ask(&all, test.start);
    test.read(0, &all, &known("1"));
    assert!(test.snapshot.note_state(None, false).is_empty());
    assert!(matches!(test.next(4_999), Next::Sleep(_)));
    test.read(5_000, &[NodesStatus, Bdbs], &known("1"));
}

#[test]
fn another_number_or_another_status_has_all_else_read() {
    let mut test = Test::new();
    test.snapshot.ask(&[Bdbs, Cluster], test.start);
    test.read(0, &[Bdbs, Cluster], &known("1"));
    assert_eq!(test.snapshot.note_state(Some("7".to_owned()), false), [Bdbs, Cluster]);
    assert_eq!(test.snapshot.note_state(Some("7".to_owned()), false), []);
    assert_eq!(test.snapshot.note_state(Some("8".to_owned()), false), [Bdbs, Cluster]);
    assert_eq!(test.snapshot.note_state(Some("8".to_owned()), true), [Bdbs, Cluster]);
    // The sign itself is read although nobody asked for it.
    test.read(5_000, &[NodesStatus], &known("1"));
    test.read(10_000, &[NodesStatus], &known("1"));
}

#[test]
fn what_moves_is_looked_at_often_until_it_seems_stuck() {
    let mut test = Test::new();
    test.snapshot.ask(&[Bdbs], test.start);
    test.read(0, &[Bdbs], &moving("1"));
    // How it is was not known at the first look.
    test.read(5_000, &[Bdbs], &moving("2"));
    test.read(5_500, &[Bdbs], &moving("2"));
    assert!(matches!(test.next(5_900), Next::Sleep(_)));
    // The last change was at 5 s; from then on nothing happened for two minutes.
    test.read(126_000, &[Bdbs], &moving("2"));
    assert!(matches!(test.next(130_900), Next::Sleep(_)));
}

#[test]
fn after_a_call_facts_are_stale_and_soon_read_again() {
    let mut test = Test::new();
    let need = test.snapshot.ask(&[Bdbs, Cluster], test.start);
    assert_eq!(test.snapshot.answer(&[Bdbs], need), None);
    test.read(0, &[Bdbs, Cluster], &known("1"));
    assert!(test.snapshot.answer(&[Cluster, Bdbs], need).is_some());
    assert!(matches!(test.next(100), Next::Sleep(_)));
    // A reading that began before the call does not count as fresh afterwards.
    let now = test.at(200);
    test.snapshot.called("/v1/cluster", now, &test.settings);
    let need = test.snapshot.ask(&[Bdbs], now);
    test.snapshot.store(Bdbs, 1, known("1"), None, now);
    assert_eq!(test.snapshot.answer(&[Bdbs], need), None);
    test.read(200, &[Bdbs], &known("2"));
    assert_eq!(test.snapshot.answer(&[Bdbs], need).unwrap()[0].value, known("2").value);
    // What nobody waits for follows with the next look.
    test.read(700, &[Bdbs, Cluster], &known("2"));
    test.read(1_200, &[Bdbs], &known("2"));
}

#[test]
fn a_slow_server_gets_its_pause_unless_something_happened_meanwhile() {
    let mut test = Test::new();
    test.snapshot.ask(&[Bdbs], test.start);
    test.read(0, &[Bdbs], &known("1"));
    test.snapshot.finished(test.at(4_000));
    assert!(matches!(test.next(8_900), Next::Sleep(_)));
    test.read(9_000, &[Bdbs], &known("1"));
    let now = test.at(9_100);
    test.snapshot.called("/v1/cluster", now, &test.settings);
    test.snapshot.finished(test.at(9_200));
    test.read(9_600, &[Bdbs], &known("1"));
}

#[test]
fn other_pods_or_credentials_make_everything_stale() {
    let mut test = Test::new();
    test.snapshot.meet("rec-0".to_owned(), test.start);
    test.snapshot.ask(&[Bdbs], test.start);
    test.read(0, &[Bdbs], &known("1"));
    test.snapshot.meet("rec-0".to_owned(), test.at(10));
    assert!(matches!(test.next(10), Next::Sleep(_)));
    test.snapshot.meet("rec-0;rec-1".to_owned(), test.at(20));
    test.read(20, &[Bdbs], &known("1"));
}

#[test]
fn a_passing_error_is_tried_again_at_each_look() {
    let mut test = Test::new();
    test.snapshot.ask(&[Cluster], test.start);
    let failed = |passing| Known { value: Err("why".to_owned()), moving: false, passing, items: Vec::new() };
    test.read(0, &[Cluster], &failed(true));
    test.read(5_000, &[Cluster], &failed(false));
    assert!(matches!(test.next(10_000), Next::Sleep(_)));
}

#[test]
fn what_nobody_asks_for_is_given_up_and_said_once() {
    let mut test = Test::new();
    test.snapshot.ask(&[Bdbs], test.start);
    test.read(0, &[Bdbs], &known("1"));
    assert_eq!(test.next(600_000), Next::GivenUp);
    assert!(matches!(test.next(600_001), Next::Sleep(_)));
    // Asked again, it is read again before it is handed out.
    let need = test.snapshot.ask(&[Bdbs], test.at(601_000));
    assert_eq!(test.snapshot.answer(&[Bdbs], need), None);
    test.read(601_000, &[Bdbs], &known("1"));
    assert!(test.snapshot.answer(&[Bdbs], need).is_some());
}

#[test]
fn a_call_that_changes_a_database_leaves_other_facts_as_fresh_as_they_were() {
    for (path, waits) in [
        ("/v1/bdbs", false),
        ("/v1/bdbs/7/upgrade", false),
        ("/v1/bdbs_x", true),
        ("/v1/bdbs/alerts/7", true),
        ("/v1/license", true),
    ] {
        let mut test = Test::new();
        test.snapshot.ask(&[Bdbs, Cluster], test.start);
        test.read(0, &[Bdbs, Cluster], &known("1"));
        let now = test.at(200);
        test.snapshot.called(path, now, &test.settings);
        let needed = test.snapshot.ask(&[Cluster], now);
        assert_eq!(test.snapshot.answer(&[Cluster], needed).is_none(), waits, "{path}");
        let needed = test.snapshot.ask(&[Bdbs, Cluster], now);
        assert_eq!(test.snapshot.answer(&[Bdbs, Cluster], needed), None, "{path}");
        test.read(200, if waits { &[Bdbs, Cluster] } else { &[Bdbs] }, &known("2"));
        assert!(test.snapshot.answer(&[Bdbs, Cluster], needed).is_some(), "{path}");
    }
}

/// Databases by uid and status.
fn list(databases: &[(u64, &str)]) -> Known {
    let databases: Vec<_> =
        databases.iter().map(|(uid, status)| serde_json::json!({"uid": uid, "status": status})).collect();
    let body = serde_json::to_vec(&databases).unwrap();
    let answer = crate::connection::Answer {
        status: 200,
        location: None,
        state_id: None,
        json: true,
        body: bytes::Bytes::from(body),
    };
    let source = Source::of(Bdbs).unwrap();
    crate::facts::know(source, &answer, &[], &stepwright_core::secrets::Fingerprinter::new([1; 32]))
}

#[test]
fn a_database_that_was_read_alone_takes_its_place_in_the_list() {
    let mut test = Test::new();
    let now = test.start;
    let one = |status: &str| list(&[(7, status)]).items.pop();
    assert_eq!(test.snapshot.store_alone(7, 1, one("active"), now), Err(NoList));
    let need = test.snapshot.ask(&[Bdbs], now);
    test.read(0, &[Bdbs], &list(&[(1, "active")]));
    // Nobody has to wait for a list because of it.
    let began = test.snapshot.begin_alone();
    let told = test.snapshot.store_alone(7, began, one("pending"), now).unwrap().unwrap();
    assert_eq!(
        told,
        Difference::Items { before: vec![], after: vec![serde_json::json!({"status": "pending", "uid": 7})] }
    );
    let shown = |test: &Test| test.snapshot.answer(&[Bdbs], need).unwrap().pop().unwrap().value.unwrap().text();
    assert_eq!(shown(&test), r#"[{"status":"active","uid":1},{"status":"pending","uid":7}]"#);
    // An older reading that comes late changes nothing.
    assert_eq!(test.snapshot.store_alone(7, began - 1, one("active"), now), Ok(None));
    // A list that was begun before is older than what was read alone; one that was begun after is not.
    test.snapshot.finished(now);
    test.snapshot.stirred(now, &test.settings);
    let Next::Read { generation, .. } = test.next(500) else { panic!("nothing to read") };
    let began = test.snapshot.begin_alone();
    test.snapshot.store_alone(7, began, one("active"), now).unwrap().unwrap();
    let older = list(&[(1, "active"), (7, "pending")]);
    assert_eq!(test.snapshot.store(Bdbs, generation, older, Some([9; 32]), now), None);
    assert!(shown(&test).contains(r#""active","uid":7"#));
    // The same list read once more is the newer one.
    assert_eq!(test.snapshot.same(Bdbs, &[9; 32]), None);
    test.snapshot.finished(test.at(500));
    test.read(1_000, &[Bdbs], &list(&[(1, "active")]));
    assert_eq!(shown(&test), r#"[{"status":"active","uid":1}]"#);
}

#[test]
fn what_moves_is_not_looked_at_more_often_than_looking_takes() {
    let mut test = Test::new();
    test.snapshot.ask(&[Bdbs], test.start);
    test.read(0, &[Bdbs], &moving("1"));
    test.snapshot.stirred(test.at(0), &test.settings);
    test.snapshot.finished(test.at(10));
    // The next look takes three seconds, in which databases are changed.
    test.read(510, &[Bdbs], &moving("2"));
    test.snapshot.stirred(test.at(2_000), &test.settings);
    test.snapshot.finished(test.at(3_510));
    test.snapshot.stirred(test.at(3_600), &test.settings);
    assert!(matches!(test.next(9_500), Next::Sleep(_)));
    test.read(9_510, &[Bdbs], &moving("3"));
}

#[test]
fn a_path_says_which_database_is_changed() {
    for (path, uid) in [
        ("/v1/bdbs/7", Some(7)),
        ("/v1/bdbs/7/upgrade", Some(7)),
        ("/v1/bdbs/7?x=y", Some(7)),
        ("/v1/bdbs", None),
        ("/v1/bdbs/alerts/7", None),
        ("/v1/bdbs_x/7", None),
    ] {
        assert_eq!(database_of(path), uid, "{path}");
    }
}
