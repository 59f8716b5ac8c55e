//! Load balancers for each pod, and the addresses that nodes tell outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../redb/tests/common/admitted.rs"]
mod admitted;

use serde_json::{Value, json};
use stepwright_sdk::testing::{Given, readable};
use stepwright_services_rigger::ServicesRigger;

const SELECTOR: &str = "statefulset.kubernetes.io/pod-name";

fn bdb(external: bool) -> Value {
    let kind = if external { "external" } else { "internal" };
    json!({
        "uid": 1, "name": "mydb", "status": "active", "oss_cluster": true, "oss_cluster_api_preferred_ip_type": kind,
        "endpoints": [{"uid": "1:1", "port": 12000, "addr": ["10.0.0.5", "10.0.0.6"], "addr_type": "internal"}],
    })
}

/// Two pods of a cluster, and what their nodes tell outside.
fn given(spec: &Value, external: bool, told: [Value; 2]) -> Given {
    let rec = json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
        "spec": {"ossClusterSettings": spec},
    });
    let pod = |name: &str, ip: &str| json!({"kind": "Pod", "metadata": {"name": name, "labels": {}}, "status": {"podIP": ip}});
    let [first, second] = told;
    let nodes = json!([{"uid": 1, "addr": "10.0.0.5", "external_addr": first}, {"uid": 2, "addr": "10.0.0.6", "external_addr": second}]);
    Given::new::<ServicesRigger>(&rec)
        .object("pods", &pod("rec-0", "10.0.0.5"))
        .object("pods", &pod("rec-1", "10.0.0.6"))
        .fact("bdbs", &json!([bdb(external)]))
        .fact("nodes", &nodes)
}

/// The Service of a pod as the API server would serve it.
fn live(pod: &str, address: Option<&str>) -> Value {
    let ingress: Vec<Value> = address.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "kind": "Service", "metadata": {"name": format!("{pod}-lb")},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "selector": {SELECTOR: pod},
            "ports": [{"name": "redis-12000", "port": 12000, "protocol": "TCP", "targetPort": 12000}]},
        "status": {"loadBalancer": {"ingress": ingress}},
    })
}

fn plan(given: &Given) -> Value {
    let plan = given.run::<ServicesRigger>().unwrap();
    admitted::check::<ServicesRigger>(&plan, &given.observation().primary.id);
    readable(&plan)
}

fn balancers(plan: &Value) -> Vec<&Value> {
    plan["desired"].as_array().unwrap().iter().filter(|it| it["id"].as_str().unwrap().ends_with("-lb")).collect()
}

fn on() -> Value {
    json!({"externalAccessType": "LoadBalancer",
        "loadBalancer": {"serviceAnnotations": {"a": "1"}, "externalTrafficPolicy": "Local"}})
}

#[test]
fn each_pod_has_a_load_balancer_while_a_database_is_meant_for_outside() {
    let none = json!([]);
    let wanted = plan(&given(&on(), true, [none.clone(), none.clone()]));
    let all = balancers(&wanted);
    assert_eq!(all.len(), 2);
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {SELECTOR: "rec-0"},
        "ports": [{"name": "redis-12000", "port": 12000, "protocol": "TCP", "targetPort": 12000}]});
    assert_eq!((&all[0]["body"]["spec"], &all[0]["body"]["metadata"]["annotations"]), (&spec, &json!({"a": "1"})));
    assert_eq!(wanted["calls"], Value::Null);
    for other in
        [given(&on(), false, [none.clone(), none.clone()]), given(&json!({}), true, [none.clone(), none.clone()])]
    {
        assert_eq!(balancers(&plan(&other)), Vec::<&Value>::new());
    }
}

#[test]
fn a_node_is_told_the_address_of_its_load_balancer() {
    let half = given(&on(), true, [json!([]), json!(["192.0.2.2"])])
        .object("owned", &live("rec-0", Some("192.0.2.1")))
        .object("owned", &live("rec-1", Some("192.0.2.2")));
    let told = plan(&half);
    assert_eq!(told["calls"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(
        (&told["calls"][0]["request"], &told["calls"][0]["body"]),
        (&json!("PUT /v1/nodes/1 to -"), &json!({"external_addr": ["192.0.2.1"]}))
    );
    let again = plan(&half.clone().reply("external address of rec-0", 200, &json!({})));
    assert_eq!(again["calls"], Value::Null, "told once in a pass");
    let refused = plan(&half.reply("external address of rec-0", 406, &json!({"error_code": "x", "description": "no"})));
    assert!(refused["progress"].to_string().contains("node 1 cannot be told its address outside"), "{refused}");
}

#[test]
fn without_an_address_nothing_is_told_and_that_is_said() {
    let pending = given(&on(), true, [json!([]), json!(["192.0.2.2"])])
        .object("owned", &live("rec-0", None))
        .object("owned", &live("rec-1", None));
    let plan = plan(&pending);
    assert_eq!(plan["calls"], Value::Null, "what was told stays, for a while without load balancer: {plan}");
    assert!(plan["progress"].to_string().contains("`rec-1-lb` has no address yet"), "{plan}");
}

#[test]
fn what_is_not_wanted_any_more_is_taken_back_before_the_service_goes() {
    let off =
        |told: Value| given(&json!({}), true, [told, json!([])]).object("owned", &live("rec-0", Some("192.0.2.1")));
    let first = plan(&off(json!(["192.0.2.1"])));
    assert_eq!(first["calls"][0]["body"], json!({"external_addr": []}));
    assert_eq!(balancers(&first).len(), 1, "it is how we know that the address was ours");
    let then = plan(&off(json!([])));
    assert_eq!((&then["calls"], balancers(&then).len()), (&Value::Null, 0));
    // Addresses that somebody else gave to nodes are left alone.
    let theirs = plan(&given(&json!({}), false, [json!(["198.51.100.1"]), json!([])]));
    assert_eq!(theirs["calls"], Value::Null);
}

#[test]
fn what_cannot_be_read_stays() {
    let rec = json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
        "spec": {"ossClusterSettings": on()}});
    let pod = json!({"kind": "Pod", "metadata": {"name": "rec-0", "labels": {}}, "status": {"podIP": "10.0.0.5"}});
    let given =
        Given::new::<ServicesRigger>(&rec).object("pods", &pod).object("owned", &live("rec-0", Some("192.0.2.1")));
    let plan = plan(&given);
    assert_eq!((balancers(&plan).len(), &plan["calls"]), (1, &Value::Null));
}
