//! Rows 34 to 47 of the checklist: what is refused, what is put back, and how a change reaches a running cluster.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod change;
mod drift;
mod rivals;
mod steady;
mod validation;

use stepwright_tests::checklist;
use stepwright_tests::row;
use stepwright_tests::world::World;

/// The pods of the cluster.
const NODES: &str = "app=redis-enterprise,redis.io/cluster=rec,redis.io/role=node";

fn main() {
    let rows = vec![
        row!(34, validation::row_34_an_even_number_of_nodes_is_refused),
        row!(35, validation::row_35_fewer_than_three_nodes_are_refused),
        row!(36, validation::row_36_what_the_api_server_refuses_changes_nothing),
        row!(36, validation::row_36_what_the_step_refuses_changes_nothing_and_heals),
        row!(37, validation::row_37_unsafe_changes_are_refused),
        row!(38, rivals::row_38_a_second_cluster_in_the_namespace_is_refused),
        row!(39, rivals::row_39_a_cluster_elsewhere_with_its_own_operator),
        row!(40, drift::row_40_a_changed_number_of_replicas_is_put_back),
        row!(41, drift::row_41_deleted_objects_are_made_again),
        row!(42, drift::row_42_a_managed_setting_is_put_back),
        row!(43, drift::row_43_another_setting_is_left_alone),
        row!(44, change::row_44_more_nodes),
        row!(45, change::row_45_changed_resources_one_pod_after_the_other),
        row!(46, change::row_46_a_change_while_the_operator_was_away),
        row!(47, change::row_47_a_bad_image_is_told_and_heals),
    ];
    // Five, so that a cluster may grow: each of its pods wants a node for itself.
    checklist::main_on(5, "rows_drift", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
    steady::at_rest(world, 3).await;
}
