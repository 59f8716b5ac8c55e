//! Rows 1 to 33 of the checklist: what is installed, and what a new cluster consists of.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use stepwright_tests::checklist;
use stepwright_tests::row;
use stepwright_tests::world::World;

fn main() {
    let rows = vec![row!(1, row_01_crds_exist), row!(2, row_02_both_versions_are_served)];
    checklist::main("rows_creation", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
}

async fn row_01_crds_exist(world: &World) {
    let crds = world.kubectl(&["get", "crd", "-o", "name"]).unwrap();
    for kind in ["clusters", "databases", "activeactivedatabases", "remoteclusters"] {
        assert!(crds.contains(&format!("redisenterprise{kind}.app.redislabs.com")), "{crds}");
    }
}

async fn row_02_both_versions_are_served(world: &World) {
    let path = "jsonpath={range .spec.versions[*]}{.name}={.served}/{.storage} {end}";
    let versions = world.kubectl(&["get", "crd", "redisenterpriseclusters.app.redislabs.com", "-o", path]).unwrap();
    let mut versions: Vec<&str> = versions.split_whitespace().collect();
    versions.sort_unstable();
    assert_eq!(versions, ["v1=true/true", "v1alpha1=true/false"]);
}
