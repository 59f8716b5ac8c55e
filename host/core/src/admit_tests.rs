use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::plan::Severity;

fn primary() -> ObjectRef {
    ObjectRef {
        api_version: "example.com/v1".into(),
        kind: "Thing".into(),
        namespace: Some("ns".into()),
        name: "t".into(),
    }
}

fn object(kind: &str, name: &str, body: Value) -> Object {
    let id = ObjectRef { api_version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() };
    Object { id, body: body.to_string() }
}

fn grants() -> Grants {
    Grants {
        writes: ["Secret", "ConfigMap", "Service", "Node"].iter().map(|kind| TypeRef::new("v1", *kind)).collect(),
        calls: ["GET /v1/bdbs", "PUT /v1/bdbs/*"].iter().map(|call| (*call).to_owned()).collect(),
        takes: [("Service", "spec.type"), ("Pod", "spec.nodeName")]
            .map(|(kind, field)| (TypeRef::new("v1", kind), [field.to_owned()].into()))
            .into(),
        resets: [("spec.recover".to_owned(), json!(false))].into(),
        ..Grants::default()
    }
}

#[test]
fn a_request_is_set_back_to_where_it_rests_and_nowhere_else() {
    let defaults = |text: &str| run(Plan { defaults: Some(text.to_owned()), ..Plan::done() });
    let plan = defaults(r#"{"recover":false,"name":"x"}"#).unwrap();
    assert_eq!((plan.resets(), plan.defaults()), (&grants().resets, Some(&json!({"name": "x"}))));
    assert_eq!(defaults(r#"{"recover":false}"#).unwrap().defaults(), None);
    // What the manifest does not name is filled in where it is empty, as ever.
    let plan = defaults(r#"{"other":false}"#).unwrap();
    assert!(plan.resets().is_empty());
    let refused = defaults(r#"{"recover":true}"#).unwrap_err();
    assert_eq!(refused.reason(), "PlanMalformed");
    assert_eq!(
        refused.to_string(),
        "defaults: `spec.recover` is a request and may be set back to false only, not to true"
    );
}

#[test]
fn to_reset_more_is_to_ask_for_more() {
    let asks =
        |field: &str, rests_at: Value| Grants { resets: [(field.to_owned(), rests_at)].into(), ..Grants::default() };
    assert_eq!(asks("spec.recover", json!(false)).beyond(&grants()), [""; 0]);
    assert_eq!(asks("spec.recover", json!(true)).beyond(&grants()), ["resets spec.recover to true"]);
    assert_eq!(asks("spec.other", json!(0)).beyond(&grants()), ["resets spec.other to 0"]);
}

#[test]
fn fields_may_be_taken_of_kinds_that_may_be_written() {
    let plan = run(Plan::done()).unwrap();
    assert_eq!(plan.takes(&TypeRef::new("v1", "Service")), ["spec.type"]);
    assert_eq!(plan.takes(&TypeRef::new("v1", "Pod")), [""; 0]);
    assert_eq!(plan.takes(&TypeRef::new("v1", "Secret")), [""; 0]);
}

#[test]
fn what_follows_what_is_begun_and_what_retires_is_told_apart_and_granted() {
    let grants = Grants {
        follows: ["spec.copies".to_owned()].into(),
        begins: [TypeRef::new("v1", "ConfigMap")].into(),
        retires: true,
        ..Grants::default()
    };
    let asked = Plan {
        desired: vec![Object {
            id: ObjectRef { namespace: Some("elsewhere".into()), ..object("ConfigMap", "c", json!({})).id },
            body: "{}".into(),
        }],
        defaults: Some(json!({"copies": {"a": 1}, "name": "x"}).to_string()),
        notes: Some(json!({"retire": "gone"}).to_string()),
        ..Plan::done()
    };
    let run = |grants: &Grants, plan: Plan| {
        let gate = Gate {
            step: "step",
            primary: &primary(),
            grants,
            limits: &Limits::default(),
            scope_of: &scope,
            may_use_secret: &|_| true,
            is_system_secret: &|_| false,
        };
        admit(plan, &gate)
    };
    let plan = run(&grants, asked.clone()).unwrap();
    assert!(plan.desired().is_empty());
    assert_eq!(plan.begun()[0].id.namespace.as_deref(), Some("elsewhere"));
    assert_eq!(plan.followed(), &[("spec.copies".to_owned(), json!({"a": 1}))].into());
    assert_eq!((plan.defaults(), plan.retire()), (Some(&json!({"name": "x"})), Some("gone")));
    // Without grants: a kind that may not be written, in a namespace of somebody else's.
    assert_eq!(run(&Grants::default(), asked.clone()).unwrap_err().reason(), "KindNotGranted");
    let without = run(&Grants::default(), Plan { desired: vec![], ..asked }).unwrap();
    assert_eq!((without.retire(), without.followed().len()), (None, 0));
    assert_eq!(
        grants.beyond(&Grants::default()),
        ["changes spec.copies", "makes v1/ConfigMap anywhere", "deletes its own resource"]
    );
}

#[test]
fn to_take_more_is_to_ask_for_more() {
    let asks = |fields: &[&str]| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        Grants { takes: [(TypeRef::new("v1", "Service"), fields)].into(), ..Grants::default() }
    };
    assert_eq!(asks(&["spec.type", "spec.type.x"]).beyond(&grants()), [""; 0]);
    assert_eq!(asks(&["spec.ports"]).beyond(&grants()), ["takes spec.ports of v1/Service"]);
}

fn scope(kind: &TypeRef) -> Option<Scope> {
    match kind.kind.as_str() {
        "Node" => Some(Scope::Cluster),
        "Service" | "Secret" | "ConfigMap" => Some(Scope::Namespaced),
        _ => None,
    }
}

fn run(plan: Plan) -> Result<AdmittedPlan, NotAdmitted> {
    limited(plan, Limits::default())
}

fn limited(plan: Plan, limits: Limits) -> Result<AdmittedPlan, NotAdmitted> {
    admit(
        plan,
        &Gate {
            step: "step",
            primary: &primary(),
            grants: &grants(),
            limits: &limits,
            scope_of: &scope,
            may_use_secret: &|name| name != "strangers",
            is_system_secret: &|name| name == "of-system",
        },
    )
}

#[track_caller]
fn refused(plan: Plan, reason: &str) {
    assert_eq!(run(plan).unwrap_err().reason(), reason);
}

fn with(object: Object) -> Plan {
    Plan { desired: vec![object], ..Plan::done() }
}

#[test]
fn kind_without_a_grant_is_refused_by_name() {
    let error = run(with(object("Pod", "p", json!({})))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Pod p: its kind is not among those that step `step` may write (v1/ConfigMap, v1/Node, v1/Secret, v1/Service)"
    );
}

#[test]
fn cluster_scoped_objects_are_refused_even_with_a_grant_and_a_namespace() {
    let mut node = object("Node", "n", json!({}));
    node.id.namespace = Some("ns".into());
    refused(with(node), "ClusterScoped");
}

#[test]
fn another_namespace_is_refused() {
    let mut service = object("Service", "s", json!({}));
    service.id.namespace = Some("kube-system".into());
    refused(with(service), "ForeignNamespace");
}

#[test]
fn one_object_twice_is_refused() {
    let twice = vec![object("Service", "s", json!({})), object("Service", "s", json!({}))];
    refused(Plan { desired: twice, ..Plan::done() }, "ObjectTwice");
    let both = Plan {
        desired: vec![object("Service", "s", json!({}))],
        amended: vec![object("Service", "s", json!({}))],
        ..Plan::done()
    };
    refused(both, "ObjectTwice");
}

#[test]
fn bodies_may_not_forge_identity_or_ownership() {
    for metadata in [
        json!({"uid": "x"}),
        json!({"name": "other"}),
        json!({"ownerReferences": []}),
        json!({"finalizers": ["x"]}),
        json!({"annotations": {"stepwright.dev/owner": "x"}}),
        json!({"labels": {"app.kubernetes.io/managed-by": "me"}}),
        json!({"resourceVersion": "7"}),
        json!({"managedFields": []}),
        json!({"annotations": {"stepwright.dev/plugin": "x"}}),
    ] {
        refused(with(object("Service", "s", json!({"metadata": metadata}))), "PlanMalformed");
    }
}

#[test]
fn an_observed_object_handed_back_is_refused_in_words() {
    let echo = json!({"metadata": {"name": "s", "namespace": "ns", "resourceVersion": "7"}, "spec": {}});
    assert_eq!(
        run(with(object("Service", "s", echo))).unwrap_err().to_string(),
        "Service ns/s: `metadata.resourceVersion` may not be set; labels and annotations may"
    );
    let stolen = json!({"metadata": {"ownerReferences": [{"kind": "Thing"}]}});
    assert_eq!(
        run(with(object("Service", "s", stolen))).unwrap_err().to_string(),
        "Service ns/s: `metadata.ownerReferences` may not be set; labels and annotations may"
    );
}

#[test]
fn bodies_that_can_be_read_in_two_ways_are_refused() {
    for body in [r#"{"data": {"a": "1", "a": "2"}}"#, r#"{"data": {"a": "\u0000"}}"#, "[]", "{", "null"] {
        let mut object = object("ConfigMap", "c", json!({}));
        object.body = body.into();
        refused(with(object), "PlanMalformed");
    }
    let deep = format!(r#"{{"spec": {}{}}}"#, "[".repeat(70), "]".repeat(70));
    refused(with(Object { body: deep, ..object("ConfigMap", "c", json!({})) }), "PlanMalformed");
}

#[test]
fn names_stay_within_their_segment_of_a_url() {
    for name in ["a/b", "a?b", "a%2fb", "a#b", "..", "", "a b"] {
        refused(with(object("Service", name, json!({}))), "PlanMalformed");
    }
    assert!(run(with(object("Service", "system:a.b_c-1", json!({})))).is_ok());
}

#[test]
fn limits_of_the_manifest_are_kept_with_both_numbers() {
    let limits = Limits { objects: 1, calls: 0, ..Limits::default() };
    let two = vec![object("Service", "a", json!({})), object("Service", "b", json!({}))];
    let error = limited(Plan { desired: two.clone(), ..Plan::done() }, limits).unwrap_err();
    assert_eq!(error.reason(), "PlanTooLarge");
    assert!(error.to_string().starts_with("the plan holds 2 objects; at most 1 are taken"), "{error}");
    let call = Call { id: "1".into(), target: None, method: "GET".into(), path: "/v1/bdbs".into(), body: None };
    let error = limited(Plan { calls: vec![call], ..Plan::done() }, limits).unwrap_err();
    assert!(error.to_string().starts_with("the plan holds 1 calls; at most 0 are taken"), "{error}");
    assert!(run(Plan { desired: two, ..Plan::done() }).is_ok());
}

#[test]
fn a_strangers_secret_is_neither_read_nor_taken_over() {
    let reference = json!({"$secretKeyRef": {"name": "strangers", "key": "k"}});
    refused(with(object("Secret", "mine", json!({"stringData": {"x": reference}}))), "SecretNotGranted");
    refused(with(object("Secret", "strangers", json!({}))), "SecretNotGranted");
    let call = |body: Value| Plan {
        calls: vec![Call {
            id: "1".into(),
            target: None,
            method: "PUT".into(),
            path: "/v1/bdbs/1".into(),
            body: Some(body.to_string()),
        }],
        ..Plan::done()
    };
    refused(call(json!({"deep": [{"x": reference}]})), "SecretNotGranted");
    assert!(run(call(json!({"x": {"$secretKeyRef": {"name": "mine", "key": "k"}}}))).is_ok());
    let amended = object("Secret", "mine", json!({"stringData": {"x": reference}}));
    refused(Plan { amended: vec![amended], ..Plan::done() }, "SecretNotGranted");
}

#[test]
fn a_secret_value_may_not_leave_through_a_config_map() {
    let leak = json!({"data": {"x": {"$secretKeyRef": {"name": "s", "key": "k"}}}});
    refused(with(object("ConfigMap", "c", leak)), "PlanMalformed");
    let fine = json!({"stringData": {"x": {"$secretKeyRef": {"name": "s", "key": "k"}}}});
    assert!(run(with(object("Secret", "c", fine))).is_ok());
}

#[test]
fn calls_are_matched_by_method_and_path() {
    let call = |method: &str, path: &str| Plan {
        calls: vec![Call { id: "1".into(), target: None, method: method.into(), path: path.into(), body: None }],
        ..Plan::done()
    };
    assert!(run(call("PUT", "/v1/bdbs/7?dry_run")).is_ok());
    refused(call("DELETE", "/v1/bdbs/7"), "CallNotGranted");
    refused(call("PUT", "/v1/bdbs/7/flush"), "CallNotGranted");
    refused(call("PUT", "/v1/bdbs/"), "CallNotGranted");
    refused(call("PUT", "/v1/bdbs/../cluster"), "PlanMalformed");
    refused(call("PUT", "/v1/bdbs/%2e%2e"), "PlanMalformed");
}

#[test]
fn status_conditions_are_the_hosts() {
    refused(Plan { status: Some(json!({"conditions": []}).to_string()), ..Plan::done() }, "PlanMalformed");
}

#[test]
fn long_event_messages_are_cut_at_a_character() {
    let event = Event { severity: Severity::Normal, reason: "Long".into(), message: "ä".repeat(1000) };
    let admitted = run(Plan { events: vec![event], ..Plan::done() }).unwrap();
    assert!(admitted.events()[0].message.len() <= 1024);
}

#[test]
fn what_is_needed_first_comes_first() {
    let admitted = run(Plan {
        desired: vec![
            object("Service", "b", json!({})),
            object("Service", "a", json!({})),
            object("Secret", "z", json!({})),
        ],
        ..Plan::done()
    })
    .unwrap();
    let names: Vec<&str> = admitted.desired().iter().map(|object| object.id.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "b"]);
}

#[test]
fn only_what_the_step_made_and_no_longer_wants_is_pruned() {
    let id = |name: &str| ObjectRef {
        api_version: "v1".into(),
        kind: "Service".into(),
        namespace: Some("ns".into()),
        name: name.into(),
    };
    let owner = |step: &str| Owner { kind: "T".into(), namespace: "ns".into(), name: "t".into(), step: step.into() };
    let (a, b, c) = (id("a"), id("b"), id("c"));
    let (mine, other) = (owner("step"), owner("other"));
    let desired = [AdmittedObject { id: a.clone(), body: json!({}) }];
    assert_eq!(prunable([(&a, &mine), (&b, &mine), (&c, &other)], "step", &desired), vec![b.clone()]);
}

#[test]
fn what_holds_data_has_no_owner_and_is_never_pruned() {
    let claim = ObjectRef {
        api_version: "v1".into(),
        kind: "PersistentVolumeClaim".into(),
        namespace: Some("ns".into()),
        name: "data".into(),
    };
    let mine = Owner { kind: "T".into(), namespace: "ns".into(), name: "t".into(), step: "step".into() };
    assert_eq!(prunable([(&claim, &mine)], "step", &[]), Vec::new());
    let reference = json!({"uid": "1"});
    let object = AdmittedObject { id: claim, body: json!({}) };
    let stamped = stamped(&object, &mine, "plugin@1", Some(reference));
    assert_eq!(stamped["metadata"].get("ownerReferences"), None);
    assert_eq!(stamped["metadata"]["annotations"][OWNER_ANNOTATION], mine.to_string());
}

proptest! {
    /// Nothing outside the grants and the namespace survives, whatever the plan says.
    #[test]
    fn only_granted_objects_are_admitted(
        kinds in proptest::collection::vec(("[A-Z][a-z]{2,6}|Service|Secret|Node", "[a-z]{1,5}", proptest::option::of("ns|other")), 0..6)
    ) {
        let desired = kinds.iter().map(|(kind, name, namespace)| {
            let mut object = object(kind, name, json!({}));
            object.id.namespace = namespace.clone();
            object
        }).collect();
        if let Ok(admitted) = run(Plan { desired, ..Plan::done() }) {
            for object in admitted.desired() {
                prop_assert!(grants().writes.contains(&TypeRef::from(&object.id)));
                prop_assert_eq!(object.id.namespace.as_deref(), Some("ns"));
                prop_assert_ne!(object.id.kind.as_str(), "Node");
            }
        }
    }

    /// The order of a plan's objects does not matter.
    #[test]
    fn order_does_not_matter(names in proptest::collection::btree_set("[a-z]{1,5}", 0..6)) {
        let make = |names: Vec<&String>| Plan {
            desired: names.iter().map(|name| object("Service", name, json!({}))).collect(), ..Plan::done()
        };
        let forward = run(make(names.iter().collect())).unwrap();
        let backward = run(make(names.iter().rev().collect())).unwrap();
        prop_assert_eq!(forward, backward);
    }
}
