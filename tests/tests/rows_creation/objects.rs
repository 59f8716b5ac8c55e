//! Objects that a cluster is made of: account, rights, Secret, StatefulSet, budget (reference, 2.2 and 2.3).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwright_tests::children::assert_child;
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, SETTLES, World, curl};

pub(crate) async fn row_11_service_account(world: &World) {
    assert_child(world, &world.get("serviceaccount", "rec").unwrap());
    for pod in world.list("pods", crate::NODES).unwrap() {
        assert_eq!(pod["spec"]["serviceAccountName"], "rec");
    }
}

pub(crate) async fn row_12_role(world: &World) {
    let role = world.get("role", "rec").unwrap();
    assert_child(world, &role);
    // A pod reads what it is asked to do, and nothing else.
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["rec-bulletin-board"], "verbs": ["get"]}])
    );
}

pub(crate) async fn row_13_role_binding(world: &World) {
    let binding = world.get("rolebinding", "rec").unwrap();
    assert_child(world, &binding);
    assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": "rec", "namespace": NAMESPACE}]));
    assert_eq!(binding["roleRef"], json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rec"}));
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:rec");
    let may = |verb: &str, what: &str| match world.kubectl(&["auth", "can-i", verb, what, &account]) {
        Ok(said) => said.trim() == "yes",
        // It ends with an error when the answer is no.
        Err(error) if error.to_string().trim_end().ends_with("no") => false,
        Err(error) => panic!("{error:#}"),
    };
    assert!(may("get", "configmap/rec-bulletin-board"));
    assert!(!may("get", "configmap/rec-health-check"));
    assert!(!may("get", "secret/rec"));
}

pub(crate) async fn row_14_secret(world: &World) {
    let secret = world.get("secret", "rec").unwrap();
    assert_child(world, &secret);
    assert_eq!(secret["type"], "Opaque");
    let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["license", "password", "username"]);
    let password = world.secret("rec", "password").unwrap();
    assert!(password.len() >= 16, "a password of {} characters", password.len());
    assert_eq!(world.secret("rec", "license").unwrap(), "", "no license is the trial one");
}

pub(crate) async fn row_15_user_name(world: &World) {
    let user = world.secret("rec", "username").unwrap();
    assert_eq!(user, "demo@redis.com");
    // It is the administrator's, not only in the Secret.
    let users = world.rest("GET", "/v1/users", None).unwrap();
    let found: Vec<&Value> = users.as_array().unwrap().iter().map(|user| &user["email"]).collect();
    assert_eq!(found, ["demo@redis.com"]);
    let password = world.secret("rec", "password").unwrap();
    let url = format!("https://{}:9443/v1/nodes", world.address("rec-0").unwrap());
    assert_ne!(curl(&url, Some(&format!("{user}:{password}"))).unwrap().0, 401);
    assert_eq!(curl(&url, Some(&format!("admin@redis.com:{password}"))).unwrap().0, 401);
}

pub(crate) async fn row_16_statefulset(world: &World) {
    let line = world.kubectl(&["get", "statefulset", "rec", "--no-headers"]).unwrap();
    assert!(line.split_whitespace().take(2).eq(["rec", "3/3"]), "{line}");
    let set = world.get("statefulset", "rec").unwrap();
    assert_child(world, &set);
    let spec = &set["spec"];
    assert_eq!((&spec["replicas"], &spec["podManagementPolicy"]), (&json!(3), &json!("Parallel")));
    let selector = json!({"app": "redis-enterprise", "redis.io/cluster": "rec", "redis.io/role": "node"});
    assert_eq!(spec["selector"], json!({"matchLabels": selector}));
    // Pods are reachable by name only through a headless Service.
    let service = world.get("service", spec["serviceName"].as_str().unwrap()).unwrap();
    assert_child(world, &service);
    assert_eq!((&service["spec"]["clusterIP"], &service["spec"]["selector"]), (&json!("None"), &selector));
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);

    let pod = &spec["template"]["spec"];
    assert_eq!(
        (&pod["serviceAccountName"], &pod["terminationGracePeriodSeconds"]),
        (&json!("rec"), &json!(31_536_000))
    );
    let security = &pod["securityContext"];
    assert_eq!((&security["runAsUser"], &security["fsGroup"]), (&json!(1001), &json!(1001)));
    let apart = &pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(apart, &json!([{"labelSelector": {"matchLabels": selector}, "topologyKey": "kubernetes.io/hostname"}]));

    // First, so that `kubectl exec rec-0` lands in it.
    let node = &pod["containers"][0];
    assert_eq!(node["name"], "redis-enterprise-node");
    let version = world.get("rec", "rec").unwrap()["status"]["redisEnterpriseVersion"].clone();
    assert_eq!(node["image"], format!("redislabs/redis:{}", version.as_str().unwrap()));
    let numbers = node["ports"].as_array().unwrap().iter().map(|port| port["containerPort"].clone());
    assert_eq!(numbers.collect::<Vec<_>>(), [8001, 8443, 9443]);
    let resources = json!({"cpu": "2", "memory": "4Gi"});
    assert_eq!(node["resources"], json!({"limits": resources, "requests": resources}));
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(node["securityContext"], security);
    let mounts: BTreeMap<&str, &str> = node["volumeMounts"].as_array().unwrap().iter().map(mount).collect();
    let wanted = [
        ("/opt/persistent", "redis-enterprise-storage"),
        ("/opt/redislabs/credentials", "credentials"),
        ("/opt/redislabs/shared", "health-check"),
        ("/var/opt/redislabs/log", "redis-enterprise-storage"),
    ];
    assert_eq!(mounts, BTreeMap::from(wanted));
    // Ready is what the health script says, which comes by a ConfigMap.
    let probe = node["readinessProbe"]["exec"]["command"].as_array().unwrap();
    assert!(probe.last().unwrap().as_str().unwrap().starts_with("/opt/redislabs/shared/"), "{probe:?}");
    for name in ["rec-health-check", "rec-bulletin-board"] {
        assert_child(world, &world.get("configmap", name).unwrap());
    }

    let claims = spec["volumeClaimTemplates"].as_array().unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0]["metadata"]["name"], "redis-enterprise-storage");
    assert_eq!(claims[0]["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(claims[0]["spec"]["resources"]["requests"]["storage"], "20Gi");
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Retain");
}

fn mount(mount: &Value) -> (&str, &str) {
    (mount["mountPath"].as_str().unwrap(), mount["name"].as_str().unwrap())
}

pub(crate) async fn row_26_a_disruption_budget(world: &World) {
    let budget = world.get("poddisruptionbudget", "rec").unwrap();
    assert_child(world, &budget);
    let selector = json!({"app": "redis-enterprise", "redis.io/cluster": "rec", "redis.io/role": "node"});
    assert_eq!(budget["spec"], json!({"maxUnavailable": 1, "selector": {"matchLabels": selector}}));
    until("one disruption to be allowed", SETTLES, || async {
        let table = world.kubectl(&["get", "pdb"])?;
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        // NAME, MIN AVAILABLE, MAX UNAVAILABLE, ALLOWED DISRUPTIONS, AGE
        match rows.as_slice() {
            [_, row] if row[..4] == ["rec", "N/A", "1", "1"] => Ok(()),
            _ => anyhow::bail!("{table}"),
        }
    })
    .await;
}
