//! What is known of a database of the cluster: whose it is, how far it is, where it is.

use crate::settings::Bdb;

/// Tags by which a database is recognised (reference, 2.9).
pub(crate) const MANAGED_BY: &str = "managed_by";
pub(crate) const REDB_NAME: &str = "redb_name";
pub(crate) const REDB_NAMESPACE: &str = "redb_namespace";
pub(crate) const DB_SERVICE_PORT: &str = "db_service_port";

/// Keys that no `spec.tags` may have.
pub(crate) const RESERVED_TAGS: [&str; 15] = [
    MANAGED_BY,
    REDB_NAME,
    REDB_NAMESPACE,
    DB_SERVICE_PORT,
    "oss_cluster_access",
    "redb_resource",
    "redb_resource_name",
    "global_configurations_spec",
    "replication_endpoint_port",
    "rerc_name",
    "redis.io/db-sec-name",
    "redis.io/db-sec-latest",
    "redis.io/certs-latest",
    "redis.io/bu-sec-name",
    "redis.io/bu-sec-latest",
];

/// Which resource a database would belong to.
pub(crate) struct Identity<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The uid that the status remembers.
    pub(crate) uid: Option<u64>,
}

impl Bdb {
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().flatten().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }

    /// A database is recognised by its tags, or by uid and name together. A uid alone does not do: a cluster that was made
    /// anew counts from 1 again.
    pub(crate) fn belongs_to(&self, identity: &Identity<'_>) -> bool {
        let tagged = self.tag(REDB_NAME) == Some(identity.name)
            && self.tag(REDB_NAMESPACE) == Some(identity.namespace)
            && self.tag(MANAGED_BY).is_some();
        // The name of another resource on it outweighs the memory of a uid.
        let foreign = self.tag(REDB_NAME).is_some_and(|name| name != identity.name)
            || self.tag(REDB_NAMESPACE).is_some_and(|namespace| namespace != identity.namespace);
        tagged || (!foreign && Some(self.uid) == identity.uid && self.name() == identity.name)
    }

    /// The endpoint inside the cluster: host, if it says so, and port.
    pub(crate) fn endpoint(&self) -> Option<(Option<&str>, u16)> {
        let internal =
            self.endpoints.iter().flatten().find(|endpoint| {
                endpoint.port != 0 && endpoint.addr_type.as_deref().unwrap_or("internal") == "internal"
            });
        match internal {
            Some(endpoint) => Some((endpoint.dns_name.as_deref().filter(|name| !name.is_empty()), endpoint.port)),
            None => self.port.filter(|port| *port != 0).map(|port| (None, port)),
        }
    }

    /// Where clients from outside begin, as `address:port`, once nodes have addresses there.
    pub(crate) fn outside(&self) -> Vec<String> {
        let all = self.endpoints.iter().flatten();
        let outside = all.filter(|endpoint| endpoint.port != 0 && endpoint.addr_type.as_deref() == Some("external"));
        outside.flat_map(|endpoint| endpoint.addr.iter().map(|addr| format!("{addr}:{}", endpoint.port))).collect()
    }

    /// Shards as the license counts them, replicas included.
    pub(crate) fn licensed_shards(&self) -> u64 {
        let replicas = if self.replication.unwrap_or_default() { 2 } else { 1 };
        u64::from(self.shards_count.unwrap_or(1)) * replicas
    }
}
