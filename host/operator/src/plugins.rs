//! The life of a plugin that a ConfigMap offers: fetched, verified, loaded, rehearsed, swapped in, watched, taken back.
//!
//! `plugin_maps` runs it; here are its stages and what people are told. Who answers for a step is `slots`' business, where
//! components come from that of `sources`.

use std::sync::Arc;

use crate::sources::oci::RegistrySettings;

mod account;
pub mod board;
pub(crate) mod entry;
mod grants;
pub mod history;
pub(crate) mod prepare;
pub mod refusal;
pub mod rehearsal;
pub(crate) mod remedies;
pub(crate) mod status;
pub(crate) mod tell;

/// The bytes of a component's manifest section, or why there are none; nothing is compiled for it.
pub type SectionReader = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// How plugins from ConfigMaps are dealt with.
#[derive(Clone)]
pub struct PluginSettings {
    /// Nothing unsigned is taken up.
    pub require_signatures: bool,
    /// The Secret in the operator's namespace whose data are public keys.
    pub signature_keys: Option<String>,
    /// What a signature is over besides the component.
    pub section: SectionReader,
    /// Recorded passes of each step that a candidate is asked about.
    pub rehearsal_passes: usize,
    /// How registries are reached. The bound of bytes is that of components in ConfigMaps as well; who logs in is said by
    /// `registry_credentials`.
    pub registry: RegistrySettings,
    /// The Secret in the operator's namespace, of type `kubernetes.io/dockerconfigjson`, with credentials for registries.
    pub registry_credentials: Option<String>,
    /// Where what is known of plugins is put up, for whoever asks.
    pub board: Arc<board::Board>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            require_signatures: false,
            signature_keys: None,
            section: Arc::new(|_| Err("this operator was set up without a reader of manifest sections".to_owned())),
            rehearsal_passes: 50,
            registry: RegistrySettings::default(),
            registry_credentials: None,
            board: Arc::default(),
        }
    }
}
