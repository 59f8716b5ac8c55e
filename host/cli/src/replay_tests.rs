use std::io::Write as _;
use std::sync::Arc;

use stepwright_core::guest::{Called, Digest, GuestError, Usage};
use stepwright_core::journal::{FORMAT, Used};
use stepwright_core::manifest::Manifest;
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::plan::{Failure, Plan, Violation};

use super::*;

/// Plans a Service whose port is what its settings say; traps when there is none.
struct Porter {
    digest: Digest,
    manifest: Manifest,
}

impl Porter {
    fn new() -> Self {
        let manifest = serde_json::from_str(r#"{"name": "porter", "version": "0.1.0"}"#).unwrap();
        Self { digest: Digest::of(b"porter"), manifest }
    }
}

impl Guest for Porter {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn world(&self) -> World {
        World::Step
    }

    fn validate_settings(&self, _settings: &str) -> Result<Vec<Violation>, GuestError> {
        Ok(vec![])
    }

    fn ask(&self, observed: &Observation) -> Called<Result<Plan, Failure>> {
        let answer = if observed.settings.is_empty() {
            Err(GuestError::Trapped { plugin: "porter".to_owned(), message: "no port".to_owned() })
        } else {
            let body = format!(r#"{{"spec":{{"port":{}}}}}"#, observed.settings);
            let service = Object { id: id("Service", &observed.primary.id.name), body };
            Ok(Ok(Plan { desired: vec![service], ..Plan::done() }))
        };
        Called { answer, usage: Usage::default() }
    }
}

fn id(kind: &str, name: &str) -> ObjectRef {
    ObjectRef { api_version: "v1".to_owned(), kind: kind.to_owned(), namespace: None, name: name.to_owned() }
}

/// A pass of one step, asked with these settings, and answered as the plugin does or as said.
fn record(number: u64, name: &str, settings: &str, said: Option<Answer>) -> PassRecord {
    let observation = Observation {
        step: "port".to_owned(),
        primary: Object { id: id("Thing", name), body: "{}".to_owned() },
        deleting: false,
        objects: vec![],
        facts: vec![],
        replies: vec![],
        notes: vec![],
        settings: settings.to_owned(),
        round: 0,
        now: "2026-01-02T03:04:05Z".to_owned(),
    };
    let round = RoundRecord {
        answer: said.unwrap_or_else(|| answer(&Porter::new(), &observation)),
        observation: Arc::new(observation),
        remembered: false,
        policies: vec![],
        effects: vec![],
        usage: Used::default(),
    };
    let plugin = PluginRef {
        name: "porter".to_owned(),
        version: "0.0.9".to_owned(),
        digest: "0".repeat(64),
        source: "embedded".to_owned(),
    };
    let step = StepRecord { step: "port".to_owned(), plugin, role: Role::Active, rounds: vec![round], error: None };
    PassRecord {
        number,
        primary: id("Thing", name),
        uid: String::new(),
        generation: 1,
        started: String::new(),
        micros: 1,
        outcome: "settled".to_owned(),
        message: None,
        steps: vec![step],
    }
}

/// A file as `journal export` writes it.
fn exported(records: &[PassRecord], format: u32, packed: bool) -> tempfile::NamedTempFile {
    let header = Header {
        format,
        host: "0.1.0".to_owned(),
        contract: "0.1.0".to_owned(),
        exported: "2026-01-02T04:00:00Z".to_owned(),
    };
    let mut text = serde_json::to_string(&header).unwrap() + "\n";
    for record in records {
        text.push_str(&(serde_json::to_string(record).unwrap() + "\n"));
    }
    let mut bytes = text.into_bytes();
    if packed {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

fn replayed(records: &[PassRecord], settings: Option<&str>, step: &'static str) -> Report {
    let file = exported(records, FORMAT, true);
    let (guest, steps) = (Porter::new(), BTreeSet::from([step]));
    let asked = Asked { guest: &guest, against: None, settings, steps };
    asked.all(Exported::open(file.path()).unwrap(), 5).unwrap()
}

#[test]
fn what_is_answered_again_is_equal() {
    let mut again = record(3, "a", "80", None);
    again.outcome = "again".to_owned();
    let report = replayed(&[record(1, "a", "80", None), record(2, "b", "81", None), again], None, "port");
    assert!(report.agrees());
    insta::assert_snapshot!(report.text(Path::new("f")).unwrap(), @r"
    porter 0.1.0 @f78b1bbdaafa (file) on what host 0.1.0 recorded until 2026-01-02T04:00:00Z, contract 0.1.0
    step port: 2 questions about 2 primaries: 2 answered byte-equal, 0 differ
    ");
}

#[test]
fn what_differs_is_shown_by_field() {
    let failed = Answer::Failed(Failure::Transient("later".to_owned()));
    let report = replayed(&[record(1, "a", "80", None), record(2, "b", "81", Some(failed))], Some("82"), "port");
    assert!(!report.agrees());
    insta::assert_snapshot!(report.text(Path::new("f")).unwrap(), @r"
    porter 0.1.0 @f78b1bbdaafa (file) on what host 0.1.0 recorded until 2026-01-02T04:00:00Z, contract 0.1.0
    step port: 2 questions about 2 primaries: 0 answered byte-equal, 2 differ

    the first 2 of 2 that differ:
    step port, pass 1, round 1, Thing a (recorded of porter 0.0.9 @000000000000 (embedded))
      Service a spec.port: 80 → 82
    step port, pass 2, round 1, Thing b (recorded of porter 0.0.9 @000000000000 (embedded))
      was: failed for now: later
      is:  a plan of 1 objects and 0 calls
    ");
}

#[test]
fn a_trap_that_was_recorded_is_equal_to_the_same_trap() {
    assert!(replayed(&[record(1, "a", "", None)], None, "port").agrees());
    assert!(!replayed(&[record(1, "a", "80", None)], Some(""), "port").agrees());
}

#[test]
fn nothing_asked_is_no_agreement() {
    let mut shadow = record(1, "a", "80", None);
    shadow.steps[0].role = Role::Shadow;
    for (records, step) in [(vec![record(1, "a", "80", None)], "other"), (vec![shadow], "port"), (vec![], "port")] {
        assert!(replayed(&records, None, step).text(Path::new("f")).is_err());
    }
}

#[test]
fn what_is_no_journal_is_refused_with_its_line() {
    let newer = exported(&[], FORMAT + 1, false);
    let error = Exported::open(newer.path()).err().unwrap().to_string();
    assert!(error.contains("has format 2"), "{error}");
    let mut torn = exported(&[record(1, "a", "80", None)], FORMAT, false);
    torn.write_all(b"{\"number\":").unwrap();
    let read: Vec<_> = Exported::open(torn.path()).unwrap().collect();
    assert!(read[0].is_ok());
    assert!(format!("{:#}", read[1].as_ref().unwrap_err()).contains("line 3"));
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(Exported::open(empty.path()).is_err());
}
