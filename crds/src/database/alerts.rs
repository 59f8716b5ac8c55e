//! What a database warns of.

use crate::embedded::NumberOrText;

api! {
    snake_case
    /// Alerts by their name on the cluster; off if absent. They are seen there and in its metrics.
    pub struct Alerts {
        /// The backup is late (threshold in minutes).
        pub bdb_backup_delayed: Option<Alert>,
        /// A source of an Active-Active database lags (threshold in seconds).
        pub bdb_crdt_src_high_syncer_lag: Option<Alert>,
        /// A source of an Active-Active database cannot be reached.
        pub bdb_crdt_src_syncer_connection_error: Option<Alert>,
        /// A source of an Active-Active database has a fault.
        pub bdb_crdt_src_syncer_general_error: Option<Alert>,
        /// Requests take long (threshold in microseconds).
        pub bdb_high_latency: Option<Alert>,
        /// There are many requests (threshold per second).
        pub bdb_high_throughput: Option<Alert>,
        /// There are few requests (threshold per second).
        pub bdb_low_throughput: Option<Alert>,
        /// An action on the database takes long.
        pub bdb_long_running_action: Option<Alert>,
        /// The proxy certificate ends soon (threshold in days).
        pub bdb_proxy_cert_expiring_soon: Option<Alert>,
        /// Memory for data on flash is above its share (threshold in percent).
        pub bdb_ram_dataset_overhead: Option<Alert>,
        /// Few values are in memory (threshold in percent).
        pub bdb_ram_values: Option<Alert>,
        /// A source to copy from lags (threshold in seconds).
        pub bdb_replica_src_high_syncer_lag: Option<Alert>,
        /// A source to copy from cannot be reached.
        pub bdb_replica_src_syncer_connection_error: Option<Alert>,
        /// Few values of a shard are in memory (threshold is a count).
        pub bdb_shard_num_ram_values: Option<Alert>,
        /// The database is large (threshold in percent of its limit).
        pub bdb_size: Option<Alert>,
    }
}

api! {
    /// An alert.
    pub struct Alert {
        /// Whether it is on.
        pub enabled: Option<bool>,
        /// Where it begins, in the unit of the alert.
        pub threshold: Option<NumberOrText>,
    }
}
