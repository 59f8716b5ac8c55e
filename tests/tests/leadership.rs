//! Leadership by Lease: one acts, the others stand by; who lost the lease carries out nothing more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use stepwright_core::plan::Plan;
use stepwright_operator::lease::{self, Leadership};
use stepwright_tests::api_server::{Setup, client, namespace, operator_with};
use stepwright_tests::native::{Native, core_object, primary};
use stepwright_tests::wait::until;
use tokio::sync::watch;

/// Longer than a lease holds without renewal, so that the next one leads by then in any case.
const LEASE_RUNS_OUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_the_next_takes_over() {
    let client = client().await;
    let home = namespace(&client).await;
    let mut first = lease::compete(client.clone(), &home, "stepwright", "first").await.unwrap();
    first.leads.wait_for(|leads| *leads).await.unwrap();
    let second = lease::compete(client, &home, "stepwright", "second").await.unwrap();
    assert!(!*second.leads.borrow(), "two lead at once");
    // Given back at once or left to run out, as the moment has it: the next one must lead either way.
    drop(first);
    until("the second to lead", LEASE_RUNS_OUT, || async {
        if *second.leads.borrow() { Ok(()) } else { Err("it stands by") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_lead_writes_nothing_and_who_lost_the_lease_ends() {
    let manifest = json!({"name": "native", "version": "1", "steps": [{"name": "step", "primary": ["spec"],
        "writes": [{"apiVersion": "v1", "kind": "ConfigMap"}]}]});
    let plugin = Native::new(manifest, "1", |observed| {
        let body = json!({"data": {"value": primary(observed)["spec"]["value"]}});
        Ok(Ok(Plan { desired: vec![core_object("ConfigMap", "out", body)], ..Plan::done() }))
    });
    let client = client().await;
    let home = namespace(&client).await;
    let (lead, leads) = watch::channel(false);
    let leadership = Leadership { leads, task: None };
    let setup = Setup { leadership, ..Setup::default() };
    let mut running = operator_with(client, home, &["step"], vec![plugin.clone()], setup).await;
    running.apply("a", json!({"value": "1"})).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(plugin.asked().is_empty(), "it stands by");

    lead.send(true).unwrap();
    running.object::<ConfigMap>("out", |map| map.data.as_ref().is_some_and(|data| data["value"] == "1")).await;
    lead.send(false).unwrap();
    let error = running.ended().await.unwrap_err();
    assert!(error.to_string().contains("lease was lost"), "{error}");
    running.apply("a", json!({"value": "2"})).await;
    let map: ConfigMap = running.object("out", |_| true).await;
    assert_eq!(map.data.unwrap()["value"], "1");
}
