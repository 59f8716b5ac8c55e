//! Whether a plugin may act as a ServiceAccount: it is there, it opted in, and RBAC lets it do what the plugin writes. The
//! last is asked of the API server in that account's name.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ApiResource};
use kube::{Client, ResourceExt};

use super::refusal::Refusal;
use crate::offer::ACT_AS;
use crate::slots::Identity;

/// What is needed to write objects of a kind.
const VERBS: [&str; 3] = ["create", "patch", "delete"];

/// The account, if plugin `plugin` (a ConfigMap's name) may act as it and it may write all of these kinds in all of these
/// namespaces (none: everywhere).
pub(super) async fn check(
    client: &Client,
    identity: Identity,
    plugin: &str,
    kinds: &[ApiResource],
    namespaces: &[String],
) -> Result<Identity, Refusal> {
    let Identity { namespace, name } = identity.clone();
    let failed = |attempted: String| {
        move |error: kube::Error| Refusal::Api { attempted: attempted.clone(), message: error.to_string() }
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let account = api.get_opt(&name).await.map_err(failed(format!("read ServiceAccount {namespace}/{name}")))?;
    let Some(account) = account else { return Err(Refusal::AccountMissing { namespace, name }) };
    let opted_in = account.annotations().get(ACT_AS).is_some_and(|names| admits(names, plugin));
    if !opted_in {
        return Err(Refusal::AccountNotOptedIn { namespace, name, plugin: plugin.to_owned() });
    }
    let everywhere = [String::new()];
    let namespaces = if namespaces.is_empty() { everywhere.as_slice() } else { namespaces };
    let mut missing: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for place in namespaces {
        for resource in kinds {
            for verb in VERBS {
                let allowed = may(client, &identity, place, resource, verb);
                if !allowed.await.map_err(failed(format!("ask what ServiceAccount {namespace}/{name} may do")))? {
                    missing.entry(place).or_default().insert((verb, &resource.plural));
                }
            }
        }
    }
    if missing.is_empty() { Ok(identity) } else { Err(forbidden(&identity, &missing, kinds)) }
}

/// `a, b` or `*`.
fn admits(names: &str, plugin: &str) -> bool {
    names.split(',').map(str::trim).any(|name| name == "*" || name == plugin)
}

async fn may(
    client: &Client,
    identity: &Identity,
    namespace: &str,
    resource: &ApiResource,
    verb: &str,
) -> Result<bool, kube::Error> {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()).filter(|it| !it.is_empty()),
        group: Some(resource.group.clone()),
        resource: Some(resource.plural.clone()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..Default::default()
    };
    let body = serde_json::to_vec(&review).map_err(kube::Error::SerdeError)?;
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("Content-Type", "application/json")
        .header("Impersonate-User", identity.user())
        .body(body)
        .map_err(kube::Error::HttpError)?;
    let answer: SelfSubjectAccessReview = client.request(request).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn forbidden(identity: &Identity, missing: &BTreeMap<&str, BTreeSet<(&str, &str)>>, kinds: &[ApiResource]) -> Refusal {
    let Identity { namespace, name } = identity;
    let (mut words, mut remedies) = (Vec::new(), Vec::new());
    for (place, rights) in missing {
        let verbs: BTreeSet<&str> = rights.iter().map(|(verb, _)| *verb).collect();
        let resources: BTreeSet<&str> = rights.iter().map(|(_, resource)| *resource).collect();
        let (verbs, resources) = (list(&verbs), list(&resources));
        let named: Vec<String> =
            kinds
                .iter()
                .filter(|kind| rights.iter().any(|(_, plural)| *plural == kind.plural))
                .map(|kind| {
                    if kind.group.is_empty() { kind.plural.clone() } else { format!("{}.{}", kind.plural, kind.group) }
                })
                .collect();
        let (role, place_words, flag) = if place.is_empty() {
            ("clusterrole", "everywhere".to_owned(), String::new())
        } else {
            ("role", format!("in namespace {place}"), format!(" -n {place}"))
        };
        words.push(format!("{verbs} {resources} {place_words}"));
        remedies.push(format!(
            "kubectl create {role} {name} --verb={verbs} --resource={}{flag} && kubectl create {role}binding {name} --{role}={name} --serviceaccount={namespace}:{name}{flag}",
            named.join(","),
        ));
    }
    Refusal::AccountForbidden {
        account: format!("{namespace}/{name}"),
        missing: words.join("; "),
        remedy: remedies.join("; "),
    }
}

fn list(words: &BTreeSet<&str>) -> String {
    words.iter().copied().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_names_the_plugins_that_may_act_as_it() {
        assert!(admits("a, b", "b") && admits("*", "x"));
        assert!(!admits("a,bc", "b") && !admits("", "b"));
    }
}
