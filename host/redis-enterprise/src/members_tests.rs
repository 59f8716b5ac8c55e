use serde_json::json;

use super::*;

struct Objects(Vec<Arc<DynamicObject>>);

impl Reader for Objects {
    fn get(&self, kind: &TypeRef, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.list(kind, namespace).into_iter().find(|object| object.name_any() == name)
    }

    fn list(&self, kind: &TypeRef, namespace: &str) -> Vec<Arc<DynamicObject>> {
        let right = |object: &&Arc<DynamicObject>| {
            object.types.as_ref().unwrap().kind == kind.kind && object.namespace().as_deref() == Some(namespace)
        };
        self.0.iter().filter(right).cloned().collect()
    }
}

fn objects(all: &[Value]) -> Objects {
    Objects(all.iter().map(|value| Arc::new(serde_json::from_value(value.clone()).unwrap())).collect())
}

fn cluster(name: &str, state: &str) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
           "metadata": {"namespace": "ns", "name": name}, "status": {"state": state}})
}

fn pod(name: &str, role: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"redis.io/cluster": "rec", "redis.io/role": role}},
           "status": {"podIP": ip}})
}

fn rec() -> SystemId {
    SystemId { namespace: "ns".to_owned(), name: "rec".to_owned() }
}

#[track_caller]
fn check_locate(primary: Value, clusters: &[Value], expected: Option<&str>) {
    let primary: DynamicObject = serde_json::from_value(primary).unwrap();
    let found = locate(&primary, &objects(clusters), "");
    assert_eq!(found.map(|system| system.name).as_deref(), expected);
}

#[test]
fn a_primary_belongs_to_the_cluster_it_names_or_to_the_only_one() {
    let database = |spec: Value| {
        json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
               "metadata": {"namespace": "ns", "name": "db"}, "spec": spec})
    };
    let named = json!({"redisEnterpriseCluster": {"name": "other"}});
    check_locate(cluster("rec", ""), &[], Some("rec"));
    check_locate(database(named), &[], Some("other"));
    check_locate(database(json!({})), &[], None);
    check_locate(database(json!({})), &[cluster("rec", "Running")], Some("rec"));
    check_locate(database(json!({})), &[cluster("rec", "Invalid")], Some("rec"));
    check_locate(database(json!({})), &[cluster("rec", "Running"), cluster("second", "Invalid")], Some("rec"));
    check_locate(database(json!({})), &[cluster("rec", "Running"), cluster("second", "")], None);
    check_locate(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", "name": "p"}}), &[], None);
}

#[test]
fn a_database_of_another_namespace_belongs_to_a_cluster_of_the_operators() {
    let database = |namespace: &str, spec: Value| -> DynamicObject {
        let database = json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
               "metadata": {"namespace": namespace, "name": "db"}, "spec": spec});
        serde_json::from_value(database).unwrap()
    };
    let named = || json!({"redisEnterpriseCluster": {"name": "rec"}});
    let clusters = objects(&[cluster("rec", "Running")]);
    let found = |namespace: &str, spec: Value, home: &str| locate(&database(namespace, spec), &clusters, home);
    assert_eq!(found("elsewhere", named(), "ns"), Some(rec()));
    // It has to say so.
    assert_eq!(found("elsewhere", json!({}), "ns"), None);
    // Where there are clusters, one of those is meant.
    let other = SystemId { namespace: "ns".to_owned(), name: "other".to_owned() };
    assert_eq!(found("ns", json!({"redisEnterpriseCluster": {"name": "other"}}), "home"), Some(other));
}

