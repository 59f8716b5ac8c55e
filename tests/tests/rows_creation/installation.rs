//! What `kubectl apply -f bundle.yaml` installs (reference, 1.1, 1.2, 2.1).

use serde_json::json;
use stepwright_dev_cluster::repository;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, OPERATOR, SETTLES, World};

const KINDS: [(&str, &str); 4] = [
    ("redisenterpriseclusters", "rec"),
    ("redisenterprisedatabases", "redb"),
    ("redisenterpriseactiveactivedatabases", "reaadb"),
    ("redisenterpriseremoteclusters", "rerc"),
];

pub(crate) async fn row_01_crds_exist(world: &World) {
    for (plural, _) in KINDS {
        let crd = world.get("crd", &format!("{plural}.app.redislabs.com")).unwrap();
        let established = crd["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
        assert!(established, "{plural}: {}", crd["status"]);
        assert_eq!(crd["metadata"]["labels"]["app"], "redis-enterprise", "{plural}");
        assert_eq!(crd["spec"]["scope"], "Namespaced", "{plural}");
    }
}

pub(crate) async fn row_02_both_versions_are_served(world: &World) {
    let versions = |plural: &str| {
        let path = "jsonpath={range .spec.versions[*]}{.name}={.served}/{.storage} {end}";
        let said = world.kubectl(&["get", "crd", &format!("{plural}.app.redislabs.com"), "-o", path]).unwrap();
        let mut versions: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
        versions.sort_unstable();
        versions
    };
    assert_eq!(versions(KINDS[0].0), ["v1=true/true", "v1alpha1=true/false"]);
    for (plural, _) in &KINDS[1..] {
        assert_eq!(versions(plural), ["v1alpha1=true/true"], "{plural}");
    }
}

pub(crate) async fn row_03_short_names_work(world: &World) {
    let said = world.kubectl(&["get", "rec,redb,reaadb,rerc", "-o", "name"]).unwrap();
    let mut found: Vec<&str> = said.lines().collect();
    found.sort_unstable();
    assert_eq!(
        found,
        ["redisenterprisecluster.app.redislabs.com/rec", "redisenterprisedatabase.app.redislabs.com/mydb"]
    );
    let said = world.kubectl(&["api-resources", "--api-group=app.redislabs.com", "--no-headers"]).unwrap();
    for (plural, short) in KINDS {
        let named = said.lines().any(|line| line.split_whitespace().take(2).eq([plural, short]));
        assert!(named, "{plural} is not `{short}`: {said}");
    }
}

pub(crate) async fn row_04_status_is_a_subresource(world: &World) {
    for (plural, _) in KINDS {
        let crd = world.get("crd", &format!("{plural}.app.redislabs.com")).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            assert_eq!(version["subresources"], json!({"status": {}}), "{plural} {}", version["name"]);
        }
    }
    // Whoever writes the resource does not write its status, and the other way round.
    let before = world.get("redb", "mydb").unwrap();
    world.patch("redb", "mydb", &json!({"status": {"status": "recovery"}})).unwrap();
    let spec = json!({"spec": {"memorySize": "1GB"}}).to_string();
    world.kubectl(&["patch", "redb", "mydb", "--subresource=status", "--type=merge", "-p", &spec]).unwrap();
    let after = world.get("redb", "mydb").unwrap();
    assert_eq!(after["status"]["status"], "active");
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
}

pub(crate) async fn row_05_a_cluster_may_be_written_in_either_version(world: &World) {
    let sample = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    let before = world.get("rec.v1.app.redislabs.com", "rec").unwrap();
    let old = sample.replace("app.redislabs.com/v1", "app.redislabs.com/v1alpha1");
    let said = world.kubectl_with_input(&["apply", "-f", "-"], &old).unwrap();
    assert_eq!(said.lines().next_back().unwrap(), "redisenterprisecluster.app.redislabs.com/rec configured");
    let after = world.get("rec.v1.app.redislabs.com", "rec").unwrap();
    assert_eq!(after["apiVersion"], "app.redislabs.com/v1");
    assert_eq!((&after["metadata"]["uid"], &after["spec"]), (&before["metadata"]["uid"], &before["spec"]));
    // A change in the old version reaches the cluster as well.
    let with_note = format!("{old}  uiAnnotations: {{example.com/row: five}}\n");
    world.kubectl_with_input(&["apply", "-f", "-"], &with_note).unwrap();
    world.field("service", "rec-ui", "/metadata/annotations/example.com~1row", "five", SETTLES).await;
    assert_eq!(
        world.get("rec.v1.app.redislabs.com", "rec").unwrap()["spec"]["uiAnnotations"]["example.com/row"],
        "five"
    );
    world.kubectl_with_input(&["apply", "-f", "-"], &sample).unwrap();
    assert_eq!(world.get("rec.v1alpha1.app.redislabs.com", "rec").unwrap()["spec"], before["spec"]);
    until("the annotation to go", SETTLES, || async {
        let service = world.get("service", "rec-ui")?;
        match service["metadata"]["annotations"].get("example.com/row") {
            None => anyhow::Ok(()),
            Some(value) => anyhow::bail!("{value}"),
        }
    })
    .await;
}

