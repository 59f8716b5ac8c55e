//! Settings of the cluster, its policy and its services (REST reference, 4.1, 4.2 and 4.5).

use serde_json::json;

use super::{Has, Hidden, Part, need};
use crate::racks;
use crate::seen::Seen;
use crate::spec::said;

type Wanted<'a> = Result<Part<'a>, (&'static str, String)>;

/// Optional services, as the spec calls them and as the server does.
const SERVICES: [(&str, &str); 5] = [
    ("cmServer", "cm_server"),
    ("crdbCoordinator", "crdb_coordinator"),
    ("crdbWorker", "crdb_worker"),
    ("mdnsServer", "mdns_server"),
    ("statsArchiver", "stats_archiver"),
];

pub(super) fn cluster<'a>(seen: &'a Seen<'_>) -> Wanted<'a> {
    let spec = &seen.cluster.spec;
    let has = seen.settings.known();
    let mut part = Part::put("cluster-settings", "cluster settings", "/v1/cluster", Has::Fact(&seen.settings));
    // A node that proxies spares everybody else a redirect. A server that does not know the setting is not asked for it.
    if has.is_some_and(|has| has.contains_key("handle_redirects")) {
        part.set("handle_redirects", true);
    }
    part.set_if("encrypt_pkeys", spec.encrypt_pkeys);
    if spec.redis_on_flash_spec.enabled {
        part.set_if("bigstore_driver", spec.redis_on_flash_spec.driver());
    }
    part.set_if("s3_url", said(spec.backup.s3.url.as_ref()));
    if let Some(secret) = said(spec.backup.s3.ca_certificate_secret_name.as_ref()) {
        let key =
            need(seen, "spec.backup.s3.caCertificateSecretName", secret, &["cert"]).map_err(|why| (part.name, why))?;
        part.hidden.push(Hidden { field: "s3_ca_cert".to_owned(), secret: secret.to_owned(), key });
    }
    Ok(part)
}

pub(super) fn policy<'a>(seen: &'a Seen<'_>) -> Wanted<'a> {
    let spec = &seen.cluster.spec;
    let mut part = Part::put("policy", "cluster policy", "/v1/cluster/policy", Has::Fact(&seen.policy));
    part.set_if("data_internode_encryption", spec.data_internode_encryption);
    part.set_if("resp3_default", spec.resp3_default);
    part.set_if("redis_upgrade_policy", said(spec.redis_upgrade_policy.as_ref()));
    part.set_if("db_conns_auditing", spec.auditing.db_conns_auditing);
    // Zero means: leave it alone (reference, 1.3).
    part.set_if("slave_ha_grace_period", Some(spec.slave_ha.grace_period).filter(|seconds| *seconds > 0));
    if racks::are_known(seen) {
        part.set("rack_aware", true);
    }
    Ok(part)
}

pub(super) fn ocsp<'a>(seen: &'a Seen<'_>) -> Option<Wanted<'a>> {
    let spec = &seen.cluster.spec.ocsp_configuration;
    let mut part = Part::of_fact("ocsp", "OCSP settings", "/v1/ocsp", seen);
    part.set_if("ocsp_functionality", spec.ocsp_functionality);
    part.set_if("query_frequency", spec.query_frequency);
    part.set_if("recovery_frequency", spec.recovery_frequency);
    part.set_if("recovery_max_tries", spec.recovery_max_tries);
    part.set_if("response_timeout", spec.response_timeout);
    Some(Ok(part))
}

pub(super) fn services<'a>(seen: &'a Seen<'_>) -> Option<Wanted<'a>> {
    let spec = &seen.cluster.spec.redis_enterprise_services_configuration;
    let path = "/v1/cluster/services_configuration";
    let mut part = Part::of_fact("services", "configuration of services", path, seen);
    for (field, service) in SERVICES {
        part.set_if(service, spec.get(field).map(|service| json!({ "operating_mode": service.operating_mode })));
    }
    Some(Ok(part))
}

pub(super) fn auditing<'a>(seen: &'a Seen<'_>) -> Option<Wanted<'a>> {
    let config = seen.cluster.spec.auditing.config.as_ref()?;
    let mut part = Part::of_fact("auditing", "audit listener", "/v1/cluster/auditing/db_conns", seen);
    part.set("audit_protocol", config.audit_protocol.as_str());
    part.set("audit_address", config.audit_address.as_str());
    part.set_if("audit_port", config.audit_port);
    part.set_if("audit_reconnect_interval", config.audit_reconnect_interval);
    part.set_if("audit_reconnect_max_attempts", config.audit_reconnect_max_attempts);
    Some(Ok(part))
}

pub(super) fn metrics<'a>(seen: &'a Seen<'_>) -> Option<Wanted<'a>> {
    let spec = &seen.cluster.spec.metrics_config;
    let mut part = Part::of_fact("metrics", "metrics configuration", "/v1/metrics_config", seen);
    part.set_if("expose_db_tags", spec.expose_database_tags);
    part.set_if("key_distribution_enabled", spec.key_distribution_enabled);
    part.set_if("key_size_buckets", spec.key_size_buckets.as_deref());
    part.set_if("key_items_buckets", spec.key_items_buckets.as_deref());
    part.set_if("max_requests_in_flight", spec.max_requests_in_flight);
    part.set_if("local_storage_max_size_mb", spec.local_storage_max_size_mb);
    part.set_if("local_storage_retention_days", spec.local_storage_retention_days);
    let lower = |keys: &Vec<String>| keys.iter().map(|key| key.to_lowercase()).collect::<Vec<_>>();
    part.set_if("metrics_tag_keys_exposed", spec.metrics_tag_keys_exposed.as_ref().map(lower));
    Some(Ok(part))
}
