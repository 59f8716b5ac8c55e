//! What a ConfigMap offers: where the component is, and what its admin wishes for it. Data only; reading ConfigMaps, fetching
//! and deciding are elsewhere.

use std::collections::BTreeMap;

use stepwright_core::slot::{Mode, OnFailure};

/// Annotations that people write.
pub mod wish {
    /// `active` (default), `shadow`, `canary`.
    pub const MODE: &str = "stepwright.dev/mode";
    /// 0 to 100. With mode `canary`; the default is 10.
    pub const CANARY_PERCENT: &str = "stepwright.dev/canary-percent";
    /// `tier=dev,team=x`. With mode `canary`, instead of a percentage.
    pub const CANARY_LABELS: &str = "stepwright.dev/canary-labels";
    /// A shadow or canary becomes active by itself after this many good passes in a row.
    pub const PROMOTE_AFTER: &str = "stepwright.dev/promote-after";
    /// Of a policy: smaller ones are asked first. Default 0.
    pub const PRIORITY: &str = "stepwright.dev/priority";
    /// `hold` (default), `skip`, `stop`, `fallback`.
    pub const ON_FAILURE: &str = "stepwright.dev/on-failure";
    /// A ServiceAccount of the operator's namespace, as which the plugin's effects are carried out.
    pub const SERVICE_ACCOUNT: &str = "stepwright.dev/service-account";
    /// `live`: rehearse on every primary in the cache as well.
    pub const REHEARSE: &str = "stepwright.dev/rehearse";
    /// ConfigMaps with the same set are taken up together or not at all.
    pub const SET: &str = "stepwright.dev/set";
    /// How many ConfigMaps the set has.
    pub const SET_SIZE: &str = "stepwright.dev/set-size";
    /// The name of the ConfigMap that holds part 1.
    pub const PART_OF: &str = "stepwright.dev/part-of";
    /// `2/3`.
    pub const PART: &str = "stepwright.dev/part";
    /// An OCI artifact by digest: `registry/repository@sha256:…`.
    pub const OCI: &str = "stepwright.dev/oci";
    /// The digest of a component that counts as active whatever `mode` says. Written by `plugins promote` and by the host.
    pub const PROMOTED: &str = "stepwright.dev/promoted";
    /// The digest of a component that is not used any more. Written by `plugins rollback` and by the host.
    pub const ROLLED_BACK: &str = "stepwright.dev/rolled-back";

    /// Every one of them: one with our prefix that is in no such list is refused, since it is a typing error.
    pub const ALL: [&str; 15] = [
        MODE,
        CANARY_PERCENT,
        CANARY_LABELS,
        PROMOTE_AFTER,
        PRIORITY,
        ON_FAILURE,
        SERVICE_ACCOUNT,
        REHEARSE,
        SET,
        SET_SIZE,
        PART_OF,
        PART,
        OCI,
        PROMOTED,
        ROLLED_BACK,
    ];
}

/// Annotations that the host writes.
pub mod told {
    /// `active`, `shadow`, `canary`, `waiting`, `refused`, `rolled-back`.
    pub const STATE: &str = "stepwright.dev/state";
    /// Of the component that the state is about.
    pub const DIGEST: &str = "stepwright.dev/digest";
    /// A reason word, a colon, a message.
    pub const REASON: &str = "stepwright.dev/reason";
    /// The digest that answered before, and would again after a rollback.
    pub const PREVIOUS: &str = "stepwright.dev/previous";
    /// What the last rehearsal found, in one line.
    pub const REHEARSAL: &str = "stepwright.dev/rehearsal";

    /// Every one of them. What the host writes and is not here is refused on the next reading.
    pub const ALL: [&str; 5] = [STATE, DIGEST, REASON, PREVIOUS, REHEARSAL];
}

/// Keys of a ConfigMap's `data`. Those of `binaryData` are in `sources::unpack::Packing`.
pub mod data {
    /// JSON text: one object.
    pub const SETTINGS: &str = "settings";
    /// Calls that the admin confirms: `METHOD /path` in each line.
    pub const CALLS: &str = "calls";
    /// The base64 of a detached ed25519 signature.
    pub const SIGNATURE: &str = "signature";

    pub const ALL: [&str; 3] = [SETTINGS, CALLS, SIGNATURE];
}

/// On a ServiceAccount: the names of the ConfigMaps whose plugins may act as it, separated by commas; `*` for all.
pub const ACT_AS: &str = "stepwright.dev/act-as";

/// Where a component's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// In the ConfigMaps: whole, decompressed and put together.
    Inline(Vec<u8>),
    /// In a registry.
    Oci {
        /// `registry/repository@sha256:…`.
        reference: String,
    },
}

/// One plugin as offered by a ConfigMap (with its further parts, if it has any).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Of the ConfigMap; parts have the name of the first.
    pub namespace: String,
    pub name: String,
    pub component: Component,
    /// Detached ed25519 signature, 64 bytes.
    pub signature: Option<Vec<u8>>,
    /// JSON text.
    pub settings: String,
    pub wishes: Wishes,
}

/// What the annotations and `data.calls` say, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    pub mode: Mode,
    pub promote_after: Option<u32>,
    pub priority: i32,
    pub on_failure: OnFailure,
    /// The name of a ServiceAccount in the operator's namespace.
    pub service_account: Option<String>,
    /// Calls that the admin confirms: the lines of `data.calls`. `None`: nothing was said.
    pub calls: Option<Vec<String>>,
    pub rehearse_live: bool,
    /// The set's name and size.
    pub set: Option<(String, usize)>,
    /// Whole digests.
    pub promoted: Option<String>,
    pub rolled_back: Option<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            mode: Mode::Active,
            promote_after: None,
            priority: 0,
            on_failure: OnFailure::default(),
            service_account: None,
            calls: None,
            rehearse_live: false,
            set: None,
            promoted: None,
            rolled_back: None,
        }
    }
}

/// Labels as they stand in an annotation: `a=1,b=2`.
pub type Labels = BTreeMap<String, String>;