pub(crate) async fn row_06_the_operator_runs(world: &World) {
    let line = world.kubectl(&["get", "deployment", OPERATOR, "--no-headers"]).unwrap();
    assert!(line.split_whitespace().take(2).eq([OPERATOR, "1/1"]), "{line}");
    let pod = world.get("pod", &world.operator_pod().unwrap()).unwrap();
    for (label, value) in [("app", "redis-enterprise"), ("name", OPERATOR)] {
        assert_eq!(pod["metadata"]["labels"][label], value);
    }
    assert_eq!(pod["spec"]["serviceAccountName"], OPERATOR);
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], true);
    // It leads: what it says of itself is not only that its process is there.
    let lease = world.kubectl(&["get", "leases", "-o", "jsonpath={.items[*].spec.holderIdentity}"]).unwrap();
    assert!(lease.contains(&world.operator_pod().unwrap()), "the leader is {lease:?}");
}

pub(crate) async fn row_07_one_operator_replaced_and_never_doubled(world: &World) {
    let path = "jsonpath={.spec.replicas} {.spec.strategy.type}";
    assert_eq!(world.kubectl(&["get", "deployment", OPERATOR, "-o", path]).unwrap(), "1 Recreate");
    let columns = "custom-columns=TYPE:type,NAME:object.metadata.name";
    let selector = format!("name={OPERATOR}");
    let arguments = ["get", "pods", "-l", &selector, "--watch", "--output-watch-events", "--no-headers", "-o", columns];
    let watch = world.watch(&arguments).unwrap();
    let first = world.operator_pod().unwrap();
    until("the watch to begin", SETTLES, || async { if watch.lines().is_empty() { Err("nothing") } else { Ok(()) } })
        .await;
    let deployment = format!("deployment/{OPERATOR}");
    let rolled_out = || {
        until("the rollout", FORMS, || async {
            world.kubectl(&["rollout", "status", &deployment, "--timeout=180s"]).map(drop)
        })
    };
    world.kubectl(&["rollout", "restart", &deployment]).unwrap();
    rolled_out().await;
    // Back to the template that it came with.
    world.kubectl(&["rollout", "undo", &deployment]).unwrap();
    rolled_out().await;
    let last = world.operator_pod().unwrap();
    assert_ne!(first, last);
    let mut alive = std::collections::BTreeSet::new();
    let lines = until("the watch to tell of the last pod", SETTLES, || async {
        let lines = watch.lines();
        if lines.iter().any(|line| line.ends_with(&last)) { Ok(lines) } else { Err(lines) }
    })
    .await;
    for line in &lines {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["DELETED", name] => drop(alive.remove(*name)),
            [_, name] => drop(alive.insert((*name).to_owned())),
            _ => panic!("{line:?}"),
        }
        assert!(alive.len() <= 1, "at once: {alive:?}");
    }
    assert_eq!(alive.into_iter().collect::<Vec<_>>(), [last]);
    world.operator_ready().await;
}

pub(crate) async fn row_08_the_bundle_can_be_applied_again(world: &World) {
    let pod = world.operator_pod().unwrap();
    let generation =
        || world.kubectl(&["get", "deployment", OPERATOR, "-o", "jsonpath={.metadata.generation}"]).unwrap();
    let before = generation();
    let bundle = repository().join("deploy/bundle.yaml").display().to_string();
    for _ in 0..2 {
        let said = world.kubectl(&["apply", "-f", &bundle]).unwrap();
        assert!(said.lines().count() >= 8, "{said}");
        assert!(said.lines().all(|line| line.ends_with(" unchanged") || line.ends_with(" configured")), "{said}");
    }
    assert_eq!(generation(), before);
    assert_eq!(world.operator_pod().unwrap(), pod);
}

pub(crate) async fn row_10_printer_columns(world: &World) {
    // Names of columns have single spaces in them, columns are further apart.
    let table = |kind: &str| {
        let said = world.kubectl(&["get", kind]).unwrap();
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let mut lines = said.lines().map(cells);
        (lines.next().unwrap(), lines.next().unwrap())
    };
    let (headers, row) = table("rec");
    let license = ["LICENSE STATE", "LICENSE EXPIRATION DATE", "AGE"];
    let wanted = ["NAME", "NODES", "SHARDS", "VERSION", "STATE", "SPEC STATUS"];
    assert_eq!(headers, [wanted.as_slice(), license.as_slice()].concat());
    let version = world.get("rec", "rec").unwrap()["status"]["redisEnterpriseVersion"].clone();
    assert_eq!(row[..7], ["rec", "3", "1/4", version.as_str().unwrap(), "Running", "Valid", "Valid"]);
    assert_eq!(row.len(), headers.len(), "{row:?}");
    let (headers, row) = table("redb");
    assert_eq!(headers, ["NAME", "VERSION", "PORT", "CLUSTER", "SHARDS", "STATUS", "SPEC STATUS", "AGE"]);
    assert_eq!(
        (row[0].as_str(), &row[2..7]),
        ("mydb", &["19621", "rec", "1", "active", "Valid"].map(str::to_owned)[..])
    );
    assert_eq!(row.len(), headers.len(), "{row:?}");
}
