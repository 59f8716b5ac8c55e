//! Calls on the wire: redirects, credentials, errors, lost replies.

use crate::support::{Answer, Cluster, FQDN, Node, PASSWORD, Seen, ip, member, quiet, until};
use serde_json::{Value, json};
use stepwright_operator::system::ManagedSystem;

fn redirect_to(ip: &str) -> Answer {
    Answer::Raw(307, vec![("location", format!("https://{ip}:9443/v1/bdbs"))], String::new())
}

/// A member that sends everybody elsewhere.
fn follower(ip: String) -> impl Fn(&Seen) -> Answer {
    move |seen| if seen.authorization.is_some() { redirect_to(&ip) } else { member(seen) }
}

#[tokio::test]
async fn a_redirect_is_followed_with_credentials_and_body_and_the_master_is_remembered() {
    let cluster = Cluster::start(2, quiet()).await;
    cluster.nodes[0].answer(follower(ip(1)));
    let reply = cluster.call(None, "POST", "/v1/bdbs", Some(json!({"name": "db"}))).await;
    assert_eq!(reply.status, 200);
    let seen =
        |node: usize| cluster.nodes[node].seen.lock().iter().rfind(|seen| seen.method == "POST").cloned().unwrap();
    assert_eq!(seen(0).authorization, seen(1).authorization);
    assert!(seen(1).authorization.unwrap().starts_with("Basic "));
    assert_eq!(seen(1).body, r#"{"name":"db"}"#);
    cluster.call(None, "PUT", "/v1/bdbs/1", Some(json!({}))).await;
    assert_eq!(cluster.nodes[0].count("PUT", "/v1/bdbs/1"), 0);
    assert_eq!(cluster.nodes[1].count("PUT", "/v1/bdbs/1"), 1);
}

#[tokio::test]
async fn a_redirect_to_a_stranger_is_not_followed() {
    let cluster = Cluster::start(1, quiet()).await;
    for place in ["10.66.0.1", "127.0.0.1"] {
        cluster.nodes[0].answer(follower(place.to_owned()));
        let reply = cluster.call(None, "POST", "/v1/bdbs", None).await;
        assert_eq!(reply.status, 0);
        assert!(reply.body.contains("not a node of this cluster"), "{}", reply.body);
    }
}

#[tokio::test]
async fn redirects_end_after_two() {
    let cluster = Cluster::start(2, quiet()).await;
    cluster.nodes[0].answer(follower(ip(1)));
    cluster.nodes[1].answer(follower(ip(0)));
    let reply = cluster.call(None, "POST", "/v1/bdbs", None).await;
    assert_eq!(reply.status, 0);
    let posts = cluster.nodes.iter().map(|node| node.count("POST", "/v1/bdbs")).sum::<usize>();
    assert_eq!(posts, 3);
}

#[tokio::test]
async fn no_answer_is_awaited_from_a_pod_that_is_gone() {
    let cluster = Cluster::start(2, quiet()).await;
    cluster.nodes[0].answer(|seen| if seen.authorization.is_some() { Answer::Never } else { member(seen) });
    for (method, status) in [("POST", 0), ("GET", 200)] {
        let before = cluster.nodes[0].count(method, "/v1/bdbs");
        let gone = async {
            until("the request", || cluster.nodes[0].count(method, "/v1/bdbs") > before).await;
            cluster.objects.remove("Pod", "rec-0")
        };
        // The limit of a call is half a minute.
        let both = async { tokio::join!(cluster.call(None, method, "/v1/bdbs", None), gone) };
        let (reply, pod) = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.unwrap();
        cluster.objects.put(serde_json::to_value(&*pod).unwrap());
        assert_eq!(reply.status, status, "{method}: {}", reply.body);
    }
}

#[tokio::test]
async fn refused_credentials_are_sent_once_and_changed_ones_at_once() {
    let cluster = Cluster::start(3, quiet()).await;
    for node in &cluster.nodes {
        node.answer(|_| Answer::Raw(401, vec![], String::new()));
    }
    let first = cluster.call(None, "GET", "/v1/bdbs", None).await;
    assert_eq!(first.status, 401);
    let replies = futures::future::join_all((0..20).map(|_| cluster.call(None, "GET", "/v1/bdbs", None))).await;
    assert!(replies.iter().all(|reply| reply.status == 0 && reply.body.contains("was refused")));
    let fact = cluster.fact("bdbs").await.unwrap_err();
    assert!(fact.contains("Secret `rec`") && !fact.contains(PASSWORD), "{fact}");
    let sent = || cluster.nodes.iter().map(Node::with_credentials).sum::<usize>();
    assert_eq!(sent(), 1);
    cluster.password("another");
    for node in &cluster.nodes {
        node.answer(member);
    }
    assert!(cluster.fact("bdbs").await.is_ok());
    assert_eq!(cluster.call(None, "GET", "/v1/bdbs", None).await.status, 200);
}

#[tokio::test]
async fn many_calls_at_once_with_a_wrong_password_cost_one_attempt_for_each_node() {
    let cluster = Cluster::start(1, quiet()).await;
    cluster.nodes[0].answer(|_| Answer::Raw(401, vec![], String::new()));
    futures::future::join_all((0..50).map(|_| cluster.call(None, "PUT", "/v1/cluster", None))).await;
    assert_eq!(cluster.nodes[0].with_credentials(), 1);
}

#[tokio::test]
async fn nodes_without_a_cluster_are_sent_no_credentials() {
    let cluster = Cluster::start(2, quiet()).await;
    for node in &cluster.nodes {
        node.answer(|_| Answer::Json(200, json!({"bootstrap_status": {"state": "idle"}})));
    }
    let reply = cluster.call(None, "GET", "/v1/nodes", None).await;
    assert_eq!(reply.body, r#""rec-0 is not a member of a cluster yet""#);
    let reply = cluster.call(Some("rec-1"), "POST", "/v1/bootstrap/create_cluster", Some(json!({"action": "x"}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(cluster.nodes.iter().map(Node::with_credentials).sum::<usize>(), 0);
    assert_eq!(cluster.nodes[1].count("POST", "/v1/bootstrap/create_cluster"), 1);
    // Once a member, on the same connection, it is asked.
    cluster.nodes[1].answer(member);
    assert_eq!(cluster.call(None, "GET", "/v1/nodes", None).await.status, 200);
    let reply = cluster.call(Some("rec-7"), "POST", "/v1/bootstrap/create_cluster", None).await;
    assert_eq!((reply.status, reply.body.contains("`rec-7` is not a node")), (0, true));
}

#[tokio::test]
async fn bodies_of_every_kind_are_survived() {
    let cluster = Cluster::start(1, quiet()).await;
    let html = |text: &str| vec![("content-type", text.to_owned())];
    let cases: Vec<(Answer, u16, &str)> = vec![
        (Answer::Raw(200, vec![], String::new()), 200, "null"),
        (
            Answer::Json(406, json!({"error_code": "port_unavailable", "message": "in use"})),
            406,
            r#"{"error_code":"port_unavailable","message":"in use"}"#,
        ),
        (
            Answer::Json(503, json!({"error_code": "no_quorum", "description": "lost"})),
            503,
            r#"{"description":"lost","error_code":"no_quorum"}"#,
        ),
        (
            Answer::Json(406, json!({"error_code": "x", "description": "y", "status_code": 406})),
            406,
            r#"{"description":"y","error_code":"x","status_code":406}"#,
        ),
        (
            Answer::Json(400, json!({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "None"})),
            400,
            r#"{"detail":"None","status":400,"title":"Bad Request","type":"about:blank"}"#,
        ),
        (Answer::Raw(502, html("text/html"), "<html>Bad Gateway</html>".into()), 502, r#""<html>Bad Gateway</html>""#),
        (
            Answer::Raw(200, html("application/json"), "{\"uid\":1".into()),
            0,
            r#""no answer from the cluster: the reply is cut off or not JSON""#,
        ),
        (Answer::Cut("{\"uid\":1".into()), 0, r#""no answer from rec-0: the reply is cut off or not JSON""#),
        (Answer::Lost, 0, r#""no answer from rec-0: connection closed""#),
    ];
    for (answer, status, body) in cases {
        let sent = answer.clone();
        cluster.nodes[0].answer(move |seen| if seen.method == "PUT" { sent.clone() } else { member(seen) });
        let before = cluster.nodes[0].count("PUT", "/v1/bdbs/1");
        let reply = cluster.call(None, "PUT", "/v1/bdbs/1", Some(json!({}))).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{answer:?}");
        // A change is never sent twice, whatever became of its reply.
        assert_eq!(cluster.nodes[0].count("PUT", "/v1/bdbs/1"), before + 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_reading_whose_reply_was_lost_is_sent_to_another_node() {
    let cluster = Cluster::start(2, quiet()).await;
    cluster.nodes[0].answer(|seen| if seen.authorization.is_some() { Answer::Lost } else { member(seen) });
    assert!(cluster.fact("bdbs").await.is_ok());
    cluster.nodes[1].answer(|seen| {
        if seen.authorization.is_some() { Answer::Raw(503, vec![], String::new()) } else { member(seen) }
    });
    cluster.nodes[0].answer(member);
    assert_eq!(cluster.call(None, "GET", "/v1/bdbs", None).await.status, 200);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_dialled_again() {
    let cluster = Cluster::start(1, quiet()).await;
    for _ in 0..3 {
        assert_eq!(cluster.call(None, "GET", "/v1/bdbs/1", None).await.status, 200);
        cluster.nodes[0].close();
    }
    // Each new connection begins with the question whether the node is a member.
    assert_eq!(cluster.nodes[0].count("GET", "/v1/bootstrap"), 3);
}

#[tokio::test]
async fn credentials_go_only_where_the_certificate_is_known_or_names_the_cluster() {
    let cluster = Cluster::start(1, quiet()).await;
    assert_eq!(cluster.call(None, "GET", "/v1/bdbs", None).await.status, 200);
    let before = cluster.nodes[0].with_credentials();
    cluster.nodes[0].show("somebody.else");
    let reply = cluster.call(None, "GET", "/v1/bdbs", None).await;
    assert_eq!((reply.status, reply.body.contains("shows a certificate")), (0, true), "{}", reply.body);
    assert_eq!(cluster.nodes[0].with_credentials(), before);
    // What needs no credentials is asked all the same.
    assert!(cluster.fact("bootstrap").await.unwrap().contains("completed"));
    cluster.nodes[0].show(FQDN);
    assert_eq!(cluster.call(None, "GET", "/v1/bdbs", None).await.status, 200);
}

#[tokio::test]
async fn secrets_in_replies_are_fingerprints() {
    let cluster = Cluster::start(1, quiet()).await;
    let reply = cluster.call(None, "GET", "/v1/bdbs", None).await;
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body[0]["authentication_redis_pass"], cluster.fingerprinter.fingerprint(b"s3cret"));
}

#[tokio::test]
async fn requests_are_counted() {
    let cluster = Cluster::start(1, quiet()).await;
    cluster.nodes[0].answer(|seen| if seen.method == "PUT" { Answer::Lost } else { member(seen) });
    cluster.call(None, "GET", "/v1/bdbs", None).await;
    cluster.call(None, "PUT", "/v1/bdbs/1", None).await;
    let counted = cluster.source.requests();
    assert_eq!(counted.get(&("GET".to_owned(), 200)), Some(&1));
    assert_eq!(counted.get(&("GET".to_owned(), 401)), Some(&1));
    assert_eq!(counted.get(&("PUT".to_owned(), 0)), Some(&1));
}

#[tokio::test]
async fn nothing_is_asked_after_the_cluster_is_gone() {
    let cluster = Cluster::start(1, quiet()).await;
    assert!(cluster.fact("bdbs").await.is_ok());
    let resource = cluster.objects.remove("RedisEnterpriseCluster", "rec");
    cluster.source.gone(&resource);
    let asked = cluster.nodes[0].seen.lock().len();
    assert_eq!(cluster.fact("bdbs").await, Err("RedisEnterpriseCluster `rec` does not exist".to_owned()));
    assert_eq!(cluster.call(None, "DELETE", "/v1/bdbs/1", None).await.status, 0);
    assert_eq!(cluster.nodes[0].seen.lock().len(), asked);
    until("the tasks of the cluster to end", || std::sync::Arc::strong_count(&cluster.objects) <= 2).await;
}

#[tokio::test]
async fn a_call_that_takes_long_holds_up_no_other_once_the_password_is_known_to_be_good() {
    let cluster = Cluster::start(1, quiet()).await;
    assert_eq!(cluster.call(None, "GET", "/v1/nodes", None).await.status, 200);
    cluster.nodes[0].answer(|seen| match seen.path.as_str() {
        "/v1/bdbs/1" => Answer::Never,
        _ => member(seen),
    });
    let long = cluster.call(None, "PUT", "/v1/bdbs/1", None);
    let others = async {
        until("the long call", || cluster.nodes[0].count("PUT", "/v1/bdbs/1") == 1).await;
        futures::future::join_all((0..20).map(|_| cluster.call(None, "GET", "/v1/bdbs", None))).await
    };
    tokio::select! {
        reply = long => panic!("{}", reply.body),
        replies = others => assert!(replies.iter().all(|reply| reply.status == 200)),
    }
}
