//! Why a pass ended early.

use stepwright_core::admit::NotAdmitted;
use stepwright_core::error::Blame;
use stepwright_core::guest::GuestError;

/// A pass that did not reach its end. The next one starts from what is observed then.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error("the plan of step `{step}` (plugin {digest}) was refused")]
    NotAdmitted { step: String, digest: String, source: Box<NotAdmitted> },
    #[error("failed to {verb} {object}")]
    Api { verb: &'static str, object: String, source: Box<kube::Error> },
    #[error("step `{step}` could not make a plan: {message}")]
    Transient { step: String, message: String },
    #[error("no plugin is loaded for step `{step}`; load one, or build the operator with its plugins embedded")]
    NoPlugin { step: String },
    #[error("a secret for {object} could not be made ready: {message}")]
    Secret { object: String, message: String },
    #[error("step `{step}` asked for calls in {rounds} rounds of one pass and was stopped there")]
    TooManyRounds { step: String, rounds: u32 },
    #[error("this process is not the leader; another one carries on")]
    NotLeader,
    #[error("the caches are not filled yet: {missing}")]
    NotSynced { missing: String },
    #[error("failed to {attempted}: {message}")]
    Internal { attempted: &'static str, message: String },
}

impl PassError {
    /// Condition reason, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Guest(error) => error.reason(),
            Self::NotAdmitted { source, .. } => source.reason(),
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.code == 403 => "Forbidden",
                kube::Error::Api(status) if status.code == 409 => "Conflict",
                kube::Error::Api(status) if status.code == 422 || status.code == 400 => "Refused",
                kube::Error::Api(_) => "ApiError",
                _ => "ApiUnreachable",
            },
            Self::Transient { .. } => "StepFailed",
            Self::NoPlugin { .. } => "NoPlugin",
            Self::Secret { .. } => "SecretUnavailable",
            Self::TooManyRounds { .. } => "TooManyRounds",
            Self::NotLeader => "NotLeader",
            Self::NotSynced { .. } => "NotSynced",
            Self::Internal { .. } => "Internal",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::Guest(error) => error.blame(),
            Self::NotAdmitted { source, .. } => source.blame(),
            Self::TooManyRounds { .. } => Blame::Plugin,
            Self::Secret { .. } => Blame::User,
            Self::Api { .. } | Self::Transient { .. } | Self::NotSynced { .. } => Blame::Cluster,
            Self::NoPlugin { .. } | Self::NotLeader | Self::Internal { .. } => Blame::Host,
        }
    }

    /// The whole chain on one line, for a condition or an Event.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let next = error.to_string();
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            source = error.source();
        }
        text
    }

    /// Nobody need be told: the situation passes by itself.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::NotLeader | Self::NotSynced { .. })
    }
}
