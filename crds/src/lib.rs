//! The custom resources of group `app.redislabs.com`: types, schemas, rules, and the YAML made of them.
//!
//! The types are the one place where a field is named; the schema, its texts and the files in this folder follow from
//! them (`cargo run -p stepwright-crds --bin crdgen`). What a schema can check without knowing the cluster is checked
//! by the API server, with rules kept beside the types. There is no controller logic and no client here.

#[macro_use]
mod macros;

pub mod active_active;
pub mod cluster;
pub mod database;
pub mod definition;
pub mod embedded;
pub mod generate;
pub mod remote_cluster;
pub mod rule;
pub mod schema;

pub use active_active::RedisEnterpriseActiveActiveDatabase;
pub use cluster::RedisEnterpriseCluster;
pub use database::RedisEnterpriseDatabase;
pub use remote_cluster::RedisEnterpriseRemoteCluster;
