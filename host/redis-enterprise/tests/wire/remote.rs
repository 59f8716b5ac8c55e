//! Clusters elsewhere: reached by the name of their API, with their own login, each in nobody's way.

use base64::Engine as _;
use serde_json::{Value, json};
use stepwright_core::observation::Fact;
use stepwright_operator::system::{Known, ManagedSystem as _, SystemId};
use stepwright_redis_enterprise::Settings;

use crate::support::{Answer, Cluster, PASSWORD, quiet};

const HOST: &str = "api-far.example.com";

/// A cluster of one node that is reached by name only, and its resource.
struct Far {
    cluster: Cluster,
    system: SystemId,
}

fn remote(name: &str, rec: &str, namespace: &str) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"recName": rec, "recNamespace": namespace, "apiFqdnUrl": HOST}})
}

impl Far {
    async fn start() -> Self {
        let cluster = Cluster::start_with(1, |nodes| Settings {
            distant_interval: quiet().rest_interval,
            resolve: vec![format!("{HOST}:443:127.0.0.1:{}", nodes.first().unwrap().address.port()).parse().unwrap()]
                .into(),
            ..quiet()
        })
        .await;
        let object = remote("far", "rec-far", "ns-far");
        cluster.objects.put(object.clone());
        let system = cluster.source.locate(&serde_json::from_value(object).unwrap(), cluster.objects.as_ref()).unwrap();
        let far = Self { cluster, system };
        far.login(PASSWORD, None);
        far
    }

    fn login(&self, password: &str, authority: Option<&str>) {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let mut data = json!({"username": encode("demo@redis.com"), "password": encode(password)});
        if let Some(authority) = authority {
            data.as_object_mut().unwrap().insert("ca.crt".to_owned(), json!(encode(authority)));
        }
        self.cluster.objects.put(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": "ns", "name": "redis-enterprise-far"}, "data": data}));
    }

    async fn fact(&self) -> Result<String, String> {
        let mut facts = self.cluster.source.facts(&self.system, &["cluster".to_owned()]).await;
        let Fact { value, .. } = Known::whole(facts.remove(0));
        value
    }
}

#[tokio::test]
async fn it_is_asked_by_its_name_and_with_its_own_login() {
    let far = Far::start().await;
    assert_eq!(far.fact().await.unwrap(), "{}");
    let node = &far.cluster.nodes[0];
    assert_eq!(node.count("GET", "/v1/cluster"), 1);
    assert_eq!(node.with_credentials(), 1);
    // Without its resource there is nobody to ask.
    far.cluster.objects.remove("RedisEnterpriseRemoteCluster", "far");
    assert_eq!(far.fact().await.unwrap_err(), "RedisEnterpriseRemoteCluster `far` does not exist");
}

#[tokio::test]
async fn the_cluster_beside_it_is_itself() {
    let far = Far::start().await;
    let near = remote("near", "rec", "ns");
    let located =
        far.cluster.source.locate(&serde_json::from_value(near).unwrap(), far.cluster.objects.as_ref()).unwrap();
    assert_eq!(located, far.cluster.system);
    assert_ne!(far.system, far.cluster.system);
}

#[tokio::test]
async fn a_login_that_was_refused_is_not_sent_again_before_it_changes() {
    let far = Far::start().await;
    far.cluster.nodes[0].answer(|_| Answer::Raw(401, vec![], String::new()));
    assert!(far.fact().await.unwrap_err().contains("Secret `redis-enterprise-far` was refused"));
    for _ in 0..3 {
        // Whatever makes it look again.
        let call = far.cluster.call_to(&far.system, "PUT", "/v1/cluster").await;
        assert_eq!(call.status, 0, "{}", call.body);
        assert!(far.fact().await.unwrap_err().contains("Secret `redis-enterprise-far` was refused"));
    }
    assert_eq!(far.cluster.nodes[0].with_credentials(), 1);
    far.login("another", None);
    assert!(far.fact().await.is_err());
    assert_eq!(far.cluster.nodes[0].with_credentials(), 2);
}

#[tokio::test]
async fn with_an_authority_nobody_else_gets_the_login() {
    let far = Far::start().await;
    let other = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    far.login(PASSWORD, Some(&other.cert.pem()));
    let why = far.fact().await.unwrap_err();
    assert!(why.contains("`ca.crt` of Secret `redis-enterprise-far` does not vouch for"), "{why}");
    assert_eq!(far.cluster.nodes[0].with_credentials(), 0);
}

#[tokio::test]
async fn nobody_there_is_told_by_name() {
    let far = Far::start().await;
    let mut object = remote("far", "rec-far", "ns-far");
    object["spec"]["apiPort"] = json!(444);
    object["spec"]["apiFqdnUrl"] = json!("nobody.invalid");
    far.cluster.objects.put(object);
    assert_eq!(far.fact().await.unwrap_err(), "nobody.invalid:444 is not reachable: its host name cannot be resolved");
}

#[tokio::test]
async fn the_id_of_a_task_goes_with_the_request_that_begins_it() {
    let far = Far::start().await;
    let cluster = &far.cluster;
    let sent = |id: &str, method: &str, path: &str| {
        let (id, method, path) = (id.to_owned(), method.to_owned(), path.to_owned());
        async move {
            cluster.call_with(&id, &method, &path).await;
            cluster.nodes[0].seen.lock().last().unwrap().task.clone()
        }
    };
    assert_eq!(sent("task:a-b", "POST", "/v1/crdbs").await.as_deref(), Some("a-b"));
    assert_eq!(sent("task:a-b", "DELETE", "/v1/crdbs/g").await.as_deref(), Some("a-b"));
    assert_eq!(sent("task:a-b", "GET", "/v1/crdbs/g").await, None);
    assert_eq!(sent("task:a-b", "POST", "/v1/bdbs").await, None);
    assert_eq!(sent("other", "POST", "/v1/crdbs").await, None);
}

#[tokio::test]
async fn how_copies_are_linked_is_read_for_each_database() {
    let far = Far::start().await;
    far.cluster.nodes[0].answer(|seen| match (seen.authorization.is_some(), seen.path.as_str()) {
        (false, _) => Answer::Raw(401, vec![], String::new()),
        (_, "/v1/crdbs") => Answer::Json(200, json!({"crdbs": [{"guid": "g-1"}, {"guid": "../x"}, {"guid": "g-2"}]})),
        (_, "/v1/crdbs/g-1/health_report") => Answer::Json(200, json!([{"cluster_name": "a"}])),
        _ => Answer::Raw(404, vec![], String::new()),
    });
    let health = far.cluster.fact("crdb-health").await.unwrap();
    assert_eq!(health, r#"{"g-1":[{"cluster_name":"a"}],"g-2":{"error":"HTTP status 404"}}"#);
    assert_eq!(far.cluster.fact("crdbs").await.unwrap(), r#"[{"guid":"../x"},{"guid":"g-1"},{"guid":"g-2"}]"#);
}
