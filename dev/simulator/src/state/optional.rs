//! Optional parts of the configuration that are stored and shown, each under a path of its own: LDAP, single sign-on,
//! OCSP, optional services, the audit listener, metrics (REST reference, 4.5).
//!
//! Nothing acts on them: there is no LDAP and no identity provider here. What the product would refuse is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ClusterState, Object, Refusal, object};

/// A part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// `/v1/cluster/ldap`.
    Ldap,
    /// `/v1/cluster/sso`.
    Sso,
    /// `/v1/ocsp`.
    Ocsp,
    /// `/v1/cluster/services_configuration`.
    Services,
    /// `/v1/cluster/auditing/db_conns`.
    Auditing,
    /// `/v1/metrics_config`.
    Metrics,
}

/// The parts that were configured.
pub type Parts = BTreeMap<Part, Object>;

/// Services that can be switched.
const SERVICES: [&str; 11] = [
    "alert_mgr",
    "call_home_agent",
    "cm_server",
    "crdb_coordinator",
    "crdb_worker",
    "entraid_agent_mgr",
    "ldap_agent_mgr",
    "mdns_server",
    "pdns_server",
    "sentinel_service",
    "stats_archiver",
];

impl Part {
    /// The part of a path.
    pub fn at(path: &[&str]) -> Option<Self> {
        Some(match path {
            ["v1", "cluster", "ldap"] => Self::Ldap,
            ["v1", "cluster", "sso"] => Self::Sso,
            ["v1", "ocsp"] => Self::Ocsp,
            ["v1", "cluster", "services_configuration"] => Self::Services,
            ["v1", "cluster", "auditing", "db_conns"] => Self::Auditing,
            ["v1", "metrics_config"] => Self::Metrics,
            _ => return None,
        })
    }

    /// The only ones that can be taken away again.
    pub fn can_be_deleted(self) -> bool {
        matches!(self, Self::Ldap | Self::Sso)
    }

    fn defaults(self) -> Object {
        object(match self {
            Self::Ldap => json!({
                "bind_dn": "", "bind_pass": "", "ca_cert": "", "cache_ttl": 300, "cba": false, "cba_identity_oid": "",
                "cba_identity_source": "subject_cn", "control_plane": false, "data_plane": false,
                "directory_timeout_s": 5, "dn_group_attr": "", "dn_group_query": {}, "starttls": false, "uris": [],
                "user_dn_query": {}, "user_dn_template": "",
            }),
            Self::Sso => json!({
                "control_plane": false, "enforce_control_plane": false, "protocol": "saml2", "issuer": {}, "service": {},
            }),
            Self::Ocsp => json!({
                "ocsp_functionality": false, "query_frequency": 3600, "recovery_frequency": 60, "recovery_max_tries": 5,
                "responder_url": "", "response_timeout": 1,
            }),
            Self::Services => {
                SERVICES.iter().map(|name| ((*name).to_owned(), json!({"operating_mode": "enabled"}))).collect()
            }
            Self::Auditing => json!({
                "audit_protocol": "TCP", "audit_address": "", "audit_port": 0, "audit_reconnect_interval": 1,
                "audit_reconnect_max_attempts": 0,
            }),
            Self::Metrics => json!({
                "key_distribution_enabled": false, "key_size_buckets": "", "key_items_buckets": "",
                "local_storage_max_size_mb": 1024, "local_storage_retention_days": 8, "expose_db_tags": false,
                "metrics_tag_keys_exposed": [], "max_requests_in_flight": 2,
            }),
        })
    }
}

impl ClusterState {
    /// The part as it is.
    pub fn part(&self, part: Part) -> Object {
        let mut fields = part.defaults();
        fields.extend(self.parts.get(&part).cloned().unwrap_or_default());
        fields
    }

    /// The part as it is shown: without the password (REST reference, 4.5).
    pub fn part_view(&self, part: Part) -> Value {
        let mut fields = self.part(part);
        if let Some(password) = fields.get_mut("bind_pass").filter(|password| password.as_str() != Some("")) {
            *password = json!("***");
        }
        Value::Object(fields)
    }

    pub(super) fn change_part(&mut self, part: Part, patch: Object) -> Result<Value, Refusal> {
        let defaults = part.defaults();
        if patch.is_empty() && part == Part::Metrics {
            return Err(Refusal::bad_request("at least one field is needed"));
        }
        if let Some(key) = patch.keys().find(|key| !defaults.contains_key(*key)) {
            return Err(Refusal::bad_request(format!("{key} is no field of this configuration")));
        }
        let mut fields = self.part(part);
        fields.extend(patch);
        self.judge_part(part, &fields)?;
        self.parts.insert(part, fields);
        Ok(self.part_view(part))
    }

    fn judge_part(&self, part: Part, fields: &Object) -> Result<(), Refusal> {
        let says = |key: &str| {
            fields
                .get(key)
                .is_some_and(|value| !matches!(value, Value::Null) && *value != json!("") && *value != json!({}))
        };
        let is = |key: &str| fields.get(key) == Some(&json!(true));
        let range = |key: &str, from: u64, to: u64| match fields.get(key).and_then(Value::as_u64) {
            Some(number) if (from..=to).contains(&number) => Ok(()),
            _ => Err(Refusal::bad_request(format!("{key} must be from {from} to {to}"))),
        };
        match part {
            Part::Ldap => {
                let both = |one, other| says(one) && says(other);
                if both("user_dn_template", "user_dn_query") || both("dn_group_attr", "dn_group_query") {
                    return Err(Refusal::new(406, "illegal_fields_combination", "a template excludes a query"));
                }
                range("directory_timeout_s", 5, 60)
            }
            Part::Sso if is("control_plane") && !self.certificates.contains_key("sso_service") => {
                Err(Refusal::new(406, "missing_certificate", "the certificate sso_service is missing"))
            }
            Part::Ocsp => {
                range("query_frequency", 60, 86_400)?;
                range("recovery_frequency", 60, 86_400)?;
                range("recovery_max_tries", 1, 100)?;
                range("response_timeout", 1, 60)
            }
            Part::Services => {
                let mode = |value: &Value| {
                    matches!(value.get("operating_mode").and_then(Value::as_str), Some("enabled" | "disabled"))
                };
                if fields.values().all(mode) {
                    Ok(())
                } else {
                    Err(Refusal::bad_request("operating_mode is enabled or disabled"))
                }
            }
            Part::Auditing
                if !matches!(fields.get("audit_protocol").and_then(Value::as_str), Some("TCP" | "local")) =>
            {
                Err(Refusal::bad_request("audit_protocol is TCP or local"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn identity_provider(&mut self, metadata: &str) -> Result<Value, Refusal> {
        use base64::Engine as _;
        let decoded = base64::engine::general_purpose::STANDARD.decode(metadata.trim());
        let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text.filter(|text| text.trim_start().starts_with('<')) else {
            return Err(Refusal::new(400, "saml_metadata_parsing_error", "the metadata are not base64 of XML"));
        };
        let id =
            text.split_once("entityID=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default().to_owned();
        let mut fields = self.part(Part::Sso);
        fields.insert("issuer".to_owned(), json!({"id": id, "metadata": metadata}));
        self.parts.insert(Part::Sso, fields);
        Ok(self.part_view(Part::Sso))
    }
}
