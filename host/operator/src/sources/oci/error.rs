//! Why no component came from a registry: one reason word each.

use stepwright_core::error::Blame;

/// Why no component came from a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OciError {
    #[error("`{reference}` {problem}; what is accepted is `registry/repository@sha256:` and 64 hexadecimal digits")]
    ReferenceInvalid { reference: String, problem: String },
    #[error("failed to fetch `{reference}`: {message}; it is tried again")]
    Unreachable { reference: String, message: String },
    #[error("`{reference}` is not in the registry; push it, or name the digest of one that is there")]
    NotFound { reference: String },
    #[error(
        "what the registry answers for `{reference}` has the digest {actual}, not {expected}; nothing of it is used"
    )]
    DigestMismatch { reference: String, expected: String, actual: String },
    #[error(
        "`{reference}` is no WebAssembly component: {found}; what is accepted is an artifact with one layer of type `application/wasm`, as `wkg oci push` and `oras push … FILE:application/wasm` make it"
    )]
    NotWasm { reference: String, found: String },
    #[error("`{reference}` comes to {bytes} bytes; the most that a component may have here is {most}")]
    TooLarge { reference: String, bytes: u64, most: usize },
    #[error("the registry refuses `{reference}` to {who}; {remedy}")]
    Unauthorized { reference: String, who: String, remedy: &'static str },
    #[error(
        "the credentials for registries cannot be read: {message}; what is accepted is a Secret of type kubernetes.io/dockerconfigjson"
    )]
    CredentialsInvalid { message: String },
}

impl OciError {
    /// Annotation, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ReferenceInvalid { .. } => "OciReferenceInvalid",
            Self::Unreachable { .. } => "OciUnreachable",
            Self::NotFound { .. } => "OciNotFound",
            Self::DigestMismatch { .. } => "OciDigestMismatch",
            Self::NotWasm { .. } => "OciNotWasm",
            Self::TooLarge { .. } => "OciTooLarge",
            Self::Unauthorized { .. } => "OciUnauthorized",
            Self::CredentialsInvalid { .. } => "OciCredentialsInvalid",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::Unreachable { .. } | Self::DigestMismatch { .. } => Blame::Cluster,
            Self::NotWasm { .. } | Self::TooLarge { .. } => Blame::Plugin,
            Self::ReferenceInvalid { .. }
            | Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::CredentialsInvalid { .. } => Blame::User,
        }
    }

    /// Whether trying again may help although the ConfigMap is not changed: the registry was away, has no such artifact yet or
    /// answers with another, or the Secret with credentials has to be mended.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NotFound { .. }
            | Self::DigestMismatch { .. }
            | Self::Unauthorized { .. }
            | Self::CredentialsInvalid { .. } => true,
            // The reference itself, or what it names by digest.
            Self::ReferenceInvalid { .. } | Self::NotWasm { .. } | Self::TooLarge { .. } => false,
        }
    }
}
