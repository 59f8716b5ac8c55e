//! ServiceAccount, Role and RoleBinding of the pods.

use serde::Serialize;
use stepwright_sdk::Plan;

use super::{Bare, Metadata, config, metadata, service_account};
use crate::seen::Seen;

pub(super) const RBAC: &str = "rbac.authorization.k8s.io/v1";

#[derive(Serialize)]
struct Role<'a> {
    metadata: Metadata<'a>,
    rules: [Rule; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: [&'static str; 1],
    resources: [&'static str; 1],
    resource_names: [String; 1],
    verbs: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleBinding<'a> {
    metadata: Metadata<'a>,
    role_ref: RoleRef<'a>,
    subjects: [Subject<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoleRef<'a> {
    api_group: &'a str,
    kind: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Subject<'a> {
    kind: &'a str,
    name: &'a str,
    namespace: &'a str,
}

pub(super) fn desire(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let account = service_account(seen);
    if seen.cluster.spec.create_service_account.unwrap_or(true) {
        plan = plan.desire("v1", "ServiceAccount", account, &Bare { metadata: metadata(seen) });
    }
    let role = Role {
        metadata: metadata(seen),
        // The operator does the work; a pod may read what it is asked to do, and nothing else.
        rules: [Rule {
            api_groups: [""],
            resources: ["configmaps"],
            resource_names: [config::bulletin_board(seen)],
            verbs: ["get"],
        }],
    };
    let binding = binding(seen, seen.name(), account);
    plan.desire(RBAC, "Role", seen.name(), &role).desire(RBAC, "RoleBinding", seen.name(), &binding)
}

/// Gives an account of the namespace the rights of a Role.
pub(super) fn binding<'a>(seen: &'a Seen<'_>, role: &'a str, account: &'a str) -> RoleBinding<'a> {
    RoleBinding {
        metadata: metadata(seen),
        role_ref: RoleRef { api_group: "rbac.authorization.k8s.io", kind: "Role", name: role },
        subjects: [Subject { kind: "ServiceAccount", name: account, namespace: seen.observed.namespace() }],
    }
}
