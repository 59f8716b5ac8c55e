//! The cluster as its users see it: pods that are processes, through the real kubectl. One cluster for all of it, as
//! starting one is what takes long; each part has a namespace of its own names.

use std::time::{Duration, Instant};

use crate::common::{READY, SHELL, apply, eventually, kubectl, start, wait_for};
use stepwright_dev_cluster::{Cluster, Parts, marked};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_processes() {
    let began = Instant::now();
    let cluster = start(Parts::Everything).await;
    assert!(began.elapsed() < Duration::from_secs(60), "started after {:?}", began.elapsed());

    // At the same time, as a cluster would have it.
    tokio::join!(
        readiness_comes_from_the_process(&cluster),
        a_killed_process_is_started_again(&cluster),
        deleting_a_pod_ends_its_process(&cluster),
        an_unknown_image_cannot_be_pulled(&cluster),
        what_a_pod_names_reaches_its_process(&cluster),
        services_lead_to_the_process(&cluster),
        a_claim_is_a_folder_that_outlives_its_pod(&cluster),
        a_job_completes(&cluster),
    );
    a_dead_node_loses_its_pods_and_comes_back(&cluster).await;

    let folder = cluster.folder().to_owned();
    let processes = cluster.processes();
    assert!(processes.len() > 10, "control plane and guards: {}", processes.len());
    cluster.stop().await.unwrap();
    assert_eq!(processes.iter().filter(|process| process.is_alive()).count(), 0);
    assert!(!folder.exists());
}

fn pod(name: &str, script: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  containers:
  - name: main
    image: {SHELL}:1
    args: [{script:?}]
{more}
"#
    )
}

async fn readiness_comes_from_the_process(cluster: &Cluster) {
    let probe = r#"
    readinessProbe: {periodSeconds: 1, exec: {command: [bash, -c, "test -e $STEPWRIGHT_DEV_ROOT/ready || { echo not yet; exit 1; }"]}}
"#;
    apply(cluster, &pod("probed", "exec sleep 1000", probe)).await;
    // The probe has been asked, and the pod is not ready.
    eventually("an Event of the failed probe", SOON, async || {
        kubectl(cluster, &["get", "events", "--field-selector", "involvedObject.name=probed,reason=Unhealthy"])
            .await
            .contains("Readiness probe failed: not yet")
            .then_some(())
    })
    .await;
    wait_for(cluster, "pod/probed", ".status.phase", "Running").await;
    wait_for(cluster, "pod/probed", READY, "False").await;
    kubectl(cluster, &["exec", "probed", "--", "bash", "-lc", "touch $STEPWRIGHT_DEV_ROOT/ready"]).await;
    wait_for(cluster, "pod/probed", READY, "True").await;
    kubectl(cluster, &["exec", "probed", "--", "bash", "-lc", "rm $STEPWRIGHT_DEV_ROOT/ready"]).await;
    wait_for(cluster, "pod/probed", READY, "False").await;
}

async fn a_killed_process_is_started_again(cluster: &Cluster) {
    // A descendant in a session of its own must go with it.
    apply(cluster, &pod("killed", "echo started; setsid sleep 1234 & exec sleep 1000", "")).await;
    wait_for(cluster, "pod/killed", READY, "True").await;
    let first = cluster.container_process("default", "killed", "main").unwrap();
    let orphan = eventually("the descendant", SOON, async || sleeping("1234")).await;
    cluster.kill_container("default", "killed", "main").unwrap();
    wait_for(cluster, "pod/killed", ".status.containerStatuses[0].restartCount", "1").await;
    wait_for(cluster, "pod/killed", READY, "True").await;
    wait_for(cluster, "pod/killed", ".status.containerStatuses[0].lastState.terminated.exitCode", "137").await;
    let second = cluster.container_process("default", "killed", "main").unwrap();
    assert_ne!(first, second);
    assert!(!first.is_alive() && !orphan.is_alive());
    assert_eq!(kubectl(cluster, &["logs", "killed"]).await, "started");
    assert_eq!(kubectl(cluster, &["logs", "--previous", "killed"]).await, "started");
}

/// A process that runs `sleep <seconds>`.
fn sleeping(seconds: &str) -> Option<stepwright_dev_cluster::Identity> {
    let wanted = format!("sleep\0{seconds}\0");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (line == wanted).then(|| stepwright_dev_cluster::Identity::of(pid))?
    })
}

async fn deleting_a_pod_ends_its_process(cluster: &Cluster) {
    let script = "trap 'echo asked to end; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    apply(cluster, &pod("deleted", script, "")).await;
    eventually("the script's first line", SOON, async || {
        std::fs::read_to_string(cluster.container_log("default", "deleted", "main"))
            .ok()?
            .contains("ready")
            .then_some(())
    })
    .await;
    let process = cluster.container_process("default", "deleted", "main").unwrap();
    kubectl(cluster, &["delete", "pod", "deleted"]).await;
    assert!(!process.is_alive(), "kubectl returns when the object is gone, and that goes last");
    // The log is kept, and says that it was asked before it was forced.
    let log = std::fs::read_to_string(cluster.container_log("default", "deleted", "main")).unwrap();
    assert!(log.contains("asked to end"), "{log}");
    assert!(!cluster.folder().join("pods/default/deleted").exists());
}

