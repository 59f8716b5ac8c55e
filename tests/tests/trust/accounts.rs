//! A plugin that acts as a ServiceAccount: refused until it may, told when it may not any more, and well again when it may.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use stepwright_tests::api_server::{Running, SOON};
use stepwright_tests::wait::until;

use crate::{Offered, answers, component, operator, put, still_answers, told};

const ACCOUNT: (&str, &str) = ("stepwright.dev/service-account", "rigger");

async fn account(running: &Running, annotations: serde_json::Value) {
    let body = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "rigger", "annotations": annotations}});
    let parameters = PatchParams::apply("admin").force();
    running.api::<ServiceAccount>().patch("rigger", &parameters, &Patch::Apply(&body)).await.unwrap();
}

async fn grant(running: &Running) {
    let role: Role = serde_json::from_value(json!({"metadata": {"name": "rigger"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch", "delete"]}]}))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "rigger"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rigger"},
        "subjects": [{"kind": "ServiceAccount", "name": "rigger", "namespace": running.namespace}]}))
    .unwrap();
    running.api::<Role>().create(&PostParams::default(), &role).await.unwrap();
    running.api::<RoleBinding>().create(&PostParams::default(), &binding).await.unwrap();
}

async fn revoke(running: &Running) {
    running.api::<RoleBinding>().delete("rigger", &DeleteParams::default()).await.unwrap();
    running.api::<Role>().delete("rigger", &DeleteParams::default()).await.unwrap();
    // The authorizer learns of it a moment later.
    let reviews: Api<SubjectAccessReview> = Api::all(running.client.clone());
    let question: SubjectAccessReview = serde_json::from_value(json!({"metadata": {}, "spec": {
        "user": format!("system:serviceaccount:{}:rigger", running.namespace),
        "resourceAttributes": {"namespace": running.namespace, "verb": "create", "resource": "configmaps"}}}))
    .unwrap();
    until("the right to be gone", SOON, || async {
        let answer = reviews.create(&PostParams::default(), &question).await.unwrap().status.unwrap();
        if answer.allowed { Err(answer) } else { Ok(()) }
    })
    .await;
}

async fn offer(running: &Running, calls: Option<&str>) {
    let component = component("acting");
    let data = calls.map_or(json!(null), |calls| json!({"calls": calls}));
    put(running, "acting", Offered { component: Some(&component), data, annotations: &[ACCOUNT] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_to_be_there_to_opt_in_and_to_have_the_rights() {
    let running = operator(|_| {}).await;
    let home = running.namespace.clone();
    offer(&running, None).await;
    let reason = told(&running, "acting", "refused", "CallsNotConfirmed").await;
    assert!(reason.ends_with("add these lines to `data.calls` if it may: PUT /v1/bdbs"), "{reason}");
    offer(&running, Some("GET /v1/bdbs\nPUT /v1/users")).await;
    told(&running, "acting", "refused", "CallsNotConfirmed").await;
    offer(&running, Some("PUT /v1/bdbs # change one\nGET /v1/bdbs")).await;

    let reason = told(&running, "acting", "refused", "ServiceAccountMissing").await;
    assert!(reason.contains(&format!("kubectl create serviceaccount rigger -n {home}")), "{reason}");
    // From here nobody touches the ConfigMap.
    account(&running, json!({})).await;
    let reason = told(&running, "acting", "refused", "ServiceAccountNotOptedIn").await;
    assert!(reason.contains("stepwright.dev/act-as=acting"), "{reason}");
    account(&running, json!({"stepwright.dev/act-as": "other, acting"})).await;
    let reason = told(&running, "acting", "refused", "ServiceAccountForbidden").await;
    assert!(reason.contains("kubectl create role rigger --verb=create,delete,patch --resource=configmaps"), "{reason}");
    assert!(reason.contains(&format!("--serviceaccount={home}:rigger")), "{reason}");
    still_answers(&running, "embedded", "2").await;
    grant(&running).await;
    told(&running, "acting", "active", "PluginActive").await;
    answers(&running, "acting").await;

    revoke(&running).await;
    running.apply("b", json!({"value": "1"})).await;
    let (reason, message) = running.condition("b", "Degraded", "True").await;
    assert_eq!(reason, "Forbidden", "{message}");
    let can_i = format!("--namespace={home} --as=system:serviceaccount:{home}:rigger");
    assert!(message.contains("kubectl auth can-i") && message.contains(&can_i), "{message}");
    assert!(running.api::<ConfigMap>().get_opt("b-config").await.unwrap().is_none());
    grant(&running).await;
    running.condition("b", "Degraded", "False").await;
    running.object::<ConfigMap>("b-config", |map| map.data.as_ref().is_some_and(|data| data["by"] == "acting")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_account_the_confirmed_calls_can_only_narrow() {
    let running = operator(|_| {}).await;
    let component = component("narrow");
    let data = json!({"calls": "# none\n"});
    put(&running, "narrow", Offered { component: Some(&component), data, ..Offered::default() }).await;
    let reason = told(&running, "narrow", "refused", "CallsNotConfirmed").await;
    assert!(reason.contains("PUT /v1/bdbs"), "{reason}");
    still_answers(&running, "embedded", "2").await;
}
