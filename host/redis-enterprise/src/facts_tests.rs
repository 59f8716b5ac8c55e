use bytes::Bytes;

use super::*;

fn fingerprinter() -> Fingerprinter {
    Fingerprinter::new([1; 32])
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, location: None, state_id: None, json: true, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn known(name: &str, value: &Value) -> Known {
    know(Source::named(name).unwrap(), &answer(200, &value.to_string()), &[], &fingerprinter())
}

fn text(name: &str, value: &Value) -> String {
    known(name, value).value.unwrap().text()
}

#[test]
fn every_kind_has_one_source() {
    let mut kinds: Vec<FactKind> = SOURCES.iter().map(|source| source.kind).collect();
    kinds.dedup();
    assert_eq!(kinds.len(), 20);
    assert!(kinds.is_sorted());
    assert!(Source::named("none").is_none());
}

#[test]
fn what_moves_at_rest_does_not_change_a_fact() {
    let status = |ram: u64, provisional: u64| {
        json!({"1": {"hostname": "rec-0", "node_status": "active", "free_ram": ram, "uptime": ram,
                     "free_provisional_ram": 1_000_000_000 + provisional, "software_version": "8"}})
    };
    assert_eq!(text("nodes-status", &status(1, 0)), text("nodes-status", &status(2, 1_000_000)));
    assert_ne!(text("nodes-status", &status(1, 0)), text("nodes-status", &status(1, 900_000_000)));
    let nodes = |uptime: u64| json!([{"uid": 1, "status": "active", "uptime": uptime, "system_time": uptime}]);
    assert_eq!(text("nodes", &nodes(1)), text("nodes", &nodes(2)));
    let bdbs = |lag: u64| json!([{"uid": 1, "status": "active", "replica_sources": [{"lag": lag, "uid": 1}]}]);
    assert_eq!(text("bdbs", &bdbs(1)), text("bdbs", &bdbs(2)));
}

#[test]
fn order_of_fields_and_of_lists_does_not_matter() {
    let one = know(
        Source::named("bdbs").unwrap(),
        &answer(200, r#"[{"uid":2,"status":"active"},{"uid":10,"b":1,"a":2,"status":"active"}]"#),
        &[],
        &fingerprinter(),
    );
    let other = know(
        Source::named("bdbs").unwrap(),
        &answer(200, r#" [{"a":2,"status":"active","b":1,"uid":10},{"status":"active","uid":2}]"#),
        &[],
        &fingerprinter(),
    );
    assert_eq!(one, other);
    assert_eq!(one.value.unwrap().text(), r#"[{"status":"active","uid":2},{"a":2,"b":1,"status":"active","uid":10}]"#);
}

#[test]
fn no_secret_is_left_in_a_fact() {
    let bdb = json!([{"uid": 1, "status": "active", "authentication_redis_pass": "s3cret", "authentication_admin_pass": "s3cret",
        "authentication_sasl_pass": "s3cret", "tags": [{"key": "team", "value": "a"}],
        "backup_location": {"type": "sftp", "sftp_url": "sftp://me:s3cret@host/dir", "key": "s3cret", "secret_access_key": "s3cret",
                            "account_key": "s3cret", "sas_token": "s3cret", "private_key": "s3cret"},
        "replica_sources": [{"uri": "redis://admin:s3cret@10.0.0.1:12000", "client_key": "s3cret"},
                            {"uri": "redis://s3cret@10.0.0.1:12000"}],
        "odd": "-----BEGIN RSA PRIVATE KEY-----\ns3cret\n-----END RSA PRIVATE KEY-----"}]);
    let text = text("bdbs", &bdb);
    assert!(!text.contains("s3cret"), "{text}");
    let expected = fingerprinter().fingerprint(b"s3cret");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value[0]["authentication_redis_pass"], expected);
    assert_eq!(value[0]["tags"][0]["key"], "team");
    assert_eq!(value[0]["backup_location"]["sftp_url"], format!("sftp://me:{expected}@host/dir"));
    assert_eq!(value[0]["replica_sources"][0]["uri"], format!("redis://admin:{expected}@10.0.0.1:12000"));
}

#[test]
fn a_license_is_known_by_its_fingerprint_or_known_to_be_none() {
    let license = text("license", &json!({"license": "text", "key": "", "expired": false}));
    let expected = fingerprinter().fingerprint(b"text");
    assert_eq!(license, format!(r#"{{"expired":false,"key":"","license":"{expected}"}}"#));
    let none = know(Source::named("license").unwrap(), &answer(404, ""), &[], &fingerprinter());
    assert_eq!(none.value.unwrap().text(), "{}");
}

#[test]
fn an_answer_that_is_no_fact_says_why() {
    let source = Source::named("bdbs").unwrap();
    let html = know(source, &answer(502, "<html>Bad Gateway</html>"), &[], &fingerprinter());
    assert_eq!(html.value, Err("GET /v1/bdbs: HTTP status 502, <html>Bad Gateway</html>".to_owned()));
    assert!(html.passing);
    let cut = know(source, &answer(200, r#"[{"uid":1"#), &[], &fingerprinter());
    assert_eq!(cut.value, Err("GET /v1/bdbs: the reply is cut off or not JSON".to_owned()));
    let forbidden = know(source, &answer(403, r#"{"error_code":"x"}"#), &[], &fingerprinter());
    assert!(!forbidden.passing);
}

#[test]
fn bootstrap_has_an_entry_for_every_pod() {
    let unreachable = CallError::Unreachable { pod: "rec-2".to_owned(), cause: Cause::Refused };
    let answers = vec![
        ("rec-0".to_owned(), Ok(answer(401, ""))),
        (
            "rec-1".to_owned(),
            Ok(answer(200, r#"{"bootstrap_status":{"state":"idle"},"local_node_info":{"uptime":3,"cores":4}}"#)),
        ),
        ("rec-2".to_owned(), Err(unreachable)),
        ("rec-3".to_owned(), Ok(answer(503, ""))),
    ];
    let fact = know_bootstrap(answers, &["rec-4".to_owned()], &fingerprinter());
    assert!(fact.moving);
    let value: Value = serde_json::from_str(&fact.value.unwrap().text()).unwrap();
    assert_eq!(
        value,
        json!({"rec-0": {"bootstrap_status": {"state": "completed"}},
               "rec-1": {"bootstrap_status": {"state": "idle"}, "local_node_info": {"cores": 4}},
               "rec-2": {"error": "connection refused"}, "rec-3": {"error": "HTTP status 503"},
               "rec-4": {"error": "the pod has no address yet"}})
    );
    let all = know_bootstrap(vec![("rec-0".to_owned(), Ok(answer(401, "")))], &[], &fingerprinter());
    assert!(!all.moving);
}

#[test]
fn what_is_not_json_comes_whole_or_not_at_all_and_words_of_a_refusal_are_cut() {
    let body = |status: u16, bytes: &[u8]| {
        let answer = Answer { json: false, body: Bytes::copy_from_slice(bytes), ..answer(status, "") };
        reply_body(&answer, "/v1/cluster/sso/saml/metadata/sp", &fingerprinter())
    };
    let text = "<EntityDescriptor/>".repeat(1_000);
    assert_eq!(body(200, text.as_bytes()), Ok(Value::String(text.clone()).to_string()));
    assert_eq!(body(200, "x".repeat(300_000).as_bytes()), Err(Cause::TooLarge));
    assert_eq!(body(200, &[0xff, 0xfe]), Err(Cause::NotText));
    assert_eq!(body(500, text.as_bytes()).unwrap().chars().count(), 302);
    let key = "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----";
    assert!(!body(200, key.as_bytes()).unwrap().contains("s3cret"));
}

#[test]
fn what_is_not_configured_is_known_to_be_nothing() {
    for name in ["auditing", "certificates", "ldap", "license", "metrics", "ocsp", "services", "sso"] {
        let none = know(Source::named(name).unwrap(), &answer(404, ""), &[], &fingerprinter());
        assert_eq!(none.value.unwrap().text(), "{}", "{name}");
    }
    assert!(know(Source::named("policy").unwrap(), &answer(404, ""), &[], &fingerprinter()).value.is_err());
    let pair = json!({"proxy_cert": "-----BEGIN CERTIFICATE-----", "proxy_key": "-----BEGIN PRIVATE KEY-----\ns3cret"});
    let certificates = text("certificates", &pair);
    assert!(certificates.contains("BEGIN CERTIFICATE") && !certificates.contains("s3cret"), "{certificates}");
}

#[test]
fn only_what_is_on_its_way_moves() {
    let moving = |name: &str, value: Value| known(name, &value).moving;
    assert!(moving("bdbs", json!([{"status": "active"}, {"status": "active-change-pending"}])));
    assert!(!moving("bdbs", json!([{"status": "active"}, {"status": "creation-failed"}])));
    assert!(moving("nodes", json!([{"status": "provisioning"}])));
    assert!(!moving("nodes", json!([{"status": "active"}])));
    assert!(moving("nodes-status", json!({"1": {"node_status": "down"}})));
    assert!(!moving("policy", json!({"status": "down"})));
}

#[test]
fn replies_are_json_whatever_came() {
    let body = |answer: &Answer| reply_body(answer, "/v1/bdbs", &fingerprinter());
    assert_eq!(body(&answer(200, "")).as_deref(), Ok("null"));
    assert_eq!(body(&answer(200, r#"{"uid":1,"b":[],"a":0}"#)).as_deref(), Ok(r#"{"a":0,"b":[],"uid":1}"#));
    assert_eq!(body(&answer(200, r#"{"uid":1"#)), Err(Cause::CutOff));
    assert_eq!(body(&answer(502, "<html>")).as_deref(), Ok(r#""<html>""#));
    let secret = body(&answer(200, r#"{"authentication_redis_pass":"s3cret"}"#)).unwrap();
    assert!(secret.contains("fp:") && !secret.contains("s3cret"));
}

#[test]
fn of_alerts_only_those_that_are_enabled_are_told_and_not_whether_they_are_on() {
    let alert =
        |enabled: bool, state: bool| json!({"enabled": enabled, "threshold": "80", "state": state, "change_time": "t"});
    let shown = |state: bool| json!({"1": {"bdb_size": alert(true, state), "bdb_ram_values": alert(false, false)}, "2": {"bdb_size": alert(false, state)}});
    assert_eq!(text("alerts", &shown(false)), r#"{"1":{"bdb_size":{"threshold":"80"}}}"#);
    assert_eq!(known("alerts", &shown(true)), known("alerts", &shown(false)));
}