async fn an_unknown_image_cannot_be_pulled(cluster: &Cluster) {
    let yaml = pod("unknown", "true", "").replace(SHELL, "example/nowhere");
    apply(cluster, &yaml).await;
    wait_for(cluster, "pod/unknown", ".status.containerStatuses[0].state.waiting.reason", "ErrImagePull").await;
    wait_for(cluster, "pod/unknown", ".status.phase", "Pending").await;
    eventually("an Event of the failed pull", SOON, async || {
        let selector = "involvedObject.name=unknown,reason=Failed";
        let events = kubectl(cluster, &["get", "events", "--field-selector", selector]).await;
        events.contains("example/nowhere is not in the development cluster's image table").then_some(())
    })
    .await;
    kubectl(cluster, &["delete", "pod", "unknown"]).await;
}

async fn what_a_pod_names_reaches_its_process(cluster: &Cluster) {
    let more = r#"
    env:
    - {name: FROM_FIELD, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: named, key: password}}}
    - {name: COMBINED, value: "$(FROM_FIELD)-$(FROM_SECRET)"}
    envFrom:
    - {prefix: ALL_, configMapRef: {name: named}}
    - {configMapRef: {name: absent, optional: true}}
    volumeMounts: [{name: files, mountPath: /etc/named}]
  volumes: [{name: files, configMap: {name: named}}]
"#;
    // The pod comes first and waits for what it names.
    apply(cluster, &pod("named", "echo $COMBINED $ALL_color; exec sleep 1000", more)).await;
    eventually("an Event that says what is missing", SOON, async || {
        let selector = "involvedObject.name=named,reason=FailedMount";
        let events = kubectl(cluster, &["get", "events", "--field-selector", selector]).await;
        events.contains("configmap \"named\" not found").then_some(())
    })
    .await;
    kubectl(cluster, &["create", "configmap", "named", "--from-literal=color=red"]).await;
    kubectl(cluster, &["create", "secret", "generic", "named", "--from-literal=password=secret"]).await;
    wait_for(cluster, "pod/named", READY, "True").await;
    eventually("the line with the variables", SOON, async || {
        (kubectl(cluster, &["logs", "named"]).await == "named-secret red").then_some(())
    })
    .await;
    let read = ["exec", "named", "--", "bash", "-lc", "cat $STEPWRIGHT_DEV_ROOT/etc/named/color"];
    assert_eq!(kubectl(cluster, &read).await, "red");
    kubectl(cluster, &["patch", "configmap", "named", "-p", r#"{"data":{"color":"blue"}}"#]).await;
    eventually("the changed file", SOON, async || (kubectl(cluster, &read).await == "blue").then_some(())).await;
    // Its kubeconfig is that of its service account, which may do nothing yet.
    let who = "kubectl auth whoami -o jsonpath='{.status.userInfo.username}'";
    let kubectl_path = stepwright_dev_cluster::Binaries::find().unwrap().kubectl;
    let who = who.replace("kubectl", kubectl_path.to_str().unwrap());
    let answer = kubectl(cluster, &["exec", "named", "--", "bash", "-lc", &who]).await;
    assert_eq!(answer, "system:serviceaccount:default:default");
}

async fn services_lead_to_the_process(cluster: &Cluster) {
    let server = "python3 -c 'import socketserver, os\nclass H(socketserver.StreamRequestHandler):\n  def handle(self): self.wfile.write(b\"hello from \" + os.environ[\"POD_NAME\"].encode() + b\"\\n\")\nsocketserver.TCPServer((os.environ[\"STEPWRIGHT_DEV_BIND\"], 7001), H).serve_forever()'";
    let probe = "    readinessProbe: {tcpSocket: {port: 7001}}";
    apply(cluster, &pod("served", server, probe)).await;
    // It comes after the pod, with a port that the pod does not declare.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: served}\nspec: {selector: {app: served}, ports: [{port: 80, targetPort: 7001}]}";
    apply(cluster, service).await;
    wait_for(cluster, "pod/served", READY, "True").await;
    wait_for(cluster, "endpoints/served", ".subsets[0].ports[0].port", "7001").await;
    let mut command = cluster.kubectl().unwrap();
    let mut forward =
        command.args(["port-forward", "service/served", ":80"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let port: u16 = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"\n").await.unwrap();
    // Not to the end: kwok keeps its side open until the client closes.
    let mut answer = String::new();
    let mut reader = BufReader::new(stream);
    tokio::time::timeout(SOON, reader.read_line(&mut answer)).await.unwrap().unwrap();
    forward.kill().await.unwrap();
    assert_eq!(answer, "hello from served\n");
}

async fn a_claim_is_a_folder_that_outlives_its_pod(cluster: &Cluster) {
    apply(
        cluster,
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: kept}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
    )
    .await;
    let more = "    volumeMounts: [{name: data, mountPath: /opt/data}]\n  volumes: [{name: data, persistentVolumeClaim: {claimName: kept}}]";
    // An argument below a mount is rewritten to where the mount is.
    let script = "cat $0 2>&1; echo written > $0; exec sleep 1000";
    let yaml = pod("keeper", script, more).replace("\"]\n", "\", /opt/data/file]\n");
    apply(cluster, &yaml).await;
    wait_for(cluster, "pvc/kept", ".status.phase", "Bound").await;
    wait_for(cluster, "pod/keeper", READY, "True").await;
    kubectl(cluster, &["delete", "pod", "keeper"]).await;
    apply(cluster, &yaml).await;
    wait_for(cluster, "pod/keeper", READY, "True").await;
    eventually("what the first pod wrote", SOON, async || {
        (kubectl(cluster, &["logs", "keeper"]).await == "written").then_some(())
    })
    .await;
    kubectl(cluster, &["patch", "pvc", "kept", "-p", r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#]).await;
    wait_for(cluster, "pvc/kept", ".status.capacity.storage", "2Gi").await;
    let volumes = cluster.folder().join("volumes");
    assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 1);
    kubectl(cluster, &["delete", "pod/keeper", "pvc/kept"]).await;
    eventually("the folder's removal", SOON, async || {
        (std::fs::read_dir(&volumes).unwrap().count() == 0).then_some(())
    })
    .await;
}

async fn a_job_completes(cluster: &Cluster) {
    apply(
        cluster,
        &format!(
            r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: job}}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      initContainers: [{{name: first, image: "{SHELL}:1", args: ["echo first > $STEPWRIGHT_DEV_ROOT/../../shared"]}}]
      containers: [{{name: main, image: "{SHELL}:1", args: ["grep first $STEPWRIGHT_DEV_ROOT/../../shared"]}}]
"#
        ),
    )
    .await;
    wait_for(cluster, "job/job", ".status.succeeded", "1").await;
}

