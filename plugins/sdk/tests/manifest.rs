//! A manifest made with the SDK is one that the host reads: the host refuses fields that it does not know.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use stepwright_core::manifest as host;
use stepwright_sdk::{FactPart, Limits, Manifest, Observe, PolicyManifest, StepManifest};

#[test]
fn the_host_reads_every_part_of_a_manifest() {
    let manifest = Manifest::new("demo", "1.2.3").description("shows all").step(
        StepManifest::new("demo")
            .primary(["spec", "status.state"])
            .observe(Observe::new("pods", "v1", "Pod").labels([("app", "$(metadata.name)")]).fields(["status.podIP"]))
            .observe(Observe::new("all", "v1", "ConfigMap").all().fields(["data"]))
            .observe(Observe::new("one", "v1", "Secret").names(["$(metadata.name)"]).fields(["data"]))
            .observe(Observe::new("mine", "apps/v1", "StatefulSet").fields(["status"]))
            .observe(Observe::new("nodes", "v1", "Node").all().when("spec.rack").optional())
            .observe(Observe::new("things", "example.com/v1", "Thing").all().of_same_system())
            .observe(Observe::new("others", "example.com/v1", "Thing").all().anywhere())
            .facts(["bdbs"])
            .fact_when("ldap", "spec.ldap")
            .fact_part("bdbs", FactPart::having("name", "$(metadata.name)").or_having("port", "$(spec.port)"))
            .fact_part("ldap", FactPart::fields(["uris"]))
            .writes("v1", "Service")
            .takes("v1", "Service", ["spec.type"])
            .resets("spec.recover", false)
            .follows("spec.copies")
            .begins("example.com/v1", "Thing")
            .retires()
            .system_secrets(["login-$(spec.peers[].name)"])
            .calls(["PUT /v1/bdbs/*"])
            .clock()
            .limits(Limits { milliseconds: 20, ..Limits::default() }),
    );
    let read: host::Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
    assert_eq!((read.name.as_str(), read.version.as_str(), read.description.as_str()), ("demo", "1.2.3", "shows all"));
    let step = &read.steps[0];
    assert_eq!(step.primary, ["spec", "status.state"]);
    let labels = [("app".to_owned(), "$(metadata.name)".to_owned())].into();
    let selects: Vec<_> = step.observes.iter().map(|observe| observe.select.clone()).collect();
    let names = host::Select::Names(vec!["$(metadata.name)".to_owned()]);
    let every = host::Select::Labels(Default::default());
    assert_eq!(
        selects,
        [host::Select::Labels(labels), every.clone(), names, host::Select::Owned, every.clone(), every.clone(), every]
    );
    let within: Vec<_> = step.observes[4..].iter().map(|observe| observe.within).collect();
    assert_eq!(within, [host::Within::Primary, host::Within::SameSystem, host::Within::Anywhere]);
    let nodes = &step.observes[4];
    assert_eq!((nodes.when.as_deref(), nodes.optional), (Some("spec.rack"), true));
    assert!(step.observes[..4].iter().all(host::Observe::is_required));
    assert_eq!(step.facts_when, [("ldap".to_owned(), "spec.ldap".to_owned())].into());
    assert_eq!(
        (step.takes[0].type_ref().to_string().as_str(), &step.takes[0].fields[0][..]),
        ("v1/Service", "spec.type")
    );
    assert_eq!(step.resets, [("spec.recover".to_owned(), false.into())].into());
    assert_eq!(step.follows, ["spec.copies".to_owned()].into());
    assert_eq!(step.begins.iter().map(ToString::to_string).collect::<Vec<_>>(), ["example.com/v1/Thing"]);
    assert!(step.retires);
    assert_eq!(step.system_secrets, ["login-$(spec.peers[].name)".to_owned()].into());
    assert_eq!(step.facts, ["bdbs"]);
    let having = |path: &str, value: &str| [(path.to_owned(), value.to_owned())].into();
    let items = vec![having("name", "$(metadata.name)"), having("port", "$(spec.port)")];
    assert_eq!(
        step.fact_parts["bdbs"],
        stepwright_core::part::FactPart { items, ..stepwright_core::part::FactPart::default() }
    );
    assert_eq!(
        step.fact_parts["ldap"],
        stepwright_core::part::FactPart {
            fields: vec!["uris".to_owned()],
            ..stepwright_core::part::FactPart::default()
        }
    );
    assert_eq!(step.writes[0].to_string(), "v1/Service");
    assert_eq!(step.calls, ["PUT /v1/bdbs/*"]);
    assert!(step.clock);
    assert_eq!(step.limits, host::Limits { milliseconds: 20, ..host::Limits::default() });
    assert_eq!(read.policy, None);
}

#[test]
fn the_host_reads_every_part_of_a_policys_manifest() {
    let limits = Limits {
        memory_mib: 1,
        milliseconds: 2,
        fuel: Some(3),
        plan_kib: 4,
        log_lines: 5,
        log_kib: 6,
        objects: 7,
        calls: 8,
        rounds: 9,
    };
    let manifest = Manifest::new("demo", "1.2.3").policy(
        PolicyManifest::reviewing(["rec", "redb"])
            .primary(["spec"])
            .observe(Observe::new("pods", "v1", "Pod").all().fields(["status.podIP"]))
            .facts(["bdbs"])
            .writes("v1", "Service")
            .calls(["PUT /v1/bdbs/*"])
            .status()
            .clock()
            .limits(limits),
    );
    let read: host::Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
    assert!(read.steps.is_empty());
    let policy = read.policy.unwrap();
    assert!(policy.reviews("rec") && policy.reviews("redb") && !policy.reviews("upgrade"));
    assert_eq!((policy.primary, policy.facts), (vec!["spec".to_owned()], vec!["bdbs".to_owned()]));
    assert_eq!(policy.observes[0].select, host::Select::Labels(Default::default()));
    assert_eq!(policy.writes[0].to_string(), "v1/Service");
    assert_eq!(policy.calls, ["PUT /v1/bdbs/*"]);
    assert!(policy.status && policy.clock);
    let expected = host::Limits {
        memory_mib: 1,
        milliseconds: 2,
        fuel: Some(3),
        plan_kib: 4,
        log_lines: 5,
        log_kib: 6,
        objects: 7,
        calls: 8,
        rounds: 9,
    };
    assert_eq!(policy.limits, expected);
}

#[test]
fn default_limits_are_the_hosts() {
    let manifest = Manifest::new("demo", "0.0.0").step(StepManifest::new("demo"));
    let read: host::Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
    assert_eq!(read.steps[0].limits, host::Limits::default());
}
