//! The one port through which the host reaches a plugin, and what can go wrong there.

use std::time::Duration;

use crate::admission::{Answer, Question};
use crate::error::Blame;
use crate::manifest::Manifest;
use crate::observation::Observation;
use crate::plan::{Failure, Plan, Violation};
use crate::policy::Verdict;
use crate::world::World;

/// The SHA-256 digest of a component's bytes, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(hex::encode(sha2::Sha256::digest(bytes)))
    }

    /// The first twelve characters: enough to tell versions apart in a table.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub took: Duration,
    /// The most that all memories and tables of the instance came to.
    pub memory_bytes: u64,
    /// Units of fuel, where they are counted.
    pub fuel: Option<u64>,
    /// Bodies handed in.
    pub bytes_in: u64,
    /// Bodies handed back.
    pub bytes_out: u64,
    pub log_lines: u32,
}

/// The answer of one call, or why there is none, and what the call used either way.
#[derive(Debug)]
pub struct Called<T> {
    pub answer: Result<T, GuestError>,
    pub usage: Usage,
}

/// A loaded plugin, ready to be called. A call blocks its thread for at most the plugin's deadline.
pub trait Guest: Send + Sync {
    fn digest(&self) -> &Digest;
    fn manifest(&self) -> &Manifest;
    fn world(&self) -> World;
    /// Settings are JSON text.
    fn validate_settings(&self, settings: &str) -> Result<Vec<Violation>, GuestError>;
    /// One call of a step in a fresh instance. The inner result is the step's own answer.
    fn ask(&self, observed: &Observation) -> Called<Result<Plan, Failure>>;
    /// Shows a step's plan to a policy, in a fresh instance. `observed` is the policy's own observation, its `step` the name of
    /// the step whose plan it is. What is no policy answers that it is none.
    fn review(&self, _observed: &Observation, _planned: &Plan) -> Called<Verdict> {
        let message = format!("it was asked as a {}, and is a {}", World::Policy, self.world());
        let error = GuestError::Incompatible { plugin: self.manifest().name.clone(), message };
        Called { answer: Err(error), usage: Usage::default() }
    }

    /// Asks an admission plugin about a resource that is about to be stored, in a fresh instance. What is none answers so.
    fn admit(&self, _question: &Question) -> Called<Answer> {
        let message = format!("it was asked as a {}, and is a {}", World::Admission, self.world());
        let error = GuestError::Incompatible { plugin: self.manifest().name.clone(), message };
        Called { answer: Err(error), usage: Usage::default() }
    }

    /// `ask` without the account of what it used.
    fn reconcile(&self, observed: &Observation) -> Result<Result<Plan, Failure>, GuestError> {
        self.ask(observed).answer
    }
}

/// A call did not end with an answer. Names the plugin, so that the message needs no context.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error(
        "plugin `{plugin}` ran for {took:?}, past its deadline of {limit:?}; give it less to do or a larger `milliseconds` limit"
    )]
    DeadlineExceeded { plugin: String, took: Duration, limit: Duration },
    /// Over all memories and tables; `asked_mib` is rounded up.
    #[error(
        "plugin `{plugin}` asked for {asked_mib} MiB of memory, more than its limit of {limit_mib} MiB; give it less to hold or a larger `memoryMib` limit"
    )]
    MemoryExceeded { plugin: String, asked_mib: u64, limit_mib: u32 },
    #[error("plugin `{plugin}` used up all of its {limit} units of fuel; give it less to do or a larger `fuel` limit")]
    FuelExhausted { plugin: String, limit: u64 },
    /// Noticed before it was read, so how much more is not known.
    #[error(
        "plugin `{plugin}` handed over more than its limit of {limit_kib} KiB; have it answer with less or give it a larger `planKib` limit"
    )]
    PlanTooLarge { plugin: String, limit_kib: u32 },
    /// The first lines are in the host's log; the rest was not written.
    #[error(
        "plugin `{plugin}` logged {lines} lines or {kib} KiB in one call, past its limits of {limit_lines} lines and {limit_kib} KiB; have it log less or give it a larger `logLines` or `logKib` limit"
    )]
    LogExceeded { plugin: String, lines: u32, kib: u64, limit_lines: u32, limit_kib: u32 },
    #[error("plugin `{plugin}` trapped: {message}")]
    Trapped { plugin: String, message: String },
    #[error("plugin `{plugin}` does not fit this host: {message}")]
    Incompatible { plugin: String, message: String },
    #[error("plugin `{plugin}` answered with something that cannot be read: {message}")]
    Garbled { plugin: String, message: String },
    /// Before compiling: something of the component is larger than what is taken here.
    #[error("plugin `{plugin}` is too large: {what} comes to {size}, and at most {limit} is taken")]
    TooLarge { plugin: String, what: &'static str, size: u64, limit: u64 },
    #[error(
        "plugin `{plugin}` does not carry its manifest, by which it is read before any of its code runs; run `stepwright plugins pack FILE` on it"
    )]
    NotPacked { plugin: String },
    #[error(
        "plugin `{plugin}` says something else of itself than the manifest that it carries: {message}; run `stepwright plugins pack FILE` on it anew"
    )]
    ManifestDiffers { plugin: String, message: String },
    #[error("plugin `{plugin}` took longer to compile than the limit of {limit:?}; split its largest functions")]
    CompileTimeout { plugin: String, limit: Duration },
    #[error("plugin `{plugin}` took more memory to compile than the limit of {limit_mib} MiB: {message}")]
    CompileMemory { plugin: String, limit_mib: u32, message: String },
    #[error("the compiler ended on plugin `{plugin}` without a result: {message}")]
    CompileCrashed { plugin: String, message: String },
    #[error("the sandbox for plugin `{plugin}` could not be set up: {message}")]
    Host { plugin: String, message: String },
}

impl GuestError {
    /// The condition reason, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DeadlineExceeded { .. } => "PluginDeadlineExceeded",
            Self::MemoryExceeded { .. } => "PluginMemoryExceeded",
            Self::FuelExhausted { .. } => "PluginFuelExhausted",
            Self::PlanTooLarge { .. } => "PluginPlanTooLarge",
            Self::LogExceeded { .. } => "PluginLogExceeded",
            Self::Trapped { .. } => "PluginTrapped",
            Self::Incompatible { .. } => "PluginIncompatible",
            Self::Garbled { .. } => "PluginGarbled",
            Self::TooLarge { .. } => "PluginTooLarge",
            Self::NotPacked { .. } => "PluginNotPacked",
            Self::ManifestDiffers { .. } => "PluginManifestDiffers",
            Self::CompileTimeout { .. } => "PluginCompileTimeout",
            Self::CompileMemory { .. } => "PluginCompileMemory",
            Self::CompileCrashed { .. } => "PluginCompileCrashed",
            Self::Host { .. } => "SandboxUnavailable",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::Host { .. } => Blame::Host,
            _ => Blame::Plugin,
        }
    }
}