async fn a_dead_node_loses_its_pods_and_comes_back(cluster: &Cluster) {
    let deployment = format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: moved}}
spec:
  selector: {{matchLabels: {{app: moved}}}}
  template:
    metadata: {{labels: {{app: moved}}}}
    spec: {{containers: [{{name: main, image: "{SHELL}:1", args: ["exec sleep 1000"]}}]}}
"#
    );
    apply(cluster, &deployment).await;
    wait_for(cluster, "deployment/moved", ".status.availableReplicas", "1").await;
    let first = kubectl(cluster, &["get", "pods", "-l", "app=moved", "-o", "name"]).await;
    let node = kubectl(cluster, &["get", &first, "-o", "jsonpath={.spec.nodeName}"]).await;
    let process = cluster.container_process("default", first.trim_start_matches("pod/"), "main").unwrap();
    cluster.set_node_power(&node, false).await.unwrap();
    eventually("the end of the node's processes", SOON, async || (!process.is_alive()).then_some(())).await;
    eventually("a refusal to enter the dead node's pod", SOON, async || {
        let output = cluster.kubectl().unwrap().args(["exec", &first, "--", "true"]).output().await.unwrap();
        (!output.status.success()).then_some(())
    })
    .await;
    wait_for(cluster, &format!("node/{node}"), READY, "Unknown").await;
    eventually("another pod on another node", Duration::from_secs(60), async || {
        let path =
            r#"jsonpath={range .items[*]}{.spec.nodeName}={.status.phase}{.metadata.deletionTimestamp}{"\n"}{end}"#;
        let pods = kubectl(cluster, &["get", "pods", "-l", "app=moved", "-o", path]).await;
        pods.lines().any(|line| line.ends_with("=Running") && !line.starts_with(&node)).then_some(())
    })
    .await;
    // Its kubelet is not there to say that the old one has ended.
    assert_ne!(kubectl(cluster, &["get", &first, "-o", "jsonpath={.metadata.deletionTimestamp}"]).await, "");
    cluster.set_node_power(&node, true).await.unwrap();
    wait_for(cluster, &format!("node/{node}"), READY, "True").await;
    kubectl(cluster, &["wait", "--for=delete", &first, "--timeout=30s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_of_the_cluster_leaves_no_process() {
    let cluster = start(Parts::Everything).await;
    apply(&cluster, &pod("left", "setsid sleep 4321 & exec sleep 1000", "")).await;
    wait_for(&cluster, "pod/left", READY, "True").await;
    let processes = cluster.processes();
    let own = cluster.process().unwrap();
    assert!(processes.len() > 10);
    // By its id, which the handle vouches for.
    std::process::Command::new("kill").args(["-9", &own.pid.to_string()]).status().unwrap();
    eventually("the end of all processes", SOON, async || {
        (!own.is_alive() && processes.iter().all(|process| !process.is_alive())).then_some(())
    })
    .await;
    assert!(marked(cluster.folder()).is_empty());
    // And what is left, the folder, can be taken down by anybody.
    let folder = cluster.folder().to_owned();
    tokio::task::spawn_blocking(move || stepwright_dev_cluster::down(&folder)).await.unwrap().unwrap();
    assert!(!cluster.folder().exists());
}
