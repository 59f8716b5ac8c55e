//! Fields of a cluster about its pods: storage, start, security.

use crate::embedded::{AnyObject, Quantity, any_object};

api! {
    /// Storage of each node.
    #[derive(Default)]
    pub struct PersistentSpec {
        /// Whether each node has a volume; true if empty. Cannot be changed later.
        pub enabled: Option<bool>,
        /// StorageClass of the volumes: block storage, not NFS. The default class if empty. Cannot be changed later.
        #[schemars(length(max = 253))]
        pub storage_class_name: Option<String>,
        /// Size of each volume. Five times the memory request if empty. It may only grow, with enablePersistentVolumeResize.
        pub volume_size: Option<Quantity>,
        /// Whether the volumes may be grown. Not together with redisOnFlashSpec.
        pub enable_persistent_volume_resize: Option<bool>,
    }
}

api! {
    /// Time zone of the containers: one of its fields.
    pub struct ContainerTimezone {
        /// Present (and empty) to use the time zone of the host.
        pub propagate_host: Option<PropagateHost>,
        /// Name of a time zone, such as Europe/Berlin.
        pub timezone_name: Option<String>,
    }
}

api! {
    /// It has no fields: being there is what counts.
    pub struct PropagateHost {}
}

api! {
    /// What to do with pods that do not start.
    pub struct PodStarting {
        /// Whether a pod that stays in ContainerCreating is deleted, to be made again.
        pub enabled: bool,
        /// After how many seconds; 540 is usual, 0 turns it off.
        #[schemars(range(min = 0))]
        pub starting_threshold_seconds: i32,
    }
}

api! {
    /// What the node containers may and may not do.
    pub struct PodSecurity {
        /// Read-only root filesystem.
        pub read_only_root_filesystem_policy: Option<ReadOnlyRoot>,
        /// Limits of the processes.
        pub resource_limits: Option<ResourceLimits>,
        /// FIPS 140.
        pub fips: Option<Fips>,
    }
}

api! {
    /// Read-only root filesystem.
    pub struct ReadOnlyRoot {
        /// Whether the root filesystem of the node containers is read-only.
        pub enabled: bool,
    }
}

api! {
    /// Limits of the processes.
    pub struct ResourceLimits {
        /// Whether a node may raise its own limits (open files). Adds the capability SYS_RESOURCE and privilege escalation.
        pub allow_auto_adjustment: Option<bool>,
    }
}

api! {
    /// FIPS 140.
    pub struct Fips {
        /// Whether the nodes run in FIPS 140 mode: amd64 only, with the `.fips` image.
        pub enabled: Option<bool>,
    }
}

api! {
    /// The Service Broker of old versions.
    pub struct ServiceBroker {
        /// Whether it was wanted.
        pub enabled: Option<bool>,
        /// Its image.
        #[schemars(schema_with = "any_object")]
        pub image_spec: Option<AnyObject>,
        /// Its resources.
        #[schemars(schema_with = "any_object")]
        pub resources: Option<AnyObject>,
        /// Its storage.
        #[schemars(schema_with = "any_object")]
        pub persistent_spec: Option<AnyObject>,
    }
}
