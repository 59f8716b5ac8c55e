//! Why a pass ended early, or a part of it was not carried out.

use stepwright_core::admit::NotAdmitted;
use stepwright_core::amend::AmendError;
use stepwright_core::error::Blame;
use stepwright_core::guest::GuestError;
use stepwright_core::journal::Reason;

/// A pass that did not reach its end. The next one starts from what is observed then.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error("the plan of step `{step}` (plugin {plugin}) was refused")]
    NotAdmitted {
        step: String,
        /// `<name>@<short digest>`.
        plugin: String,
        source: Box<NotAdmitted>,
    },
    #[error(
        "plugin `{plugin}` was asked the same twice and planned two things: they differ at {field}. A step's plan may depend on its observation alone"
    )]
    Impure { plugin: String, field: String },
    #[error("policy `{policy}` ({digest}) gave no verdict that can be used on the plan of step `{step}`")]
    Policy { policy: String, digest: String, step: String, source: Box<PolicyFault> },
    #[error("failed to {verb} {object}")]
    Api { verb: &'static str, object: String, source: Box<kube::Error> },
    #[error("{user} may not {verb} {object}; `{can_i}` must say yes")]
    Forbidden { user: String, verb: &'static str, object: String, can_i: String, source: Box<kube::Error> },
    #[error(
        "{object}: {conflicts} and is not taken from there; leave the field out of the plan, or let that manager give it up"
    )]
    FieldConflict {
        object: String,
        /// `.spec.x belongs to field manager "y"`, several joined by `, `.
        conflicts: String,
        /// The fields alone: `.spec.x`.
        fields: Vec<String>,
    },
    #[error("{object} was made for {owner}; two may not make one object: give one of them another name")]
    OwnedByAnother { object: String, owner: String },
    #[error("{object} holds fields that its kind does not have: {message}")]
    UnknownFields { object: String, message: String },
    #[error(
        "{object}: `{field}` is put back again and again, and field manager \"{manager}\" changes it each time; it is left to that one for {pause:?}. Let one of the two give the field up"
    )]
    FieldFight { object: String, field: String, manager: String, pause: std::time::Duration },
    #[error("step `{step}` could not make a plan: {message}")]
    Transient { step: String, message: String },
    #[error("no plugin is loaded for step `{step}`; load one, or build the operator with its plugins embedded")]
    NoPlugin { step: String },
    #[error("a secret for {object} could not be made ready: {message}")]
    Secret { object: String, message: String },
    #[error("step `{step}` asked for calls in {rounds} rounds of one pass and was stopped there")]
    TooManyRounds { step: String, rounds: u32 },
    /// Another error, and what was done in place of the plan.
    #[error("{source} ({instead})")]
    Instead { source: Box<PassError>, instead: &'static str },
    #[error("this process is not the leader; another one carries on")]
    NotLeader,
    #[error("the caches are not filled yet: {missing}")]
    NotSynced { missing: String },
    #[error("namespace `{namespace}` is no longer watched")]
    NotWatched { namespace: String },
    #[error(
        "{object} cannot be made: namespace `{namespace}` is not watched. List it in the ConfigMap operator-environment-config and give the operator's account its Role there (docs/namespaces.md)"
    )]
    BeginsUnwatched { object: String, namespace: String },
    #[error(
        "namespace `{namespace}` cannot be read: {words}. Give the operator's account its Role there (deploy/consumer-namespace.yaml)"
    )]
    NotReadable { namespace: String, words: String },
    #[error("failed to {attempted}: {message}")]
    Internal { attempted: &'static str, message: String },
}

/// Why a policy's verdict could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Amend(#[from] AmendError),
    #[error("its amendment makes a plan that is refused")]
    NotAdmitted(#[source] NotAdmitted),
    #[error("it holds the plan until {0:?}, which is no time as RFC 3339 writes it")]
    Until(String),
}

impl PolicyFault {
    /// Event reason and metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Guest(error) => error.reason(),
            Self::Amend(error) => error.reason(),
            Self::NotAdmitted(error) => error.reason(),
            Self::Until(_) => "PolicyHoldMalformed",
        }
    }
}

impl PassError {
    /// Condition reason, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Guest(error) => error.reason(),
            Self::NotAdmitted { source, .. } => source.reason(),
            Self::Impure { .. } => "PluginImpure",
            Self::Policy { .. } => "PolicyFailed",
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.code == 403 => "Forbidden",
                kube::Error::Api(status) if status.code == 409 => "Conflict",
                kube::Error::Api(status) if status.code == 422 || status.code == 400 => "Refused",
                kube::Error::Api(_) => "ApiError",
                _ => "ApiUnreachable",
            },
            Self::Forbidden { .. } => "Forbidden",
            Self::FieldConflict { .. } => "FieldConflict",
            Self::OwnedByAnother { .. } => "ObjectOfAnother",
            Self::UnknownFields { .. } => "UnknownFields",
            Self::FieldFight { .. } => "FieldFight",
            Self::Transient { .. } => "StepFailed",
            Self::NoPlugin { .. } => "NoPlugin",
            Self::Secret { .. } => "SecretUnavailable",
            Self::TooManyRounds { .. } => "TooManyRounds",
            Self::Instead { source, .. } => source.reason(),
            Self::NotLeader => "NotLeader",
            Self::NotSynced { .. } => "NotSynced",
            Self::NotWatched { .. } => "NotWatched",
            Self::BeginsUnwatched { .. } => "NamespaceNotWatched",
            Self::NotReadable { .. } => "NamespaceNotReadable",
            Self::Internal { .. } => "Internal",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::Guest(error) => error.blame(),
            Self::NotAdmitted { source, .. } => source.blame(),
            Self::TooManyRounds { .. } | Self::Impure { .. } | Self::UnknownFields { .. } | Self::Policy { .. } => {
                Blame::Plugin
            }
            Self::Secret { .. } | Self::OwnedByAnother { .. } => Blame::User,
            Self::Api { .. }
            | Self::Forbidden { .. }
            | Self::FieldConflict { .. }
            | Self::FieldFight { .. }
            | Self::Transient { .. }
            | Self::NotSynced { .. }
            | Self::NotWatched { .. }
            | Self::BeginsUnwatched { .. }
            | Self::NotReadable { .. } => Blame::Cluster,
            Self::Instead { source, .. } => source.blame(),
            Self::NoPlugin { .. } | Self::NotLeader | Self::Internal { .. } => Blame::Host,
        }
    }

    /// The step's plugin gave no plan that can be carried out: the slot's failure policy says what is done instead.
    pub fn is_no_plan(&self) -> bool {
        matches!(
            self,
            Self::Guest(_)
                | Self::NotAdmitted { .. }
                | Self::TooManyRounds { .. }
                | Self::Impure { .. }
                | Self::UnknownFields { .. }
        )
    }

    /// The whole chain on one line, for a condition or an Event.
    pub fn chain(&self) -> String {
        if let Self::Instead { source, instead } = self {
            return format!("{} ({instead})", source.chain());
        }
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

    /// For records.
    pub(crate) fn told(&self) -> Reason {
        Reason { reason: self.reason().to_owned(), message: self.chain() }
    }

    /// Nobody need be told: the situation passes by itself.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::NotLeader | Self::NotSynced { .. } | Self::NotWatched { .. })
    }
}