#[test]
fn only_pods_of_nodes_are_members_in_the_order_of_their_numbers() {
    let mut over = pod("rec-3", "node", "10.0.0.3");
    over["status"]["phase"] = json!("Failed");
    let all = objects(&[
        pod("rec-10", "node", "10.0.0.10"),
        pod("rec-2", "node", "10.0.0.2"),
        pod("rec-services-rigger-abc", "services-rigger", "10.0.0.50"),
        pod("rec-x", "node", "10.0.0.51"),
        pod("other-1", "node", "10.0.0.52"),
        pod("rec-4", "node", ""),
        over,
    ]);
    let members = Members::of(&rec(), &all);
    let names: Vec<&str> = members.reachable.iter().map(|member| member.pod.pod.as_str()).collect();
    assert_eq!(names, ["rec-2", "rec-10"]);
    assert_eq!(members.pending, ["rec-3", "rec-4"]);
    assert_eq!(members.at("10.0.0.10").unwrap().pod.pod, "rec-10");
    assert!(members.at("10.0.0.50").is_none() && members.named("rec-4").is_none());
}

#[test]
fn a_restart_or_a_flip_of_readiness_is_noticed() {
    let key = |restarts: u32, ready: bool| {
        let mut pod = pod("rec-0", "node", "10.0.0.1");
        pod["status"]["containerStatuses"] = json!([{"restartCount": restarts, "ready": ready, "image": "i"}]);
        Members::of(&rec(), &objects(&[pod])).key()
    };
    assert_eq!(key(0, true), key(0, true));
    assert_ne!(key(0, true), key(0, false));
    assert_ne!(key(0, true), key(1, true));
}

#[test]
fn credentials_come_from_the_secret_that_the_cluster_names() {
    let secret = |name: &str, password: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "ns", "name": name},
               "data": {"username": "dXNlcg==", "password": password}})
    };
    let read = |spec: Value, all: &[Value]| {
        let mut cluster = cluster("rec", "");
        cluster["spec"] = spec;
        let cluster: DynamicObject = serde_json::from_value(cluster).unwrap();
        Credentials::of(&rec(), &cluster, &objects(all), &Fingerprinter::new([0; 32]))
    };
    let found = read(json!({}), &[secret("rec", "cGFzcw==")]).ok().unwrap();
    assert_eq!(found.header, "Basic dXNlcjpwYXNz");
    assert_eq!(format!("{:?}", found.header), "Sensitive");
    let named = read(json!({"clusterCredentialSecretName": "mine"}), &[secret("rec", ""), secret("mine", "eA==")]);
    let named = named.ok().unwrap();
    assert_eq!(named.secret, "mine");
    assert_ne!(named.fingerprint, found.fingerprint);
    for all in [vec![], vec![secret("rec", "")], vec![secret("rec", "%%")]] {
        assert_eq!(read(json!({}), &all).err(), Some(CallError::NoCredentials { secret: "rec".to_owned() }));
    }
}

#[test]
fn the_login_in_force_counts_until_another_is_taken_over() {
    let own = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "ns", "name": "rec"},
                     "data": {"username": "dXNlcg==", "password": "bmV3"}});
    let kept = |uid: &str| {
        json!({"apiVersion": "v1", "kind": "Secret",
               "metadata": {"namespace": "ns", "name": "rec-in-force", "ownerReferences": [
                   {"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "name": "rec", "uid": uid}]},
               "data": {"credentials.username": "dXNlcg==", "credentials.password": "b2xk"}})
    };
    let mut cluster = cluster("rec", "");
    cluster["metadata"]["uid"] = json!("this");
    let cluster: DynamicObject = serde_json::from_value(cluster).unwrap();
    let read =
        |all: &[Value]| Credentials::of(&rec(), &cluster, &objects(all), &Fingerprinter::new([0; 32])).ok().unwrap();
    assert_eq!(read(&[own.clone(), kept("this")]).header, "Basic dXNlcjpvbGQ=");
    assert_eq!(read(&[own.clone(), kept("this")]).secret, "rec", "what people can put right is what is named");
    assert_eq!(read(&[own.clone(), kept("another")]).header, "Basic dXNlcjpuZXc=");
    assert_eq!(read(&[own]).header, "Basic dXNlcjpuZXc=");
}
