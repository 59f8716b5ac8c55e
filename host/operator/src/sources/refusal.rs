//! Why a ConfigMap offers nothing that can be loaded: one reason word each, and a message that says what would be accepted.

use stepwright_core::error::Blame;

use super::unpack::UnpackError;

/// A ConfigMap that is labelled as a plugin, and cannot be read as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Nothing is wrong yet: people apply one part after the other.
    #[error("{have} of {of} parts are here; part {missing} is still to come")]
    PartsMissing {
        have: usize,
        of: usize,
        /// `2`, or `2, 4, 5`.
        missing: String,
    },
    #[error("the parts of the plugin do not fit together: {message}")]
    PartsInconsistent { message: String },
    #[error(
        "there is no component: `binaryData` has none of `plugin.wasm`, `plugin.wasm.zst` and `plugin.wasm.gz`, and no annotation `stepwright.dev/oci` names an artifact; `stepwright plugins configmap NAME FILE` prints a ConfigMap that has one"
    )]
    NoComponent,
    #[error("there is more than one component: {found}; leave one, and take the others away")]
    SeveralComponents { found: String },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("`{section}` has a key `{key}`, which means nothing here; {accepted}")]
    KeyUnknown {
        /// `data` or `binaryData`.
        section: &'static str,
        key: String,
        accepted: String,
    },
    #[error("annotation `{annotation}` is not known; did you mean `{nearest}`?")]
    AnnotationUnknown { annotation: String, nearest: &'static str },
    #[error("annotation `{annotation}` is `{value}`; {accepted}")]
    AnnotationInvalid { annotation: &'static str, value: String, accepted: String },
    #[error("annotation `{annotation}` has no effect: {because}")]
    AnnotationContradicts { annotation: &'static str, because: String },
    #[error("`data.settings` {problem}; what is accepted is one JSON object, such as {{\"image\": \"example\"}}")]
    SettingsInvalid { problem: String },
    #[error(
        "line {line} of `data.calls` is `{text}`; what is accepted is `METHOD /path` with `*` for a segment, such as `PUT /v1/bdbs/*`, or a comment that begins with `#`"
    )]
    CallsInvalid { line: usize, text: String },
    #[error(
        "`data.signature` {problem}; what is accepted is the base64 of an ed25519 signature, 64 bytes, as `stepwright plugins sign` prints it"
    )]
    SignatureMalformed { problem: String },
}

impl OfferError {
    /// Annotation, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PartsMissing { .. } => "PartsMissing",
            Self::PartsInconsistent { .. } => "PartsInconsistent",
            Self::NoComponent => "PluginMissing",
            Self::SeveralComponents { .. } => "PluginAmbiguous",
            Self::Unpack(error) => error.reason(),
            Self::KeyUnknown { .. } => "KeyUnknown",
            Self::AnnotationUnknown { .. } => "AnnotationUnknown",
            Self::AnnotationInvalid { .. } => "AnnotationInvalid",
            Self::AnnotationContradicts { .. } => "AnnotationContradicts",
            Self::SettingsInvalid { .. } => "PluginSettingsInvalid",
            Self::CallsInvalid { .. } => "CallsInvalid",
            Self::SignatureMalformed { .. } => "SignatureMalformed",
        }
    }

    /// True: more is to come, and nobody has to be warned. The state to show is `waiting`.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::PartsMissing { .. })
    }

    /// Whoever wrote the ConfigMap.
    pub fn blame(&self) -> Blame {
        Blame::User
    }
}
