//! Rows 90 and 91 of the checklist: Active-Active databases and remote clusters. Two clusters in two namespaces, each with an operator of
//! its own, which know of each other only what a proxy leads to: the other's REST API, and the other's copies. A third is in another
//! Kubernetes cluster.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod credentials;
mod database;
mod participants;
mod remote;
mod sides;
mod together;

use stepwright_dev_cluster::repository;
use stepwright_tests::world::World;
use stepwright_tests::{checklist, row};

use sides::{OTHER, acquainted, begin, both, proxy, running};

fn main() {
    let rows = vec![
        row!(91, remote::row_91_a_remote_cluster_says_how_it_is),
        row!(90, together::row_90_one_database_is_made_changed_and_deleted_on_two_clusters),
        row!(90, together::row_90_what_is_written_on_one_cluster_is_read_on_the_other),
        row!(90, together::row_90_f16_a_participant_goes_and_comes_back),
        row!(90, participants::row_90_a_cluster_is_taken_out_and_added_again),
        row!(90, participants::row_90_one_that_is_lost_for_good_is_removed_unasked),
        row!(90, participants::row_90_a_copy_in_another_namespace),
        row!(90, credentials::row_90_all_clusters_are_told_a_new_login),
        row!(90, credentials::row_90_all_clusters_are_told_new_certificates),
        row!(90, participants::row_90_on_two_control_planes),
    ];
    checklist::main("rows_active_active", |world| Box::pin(prepare(world)), rows);
}

/// Two clusters, each under an operator of its own, and the proxy between them.
async fn prepare(world: &World) {
    let sides = both(world);
    world.kubectl(&["create", "namespace", OTHER]).unwrap();
    for part in ["bundle.yaml", "dev"] {
        let path = repository().join("deploy").join(part).display().to_string();
        sides[1].kubectl(&["apply", "-f", &path]).unwrap();
    }
    for side in sides {
        begin(side).await;
    }
    for side in sides {
        running(side).await;
    }
    proxy().lock().await.look(world).await;
    acquainted(&sides).await;
}
