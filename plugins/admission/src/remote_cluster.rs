//! Rules of a RedisEnterpriseRemoteCluster that can be judged before it is stored (reference, 1.8). Whether the cluster answers and
//! its credentials are right is seen later.

use serde::Deserialize;
use stepwright_sdk::{Failure, Judged, Manifest, Observe, Question, StepManifest, Violation};

#[derive(Deserialize)]
struct RemoteCluster {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    api_fqdn_url: String,
    #[serde(default)]
    secret_name: Option<String>,
}

#[derive(Deserialize)]
struct Anything {}

pub(crate) fn check(name: &str) -> StepManifest {
    let secret = Observe::new("credentials", "v1", "Secret").names(["redis-enterprise-$(metadata.name)"]);
    StepManifest::new(name).primary(["spec"]).observe(secret.fields(["metadata.name"]))
}

pub(crate) fn judge(question: &Question) -> Result<Judged, Failure> {
    let observed = question.for_step(&Manifest::new("", ""))?;
    let RemoteCluster { spec } = observed.primary()?;
    let secret = format!("redis-enterprise-{}", observed.name());
    let mut judged = Judged::default();
    if let Some(named) = spec.secret_name.filter(|named| !named.is_empty() && *named != secret) {
        let text = format!("must be `{secret}`, or left out; it is `{named}`");
        judged.violations.push(Violation::new("spec.secretName", text));
    }
    let host = &spec.api_fqdn_url;
    if host.is_empty() || host.contains(['/', ':', ' ']) {
        let text =
            format!("must be a host name without scheme, port and path, such as api-rec.example.com; it is `{host}`");
        judged.violations.push(Violation::new("spec.apiFqdnUrl", text));
    }
    if observed.set::<Anything>("credentials")?.is_empty() {
        judged.warnings.push(format!(
            "Secret `{secret}` with `username` and `password` of the cluster's administrator is not there yet: make it"
        ));
    }
    Ok(judged)
}
