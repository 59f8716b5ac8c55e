//! Whatever becomes of requests and replies, there is one database, and its uid is in the status.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{bdb, plan, redb, violation, with, world};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What becomes of one request to create.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// The cluster did it.
    done: bool,
    /// What came back; 0 is nothing.
    status: u16,
    /// The list of the round after it shows it already.
    listed: bool,
}

/// A cluster that takes requests, with a list that is right at the beginning of each pass.
#[derive(Default)]
struct Cluster {
    bdbs: Vec<Value>,
    requests: usize,
}

impl Cluster {
    /// One pass with at most this fate for a creation; the resource afterwards, and whether it asked for one.
    fn pass(&mut self, redb: &Value, fate: Fate) -> (Value, bool) {
        let before = json!(self.bdbs);
        let first = plan(&world(redb, &before));
        let calls = first["calls"].as_array().cloned().unwrap_or_default();
        let Some(call) = calls.first() else { return (with(redb, &json!({ "status": first["status"] })), false) };
        assert_eq!(call["id"], "create", "{first}");
        self.requests += 1;
        let uid = self.bdbs.len() + 1;
        let made = bdb(&with(
            &call["body"],
            &json!({ "uid": uid, "status": "pending", "authentication_redis_pass": "fp:1111" }),
        ));
        let body = if fate.status == 200 { made.clone() } else { json!({ "error_code": "no_quorum" }) };
        if fate.done {
            self.bdbs.push(made);
        }
        let shown = if fate.listed { json!(self.bdbs) } else { before };
        let second = plan(&world(redb, &shown).reply("create", fate.status, &body));
        assert_eq!(second["calls"], Value::Null, "a reply is never answered by another request: {second}");
        (with(redb, &json!({ "status": second["status"] })), true)
    }
}

/// Every way to lose a reply, with the request lost or carried out, and the list slow or fast.
fn fates() -> impl Strategy<Value = Fate> {
    let lost = prop_oneof![Just(0u16), Just(307), Just(401), Just(409), Just(500), Just(503), Just(504)];
    (any::<bool>(), lost, any::<bool>()).prop_map(|(done, status, listed)| Fate { done, status, listed })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn there_is_one_database_in_the_end(fates in proptest::collection::vec(fates(), 0..6)) {
        let mut cluster = Cluster::default();
        let mut resource = redb(&json!({}));
        let good = Fate { done: true, status: 200, listed: true };
        for fate in fates.into_iter().chain([good, good]) {
            (resource, _) = cluster.pass(&resource, fate);
            prop_assert!(cluster.bdbs.len() <= 1);
        }
        prop_assert_eq!(cluster.bdbs.len(), 1);
        prop_assert_eq!(&resource["status"]["databaseUID"], "1");
        // Once it is there nobody asks again.
        let asked = cluster.requests;
        let (_, again) = cluster.pass(&resource, good);
        prop_assert!(!again && cluster.requests == asked);
    }
}

#[test]
fn the_next_list_decides_after_each_kind_of_silence() {
    for status in [0, 307, 503, 409] {
        for done in [true, false] {
            let mut cluster = Cluster::default();
            let fate = Fate { done, status, listed: false };
            let (resource, _) = cluster.pass(&redb(&json!({})), fate);
            assert_eq!(resource["status"]["status"], "pending", "{fate:?}");
            let (after, asked) = cluster.pass(&resource, Fate { done: true, status: 200, listed: true });
            assert_eq!(asked, !done, "asked again exactly if it was not carried out: {fate:?}");
            assert_eq!(after["status"]["databaseUID"], "1");
            assert_eq!(cluster.bdbs.len(), 1);
        }
    }
}

#[test]
fn the_uid_stays_while_the_list_cannot_be_read() {
    let mut cluster = Cluster::default();
    let good = Fate { done: true, status: 200, listed: false };
    let (resource, _) = cluster.pass(&redb(&json!({})), good);
    assert_eq!(resource["status"]["databaseUID"], "1");
    let blind = plan(&world(&resource, &json!([])).unknown("bdbs", "no node answers"));
    assert_eq!((&blind["status"]["databaseUID"], &blind["calls"]), (&json!("1"), &Value::Null));
}

#[test]
fn a_second_of_the_name_is_refused_by_the_name_of_the_first() {
    let mut cluster = Cluster::default();
    let other =
        with(&redb(&json!({})), &json!({ "metadata": { "namespace": "other" }, "spec": { "databasePort": null } }));
    let good = Fate { done: true, status: 200, listed: true };
    cluster.pass(&redb(&json!({})), good);
    let refused = violation(&common::secret(
        common::bare(&other).fact("bdbs", &json!(cluster.bdbs)),
        "redb-mydb",
        Some("fp:1111"),
        true,
    ));
    assert_eq!(refused.field, "metadata.name");
    assert_eq!(
        refused.message,
        "the cluster has another database `mydb` (uid 1), and RedisEnterpriseDatabase `ns/mydb` made it: name this \
         resource differently, or delete that database"
    );
}

#[test]
fn two_that_were_made_at_the_same_moment_are_both_kept_and_the_second_is_told() {
    let tags = |namespace: &str| {
        json!([
            { "key": "managed_by", "value": "stepwright" }, { "key": "redb_name", "value": "mydb" },
            { "key": "redb_namespace", "value": namespace },
        ])
    };
    let theirs = bdb(&json!({ "uid": 1, "tags": tags("other"), "port": 0, "endpoints": [] }));
    let ours = bdb(&json!({ "uid": 2, "tags": tags("ns") }));
    let told = plan(&world(&common::active_redb(&json!({ "status": { "databaseUID": "2" } })), &json!([theirs, ours])));
    assert_eq!(told["calls"], Value::Null);
    let note = &told["notes"]["unsupported"][0];
    assert_eq!(note["field"], "metadata.name");
    assert!(
        note["reason"].as_str().unwrap().contains("(uid 1), and RedisEnterpriseDatabase `other/mydb` made it"),
        "{note}"
    );
}

/// The list that a step is shown may be a second old.
#[test]
fn a_name_that_was_taken_a_moment_ago_is_not_made_twice() {
    let bare = |listed: Option<(u16, serde_json::Value)>| {
        let given = common::secret(
            stepwright_sdk::testing::Given::new::<stepwright_redb::Redb>(&redb(&json!({})))
                .object("clusters", &common::rec("Running"))
                .object("statefulsets", &json!({ "kind": "StatefulSet", "metadata": { "name": "rec" } }))
                .fact("bdbs", &json!([]))
                .fact("license", &json!({ "expired": false, "shards_limit": 4 }))
                .fact("cluster", &json!({})),
            "redb-mydb",
            Some("fp:1111"),
            true,
        );
        let given = match listed {
            Some((status, body)) => given.reply("look", status, &body),
            None => given,
        };
        stepwright_sdk::testing::readable(&given.run::<stepwright_redb::Redb>().unwrap())
    };
    let asked = bare(None);
    assert_eq!((&asked["calls"][0]["id"], asked["calls"].as_array().map(Vec::len)), (&json!("look"), Some(1)));
    assert_eq!(bare(Some((200, json!([{ "uid": 3, "name": "other" }]))))["calls"][0]["id"], "create");
    for (status, body) in [(200, json!([{ "uid": 3, "name": "mydb" }])), (503, json!({})), (200, json!("half"))] {
        let waits = bare(Some((status, body)));
        assert!(waits["calls"].as_array().is_none_or(Vec::is_empty), "{waits}");
    }
}
