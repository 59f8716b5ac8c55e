//! The small variant, for tests of API calls; and two at once.

use std::time::{Duration, Instant};

use crate::common::{kubectl, start};
use stepwright_dev_cluster::Parts;

#[tokio::test(flavor = "multi_thread")]
async fn two_api_servers_run_side_by_side() {
    let began = Instant::now();
    let (first, second) = tokio::join!(start(Parts::ApiServerOnly), start(Parts::ApiServerOnly));
    assert!(began.elapsed() < Duration::from_secs(30), "started after {:?}", began.elapsed());
    assert_ne!(first.network().unwrap(), second.network().unwrap());
    kubectl(&first, &["create", "namespace", "only-here"]).await;
    assert!(!kubectl(&second, &["get", "namespaces"]).await.contains("only-here"));
    // Authorisation is on.
    let mut stranger = first.kubectl().unwrap();
    let refused =
        stranger.args(["get", "pods", "--as", "system:serviceaccount:default:default"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("forbidden"));
    let (processes, folder) = (first.processes(), first.folder().to_owned());
    drop(first);
    assert!(processes.iter().all(|process| !process.is_alive()) && !folder.exists());
    second.stop().await.unwrap();
}
