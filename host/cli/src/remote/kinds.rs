//! Kinds as kubectl takes them: `rec`, `redisenterpriseclusters`, `RedisEnterpriseCluster`, `deployments.apps`. By discovery.

use anyhow::{Context as _, bail};
use kube::Client;
use kube::api::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscoveryList, APIResourceDiscovery};

/// One kind of object that the cluster serves.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    short_names: Vec<String>,
    singular: String,
}

/// Every kind that the cluster serves, the preferred version of each.
#[derive(Debug)]
pub(crate) struct Kinds(Vec<Served>);

impl Kinds {
    pub(crate) async fn discover(client: &Client) -> anyhow::Result<Self> {
        let attempted = "failed to ask the API server which kinds it serves";
        let core = client.list_core_api_versions_aggregated().await.context(attempted)?;
        let groups = client.list_api_groups_aggregated().await.context(attempted)?;
        Ok(Self::of([core, groups]))
    }

    fn of(lists: impl IntoIterator<Item = APIGroupDiscoveryList>) -> Self {
        let mut all: Vec<Served> = Vec::new();
        for group in lists.into_iter().flat_map(|list| list.items) {
            let name = group.metadata.and_then(|it| it.name).unwrap_or_default();
            for version in group.versions {
                let version_name = version.version.unwrap_or_default();
                for resource in version.resources {
                    let Some(served) = served(&name, &version_name, resource) else { continue };
                    // The API server lists the preferred version of a group first.
                    let known = |it: &Served| it.resource.group == name && it.resource.plural == served.resource.plural;
                    if !all.iter().any(known) {
                        all.push(served);
                    }
                }
            }
        }
        Self(all)
    }

    /// The kind that a word means. Kinds of Redis Enterprise and of the core go before others of the same name, as they come.
    pub(crate) fn resolve(&self, word: &str) -> anyhow::Result<&Served> {
        let wanted = word.to_lowercase();
        let (name, group) = wanted.split_once('.').map_or((wanted.as_str(), None), |(name, group)| (name, Some(group)));
        let is = |it: &&Served| {
            let kind = it.resource.kind.to_lowercase();
            let named = it.resource.plural == name || it.singular == name || kind == name;
            (named || it.short_names.iter().any(|short| short == name))
                && group.is_none_or(|group| it.resource.group.starts_with(group))
        };
        match self.0.iter().find(is) {
            Some(found) => Ok(found),
            None => bail!("the cluster serves no kind `{word}`; `kubectl api-resources` lists those that it does"),
        }
    }
}

fn served(group: &str, version: &str, resource: APIResourceDiscovery) -> Option<Served> {
    let plural = resource.resource?;
    let kind = resource.response_kind?.kind?;
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(Served {
        singular: resource.singular_resource.unwrap_or_else(|| kind.to_lowercase()),
        short_names: resource.short_names,
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
        resource: ApiResource { group: group.to_owned(), version: version.to_owned(), api_version, kind, plural },
    })
}

/// `KIND/NAME`.
pub(crate) fn kind_and_name(text: &str) -> anyhow::Result<(&str, &str)> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => Ok((kind, name)),
        _ => bail!("`{text}` names no object; write it as KIND/NAME, for example rec/rec"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_has_many_names() {
        let list = json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced",
                 "singularResource": "deployment", "shortNames": ["deploy"]}]}]},
            {"metadata": {"name": "app.redislabs.com"}, "versions": [
                {"version": "v1", "resources": [
                    {"resource": "redisenterpriseclusters", "responseKind": {"kind": "RedisEnterpriseCluster"},
                     "scope": "Namespaced", "singularResource": "redisenterprisecluster", "shortNames": ["rec"]}]},
                {"version": "v1alpha1", "resources": [
                    {"resource": "redisenterpriseclusters", "responseKind": {"kind": "RedisEnterpriseCluster"},
                     "scope": "Namespaced", "singularResource": "redisenterprisecluster", "shortNames": ["rec"]}]}]},
        ]});
        let kinds = Kinds::of([serde_json::from_value(list).unwrap()]);
        for word in
            ["rec", "RedisEnterpriseCluster", "redisenterprisecluster", "redisenterpriseclusters.app.redislabs.com"]
        {
            let found = &kinds.resolve(word).unwrap().resource;
            assert_eq!(
                (found.kind.as_str(), found.api_version.as_str()),
                ("RedisEnterpriseCluster", "app.redislabs.com/v1")
            );
        }
        assert_eq!(kinds.resolve("deploy").unwrap().resource.kind, "Deployment");
        assert!(kinds.resolve("deployments.batch").is_err() && kinds.resolve("nothing").is_err());
    }

    #[test]
    fn an_object_is_kind_and_name() {
        assert_eq!(kind_and_name("rec/mine").unwrap(), ("rec", "mine"));
        for text in ["rec", "rec/", "/mine", "a/b/c", ""] {
            assert!(kind_and_name(text).is_err(), "{text}");
        }
    }
}
