//! Fields of a cluster about Services and ways in from outside.

use crate::embedded::{AnyObject, EnvVar, Labels, any_object};

words! {
    /// IP family.
    pub enum IpFamily {
        V4 = "IPv4",
        V6 = "IPv6",
    }
}

words! {
    /// Type of the Service of the admin UI.
    pub enum UiServiceType {
        ClusterIp = "ClusterIP",
        NodePort = "NodePort",
        LoadBalancer = "LoadBalancer",
        ExternalName = "ExternalName",
    }
}

words! {
    /// Type of the Service of the API.
    pub enum ApiServiceType {
        ClusterIp = "ClusterIP",
        NodePort = "NodePort",
        LoadBalancer = "LoadBalancer",
    }
}

words! {
    /// How the Services of databases are named.
    pub enum ServiceNaming {
        /// like the database.
        BdbName = "bdb_name",
        /// redis- and the port of the database.
        RedisPort = "redis-port",
    }
}

words! {
    /// Which port the Services of databases have.
    pub enum ServicePortPolicy {
        /// the port of the database.
        DatabasePortForward = "DatabasePortForward",
        /// 6379.
        RedisDefaultPort = "RedisDefaultPort",
    }
}

words! {
    /// Kind of external routing.
    pub enum RoutingMethod {
        OpenShiftRoute = "openShiftRoute",
        Ingress = "ingress",
        Istio = "istio",
    }
}

words! {
    /// External access to databases with the OSS cluster API.
    pub enum ExternalAccess {
        LoadBalancer = "LoadBalancer",
        Disabled = "Disabled",
    }
}

words! {
    /// Where a load balancer sends what comes in.
    pub enum TrafficPolicy {
        Cluster = "Cluster",
        Local = "Local",
    }
}

api! {
    /// Settings of the Services made for the cluster.
    pub struct Services {
        /// The Service of the API.
        pub api_service: Option<ApiService>,
        /// Annotations for every Service that is made; those with load-balancer or loadBalancer in their key only for Services of type LoadBalancer. Annotations of others are left alone.
        pub services_annotations: Option<Labels>,
    }
}

api! {
    /// The Service of the API.
    pub struct ApiService {
        /// Its type; ClusterIP if empty.
        #[serde(rename = "type")]
        pub service_type: Option<ApiServiceType>,
    }
}

api! {
    /// Settings of the services rigger.
    pub struct ServicesRigger {
        /// Which Services a database gets: a list of cluster_ip, headless, load_balancer, separated by commas. cluster_ip,headless if empty.
        #[schemars(length(max = 128))]
        pub database_service_type: Option<String>,
        /// How the Services of databases are named; like the database if empty.
        pub service_naming: Option<ServiceNaming>,
        /// Which port the Services of databases have; the database's own if empty.
        pub database_service_port_policy: Option<ServicePortPolicy>,
        /// Environment variables to add to the services rigger.
        pub extra_env_vars: Option<Vec<EnvVar>>,
        /// Annotations for the pod of the services rigger.
        pub pod_annotations: Option<Labels>,
        /// Any other attribute of a PodSpec for the services rigger. What the operator sets itself wins; tolerations are joined.
        #[schemars(schema_with = "any_object")]
        pub services_rigger_additional_pod_spec_attributes: Option<AnyObject>,
    }
}

api! {
    /// How the API and the Active-Active databases are reached from outside.
    pub struct Routing {
        /// Kind of the objects to make: OpenShift Routes, Ingresses, or Istio VirtualServices.
        pub method: RoutingMethod,
        /// Host name of the API from outside, without a scheme.
        #[schemars(length(max = 253))]
        pub api_fqdn_url: String,
        /// What follows the name of a database in its host name; begins with a dot or a hyphen.
        #[schemars(length(max = 253))]
        pub db_fqdn_suffix: String,
        /// Annotations of the Ingresses. With method ingress, kubernetes.io/ingress.class must be among them.
        pub ingress_annotations: Option<Labels>,
    }
}

api! {
    /// Deprecated form of ingressOrRouteSpec.
    pub struct ActiveActiveRouting {
        /// Kind of the objects to make.
        pub method: RoutingMethod,
        /// Host name of the API from outside, without a scheme.
        pub api_ingress_url: String,
        /// What follows the name of a database in its host name.
        pub db_ingress_suffix: String,
        /// Annotations of the Ingresses.
        pub ingress_annotations: Option<Labels>,
    }
}

api! {
    /// How databases with the OSS cluster API are reached from outside.
    pub struct OssCluster {
        /// LoadBalancer makes one load balancer for each node; Disabled if empty.
        pub external_access_type: Option<ExternalAccess>,
        /// Settings of those load balancers.
        pub load_balancer: Option<OssLoadBalancer>,
        /// Networks (CIDR) whose clients are given the addresses of pods instead.
        #[serde(rename = "podCIDRs")]
        #[schemars(length(max = 64), inner(length(max = 64)))]
        pub pod_cidrs: Option<Vec<String>>,
    }
}

api! {
    /// Settings of the load balancers of nodes.
    pub struct OssLoadBalancer {
        /// Their annotations.
        pub service_annotations: Option<Labels>,
        /// Where they send what comes in: to any node, or only to pods on the node it came in at.
        pub external_traffic_policy: Option<TrafficPolicy>,
    }
}
