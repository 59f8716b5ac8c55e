//! What the tests of the cluster share: starting one with test images, kubectl, and waiting for conditions.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use stepwright_dev_cluster::{Cluster, ClusterOptions, Image, Parts};

/// An image whose containers are shell scripts, given as `args`.
pub(crate) const SHELL: &str = "stepwright.dev/test/shell";

pub(crate) async fn start(parts: Parts) -> Cluster {
    let options = ClusterOptions {
        parts,
        images: vec![Image::new(SHELL, ["bash", "-c"])],
        eviction: Duration::from_secs(5),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_stepwright-dev-cluster"))),
        ..ClusterOptions::default()
    };
    Cluster::start(options).await.unwrap()
}

/// kubectl's output; panics with its error.
pub(crate) async fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.kubectl().unwrap().args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub(crate) async fn apply(cluster: &Cluster, yaml: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let path = cluster.folder().join(format!("test-{}.yaml", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(&path, yaml).unwrap();
    kubectl(cluster, &["apply", "--filename", path.to_str().unwrap()]).await;
}

/// Looks until `check` answers something.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until kubectl's output for a JSON path is as wanted.
pub(crate) async fn wait_for(cluster: &Cluster, object: &str, path: &str, wanted: &str) {
    let output = format!("jsonpath={{{path}}}");
    let mut last = String::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let output = cluster.kubectl().unwrap().args(["get", object, "--output", &output]).output().await.unwrap();
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        if last == wanted {
            return;
        }
    }
    panic!("{object}: {path} is `{last}` and not `{wanted}`");
}

pub(crate) const READY: &str = r#".status.conditions[?(@.type=="Ready")].status"#;
