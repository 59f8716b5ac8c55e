//! Rules of the spec that only the operator can judge, or that a schema without CEL let through (reference, 3.2).
//! Each message says the rule and the remedy. What only a running Redis Enterprise can judge is not here.

use stepwright_sdk::{Failure, Violation};

use crate::credentials;
use crate::formation::{NodeState, View};
use crate::seen::Seen;
use crate::spec::{Ldap, LdapQuery, said};
use crate::storage;

/// Longest name that Redis Enterprise takes for a cluster (REST reference, 3.3).
const MAX_FQDN: usize = 64;

pub(crate) fn check(seen: &Seen<'_>, view: &View) -> Result<(), Failure> {
    let mut violations = Vec::new();
    let mut rule = |broken: bool, field: &str, message: &str| {
        if broken {
            violations.push(Violation::new(field, message));
        }
    };
    let spec = &seen.cluster.spec;
    let nodes = spec.nodes.unwrap_or(3);
    rule(
        nodes < 3 || nodes % 2 == 0 || nodes > i64::from(u16::MAX),
        "spec.nodes",
        &format!("is {nodes}: must be odd and at least 3, so that a majority can exist; set 3, 5, 7 …"),
    );
    let beyond = member_beyond(seen).filter(|_| !spec.allow_scale_down);
    rule(
        beyond.is_some(),
        "spec.nodes",
        &format!(
            "is {nodes}, but {} is a member of the cluster: set it back, or allow nodes to be removed with spec.allowScaleDown",
            beyond.unwrap_or_default(),
        ),
    );
    let fqdn = seen.fqdn();
    rule(
        fqdn.len() > MAX_FQDN,
        "metadata.name",
        &format!(
            "makes the cluster's name `{fqdn}` longer than {MAX_FQDN} characters; use a shorter name or namespace"
        ),
    );
    rule(
        said(spec.license.as_ref()).is_some() && said(spec.license_secret_name.as_ref()).is_some(),
        "spec.license",
        "excludes spec.licenseSecretName; remove one of the two",
    );
    rule(
        spec.ingress_or_route_spec.is_some() && spec.active_active.is_some(),
        "spec.activeActive",
        "excludes spec.ingressOrRouteSpec; remove spec.activeActive, the deprecated one",
    );
    rule(
        spec.ingress_or_route_spec.as_ref().is_some_and(|routing| {
            routing.method == "ingress" && !routing.ingress_annotations.contains_key("kubernetes.io/ingress.class")
        }),
        "spec.ingressOrRouteSpec.ingressAnnotations",
        "needs `kubernetes.io/ingress.class` with method `ingress`; add it",
    );
    let formed_with = seen.cluster.status.cluster_credential_secret_name.as_deref();
    rule(
        view.formed_before && formed_with.is_some_and(|formed_with| formed_with != seen.credentials()),
        "spec.clusterCredentialSecretName",
        &format!(
            "cannot be changed on a running cluster by this version; set it back to `{}`",
            formed_with.unwrap_or_default(),
        ),
    );
    violations.extend(storage::violations(seen));
    violations.extend(spec.ldap.as_ref().map(ldap).unwrap_or_default());
    Failure::unless_empty(violations)
}

/// A member of the cluster that the wanted number of nodes leaves out. Pods that somebody's `kubectl scale` made are no
/// members, so they do not count.
fn member_beyond(seen: &Seen<'_>) -> Option<String> {
    let all = seen.bootstrap.known()?;
    let prefix = format!("{}-", seen.name());
    all.iter()
        .filter(|(_, answer)| answer.bootstrap_status.as_ref().is_some_and(|status| status.state == "completed"))
        .filter(|(pod, _)| {
            let ordinal = pod.strip_prefix(&prefix).and_then(|ordinal| ordinal.parse::<i64>().ok());
            ordinal.is_some_and(|ordinal| ordinal >= seen.cluster.spec.nodes.unwrap_or(3))
        })
        .map(|(pod, _)| pod.clone())
        .next()
}

fn ldap(ldap: &Ldap) -> Vec<Violation> {
    let one = |query: &LdapQuery, short: Option<&String>| said(short).is_some() != query.query.is_some();
    let mut violations = Vec::new();
    let authentication = &ldap.authentication_query;
    if !one(authentication, authentication.template.as_ref()) {
        violations.push(Violation::new("spec.ldap.authenticationQuery", "needs exactly one of `template` and `query`"));
    }
    let authorization = &ldap.authorization_query;
    if !one(authorization, authorization.attribute.as_ref()) {
        violations.push(Violation::new("spec.ldap.authorizationQuery", "needs exactly one of `attribute` and `query`"));
    }
    violations
}

/// The credentials are gone while a cluster is there that needs them: a new password would fit nothing.
pub(crate) fn credentials_lost(seen: &Seen<'_>, view: &View) -> bool {
    let complete = seen.secret(seen.credentials()).is_some_and(|secret| secret.data.contains_key("password"));
    let complete = complete || credentials::known(seen).is_some();
    let exists = view.formed_before || view.nodes.iter().any(|node| node.state == NodeState::Member);
    exists && !complete
}
