//! A ConfigMap that names an OCI artifact, with a real registry on loopback: behind a door that can be shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stepwright_operator::sources::oci::RegistrySettings;
use stepwright_tests::api_server::Running;
use tokio::net::{TcpListener, TcpStream};

use crate::registry::{PASSWORD, Registry, USER, free_address};
use crate::{Offered, answers, component, delete, operator, put, still_answers, told};

/// Passes connections on to a registry while it is open.
struct Door {
    address: String,
    open: Arc<AtomicBool>,
}

impl Door {
    async fn to(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Arc::new(AtomicBool::new(true));
        let (is_open, behind) = (open.clone(), registry.address.clone());
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let (is_open, behind) = (is_open.clone(), behind.clone());
                tokio::spawn(async move {
                    if is_open.load(Ordering::SeqCst)
                        && let Ok(mut outside) = TcpStream::connect(behind).await
                    {
                        let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
            }
        });
        Self { address, open }
    }

    /// The same artifact, through the door.
    fn through(&self, registry: &Registry, reference: &str) -> String {
        reference.replace(&registry.address, &self.address)
    }
}

async fn name(running: &Running, map: &str, reference: &str) {
    put(running, map, Offered { annotations: &[("stepwright.dev/oci", reference)], ..Offered::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_taken_up_and_what_is_wrong_with_it_is_told() {
    let registry = Registry::start();
    let door = Door::to(&registry).await;
    let insecure = vec![door.address.clone()];
    let running = operator(|settings| {
        settings.registry =
            RegistrySettings { insecure, timeout: Duration::from_secs(5), ..RegistrySettings::default() };
    })
    .await;
    // Of two ConfigMaps the larger name wins; an artifact lies above both.
    put(&running, "z-plain", Offered { component: Some(&component("plain")), ..Offered::default() }).await;
    answers(&running, "plain").await;
    let first = door.through(&registry, &registry.push_component(&component("first")).await);
    name(&running, "a-oci", &first).await;
    told(&running, "a-oci", "active", "PluginActive").await;
    answers(&running, "first").await;

    let second = component("second");
    let reference = door.through(&registry, &registry.push_component(&second).await);
    let file = registry.file_of(&second);
    std::fs::write(&file, [second.as_slice(), b"x"].concat()).unwrap();
    name(&running, "a-oci", &reference).await;
    told(&running, "a-oci", "refused", "OciDigestMismatch").await;
    still_answers(&running, "first", "2").await;
    // It is mended where it was broken, and nobody touches the ConfigMap.
    std::fs::write(&file, &second).unwrap();
    answers(&running, "second").await;

    let absent = format!("{}/team/plugin@{}", door.address, crate::registry::digest(b"never pushed"));
    name(&running, "a-oci", &absent).await;
    let reason = told(&running, "a-oci", "refused", "OciNotFound").await;
    assert!(reason.contains(&absent), "{reason}");
    still_answers(&running, "second", "3").await;

    door.open.store(false, Ordering::SeqCst);
    let third = door.through(&registry, &registry.push_component(&component("third")).await);
    name(&running, "a-oci", &third).await;
    let reason = told(&running, "a-oci", "refused", "OciUnreachable").await;
    assert!(reason.contains("it is tried again"), "{reason}");
    still_answers(&running, "second", "4").await;
    door.open.store(true, Ordering::SeqCst);
    told(&running, "a-oci", "active", "PluginActive").await;
    answers(&running, "third").await;

    delete(&running, "a-oci").await;
    answers(&running, "plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_a_login_is_given_the_credentials_as_they_are_now() {
    let registry = Registry::start_with_login();
    let insecure = vec![registry.address.clone()];
    let running = operator(|settings| {
        settings.registry = RegistrySettings { insecure, ..RegistrySettings::default() };
        settings.registry_credentials = Some("pull".to_owned());
    })
    .await;
    let reference = registry.push_component(&component("behind")).await;
    name(&running, "oci", &reference).await;
    let reason = told(&running, "oci", "refused", "RegistryCredentialsMissing").await;
    assert!(reason.contains("kubectl create secret docker-registry pull"), "{reason}");
    log_in(&running, &registry, "hunter2").await;
    let reason = told(&running, "oci", "refused", "OciUnauthorized").await;
    assert!(reason.contains("`ann`") && !reason.contains("hunter2"), "{reason}");
    log_in(&running, &registry, PASSWORD).await;
    told(&running, "oci", "active", "PluginActive").await;
    answers(&running, "behind").await;
}

async fn log_in(running: &Running, registry: &Registry, password: &str) {
    let config = json!({"auths": {registry.address.clone(): {"username": USER, "password": password}}}).to_string();
    let body = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "pull"}, "stringData": {".dockerconfigjson": config}});
    let parameters = PatchParams::apply("admin").force();
    running.api::<Secret>().patch("pull", &parameters, &Patch::Apply(&body)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_above_the_bound_is_refused_wherever_it_comes_from() {
    let registry = Registry::start();
    let large = component("large");
    let insecure = vec![registry.address.clone(), free_address()];
    let most_bytes = large.len() - 1;
    let running = operator(|settings| {
        settings.registry = RegistrySettings { insecure, most_bytes, ..RegistrySettings::default() };
    })
    .await;
    put(&running, "inline", Offered { component: Some(&large), ..Offered::default() }).await;
    let reason = told(&running, "inline", "refused", "PluginTooLarge").await;
    assert!(reason.contains(&most_bytes.to_string()), "{reason}");
    name(&running, "oci", &registry.push_component(&large).await).await;
    told(&running, "oci", "refused", "OciTooLarge").await;
    still_answers(&running, "embedded", "2").await;
}
