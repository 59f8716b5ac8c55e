//! Rows 1 to 33 of the checklist: what is installed, and what a new cluster consists of.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod formation;
mod installation;
mod objects;
mod pods;
mod services;

use stepwright_tests::checklist;
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};

/// The pods of the cluster.
const NODES: &str = "app=redis-enterprise,redis.io/cluster=rec,redis.io/role=node";

fn main() {
    let rows = vec![
        row!(1, installation::row_01_crds_exist),
        row!(2, installation::row_02_both_versions_are_served),
        row!(3, installation::row_03_short_names_work),
        row!(4, installation::row_04_status_is_a_subresource),
        row!(5, installation::row_05_a_cluster_may_be_written_in_either_version),
        row!(6, installation::row_06_the_operator_runs),
        row!(7, installation::row_07_one_operator_replaced_and_never_doubled),
        row!(8, installation::row_08_the_bundle_can_be_applied_again),
        row!(10, installation::row_10_printer_columns),
        row!(11, objects::row_11_service_account),
        row!(12, objects::row_12_role),
        row!(13, objects::row_13_role_binding),
        row!(14, objects::row_14_secret),
        row!(15, objects::row_15_user_name),
        row!(16, objects::row_16_statefulset),
        row!(17, pods::row_17_pods_keep_their_names),
        row!(18, pods::row_18_a_volume_for_each_pod),
        row!(19, pods::row_19_a_pod_that_comes_back_is_the_same_node),
        row!(21, services::row_21_ui_service),
        row!(22, services::row_22_the_ui_answers).instead("the simulator's page, which says what it is"),
        row!(23, services::row_23_rest_api_service),
        row!(24, services::row_24_the_rest_api_answers),
        row!(25, services::row_25_discovery_answers),
        row!(26, objects::row_26_a_disruption_budget),
        row!(27, pods::row_27_the_budget_holds),
        row!(29, formation::row_29_events_of_each_change_of_state),
        row!(30, formation::row_30_the_cluster_is_formed),
        row!(31, formation::row_31_states_in_their_order),
        row!(32, pods::row_32_proxy_api_and_redis_share_a_pod)
            .instead("ports that are open on the pod's address, and the redis-server processes bound to it"),
        row!(33, pods::row_33_pods_by_the_usual_label),
    ];
    checklist::main("rows_creation", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
}

/// Waits until everything is as [`prepare`] left it.
async fn at_rest(world: &World) {
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
    until("the cluster to be ready", FORMS, || async {
        let nodes = world.rladmin("rec-0", "status nodes")?;
        let set = world.get("statefulset", "rec")?;
        match (formation::nodes(&nodes).len(), set["status"]["readyReplicas"].as_u64()) {
            (3, Some(3)) if formation::nodes(&nodes).iter().all(|node| node.status == "OK") => Ok(()),
            _ => anyhow::bail!("{nodes}"),
        }
    })
    .await;
}
