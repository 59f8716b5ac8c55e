//! How the Services of a database are called, and on which port they are (reference, 1.3 and 2.6).
//!
//! Shared with the step that makes databases, which writes these names into their Secrets.

use serde::Deserialize;

/// `spec.servicesRiggerSpec` of a cluster, as far as it decides names and ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicesRiggerSpec {
    /// A list of `cluster_ip`, `headless`, `load_balancer`, separated by commas.
    pub database_service_type: Option<String>,
    /// `bdb_name` or `redis-port`.
    pub service_naming: Option<String>,
    /// `DatabasePortForward` or `RedisDefaultPort`.
    pub database_service_port_policy: Option<String>,
}

/// A kind of Service that a database may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// An address inside the cluster.
    ClusterIp,
    /// The addresses of the pods.
    Headless,
    /// An address outside the cluster.
    LoadBalancer,
}

impl ServiceKind {
    fn suffix(self) -> &'static str {
        match self {
            Self::ClusterIp => "",
            Self::Headless => "-headless",
            Self::LoadBalancer => "-load-balancer",
        }
    }
}

impl ServicesRiggerSpec {
    /// Which Services each database gets, in the order in which they are listed everywhere: that of `ServiceKind`.
    pub fn kinds(&self) -> Vec<ServiceKind> {
        let given = self.database_service_type.as_deref().filter(|text| !text.trim().is_empty());
        let words: Vec<&str> = given.unwrap_or("cluster_ip,headless").split(',').map(str::trim).collect();
        let all = [
            ("cluster_ip", ServiceKind::ClusterIp),
            ("headless", ServiceKind::Headless),
            ("load_balancer", ServiceKind::LoadBalancer),
        ];
        all.into_iter().filter(|(word, _)| words.contains(word)).map(|(_, kind)| kind).collect()
    }

    /// The Services of a database by name.
    pub fn names(&self, database: &str, port: u16) -> Vec<(ServiceKind, String)> {
        let base = match self.service_naming.as_deref() {
            Some("redis-port") => format!("redis-{port}"),
            _ => database.to_owned(),
        };
        self.kinds().into_iter().map(|kind| (kind, format!("{base}{}", kind.suffix()))).collect()
    }

    /// The port of the Services: what the database asks for, else what the policy says.
    pub fn port(&self, asked: Option<u16>, database_port: u16) -> u16 {
        match (asked, self.database_service_port_policy.as_deref()) {
            (Some(port), _) => port,
            (None, Some("RedisDefaultPort")) => 6379,
            (None, _) => database_port,
        }
    }
}

/// The Service, beside the cluster, of a database whose resource is in another namespace. Its name is not the database's:
/// nobody there chooses names here.
pub fn guest_service(port: u16) -> String {
    format!("redis-{port}")
}

/// Whether a Service may be called so: lower case, digits and hyphens, starting with a letter, at most 63 (RFC 1035).
pub fn is_service_name(name: &str) -> bool {
    name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(types: &str, naming: &str, names: &[&str]) {
        let spec = ServicesRiggerSpec {
            database_service_type: Some(types.into()),
            service_naming: Some(naming.into()),
            database_service_port_policy: None,
        };
        let found: Vec<String> = spec.names("mydb", 19621).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, names);
    }

    #[test]
    fn names_follow_the_list_and_the_rule() {
        check("", "", &["mydb", "mydb-headless"]);
        check("headless, cluster_ip", "bdb_name", &["mydb", "mydb-headless"]);
        check("load_balancer", "bdb_name", &["mydb-load-balancer"]);
        check("cluster_ip,headless", "redis-port", &["redis-19621", "redis-19621-headless"]);
    }

    #[test]
    fn a_database_s_own_service_port_wins() {
        let spec = ServicesRiggerSpec {
            database_service_port_policy: Some("RedisDefaultPort".into()),
            ..ServicesRiggerSpec::default()
        };
        assert_eq!(spec.port(Some(7000), 19621), 7000);
        assert_eq!(spec.port(None, 19621), 6379);
        assert_eq!(ServicesRiggerSpec::default().port(None, 19621), 19621);
    }

    #[test]
    fn names_of_services_are_stricter_than_those_of_databases() {
        assert!(is_service_name("mydb-2"));
        for name in ["MyDb", "2db", "db-", "", &"d".repeat(64)] {
            assert!(!is_service_name(name), "{name}");
        }
    }
}
