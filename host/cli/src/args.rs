//! The command line. Every option has an environment variable, so that a manifest can set it.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use stepwright_core::manifest::Limits;
use stepwright_operator::local_api;
use stepwright_redis_enterprise::Resolve;

use crate::configmap::ConfigMapArgs;
use crate::explain::ExplainArgs;
use crate::journal::JournalCommand;
use crate::plugins_remote::RemoteCommand;
use crate::replay::ReplayArgs;

/// A Kubernetes operator whose reconcile steps are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "stepwright", version, about, long_about = None)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator until it is told to stop.
    Run(Box<RunArgs>),
    /// Load a component as the operator would, and print its manifest or why it is refused.
    Inspect {
        /// A component for wasm32-wasip2.
        component: PathBuf,
    },
    /// Tell what the last passes over an object saw, planned and did, or who decided one of its fields.
    Explain(Box<ExplainArgs>),
    /// Work with what the operator has recorded.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Ask a component what was asked of another one, and compare the answers. Exit code 0: the same, 1: not, 2: unknown.
    Replay(ReplayArgs),
    /// Work with plugins.
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Serve the Open Service Broker API over the databases of one cluster.
    ServiceBroker(Box<BrokerArgs>),
    /// Print the Role that the operator needs for its embedded plugins and pipelines, as YAML.
    Rbac {
        /// The one that it needs in namespaces besides its own.
        #[arg(long)]
        guests: bool,
    },
    /// Compile a component from standard input to standard output, within limits. The operator runs itself so.
    #[command(hide = true)]
    Compile {
        #[arg(long)]
        memory_mib: u32,
        #[arg(long)]
        seconds: u32,
        #[arg(long)]
        fuel: bool,
    },
    /// Print this reference as Markdown.
    #[command(hide = true)]
    Docs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Write what a component says of itself into it, so that it can be read without running it.
    Pack {
        /// A component for wasm32-wasip2.
        file: PathBuf,
        /// Where to write. Default: over the file.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Make a pair of keys for signing components: NAME.key, which is secret, and NAME.pub.
    Keygen {
        /// Path and name of both files, without their endings.
        #[arg(long, value_name = "NAME")]
        out: PathBuf,
    },
    /// Sign a packed component. What is printed belongs into `data.signature` of its ConfigMap.
    Sign {
        /// The secret key, PEM, as `keygen` writes it.
        #[arg(long)]
        key: PathBuf,
        /// A packed component.
        file: PathBuf,
        /// Where to write the signature, instead of printing it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print the ConfigMap, or several if it is large, by which a component is offered to the operator.
    Configmap(Box<ConfigMapArgs>),
}

#[derive(Debug, Parser)]
pub(crate) struct BrokerArgs {
    /// Where databases are made: the namespace of the cluster.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// The RedisEnterpriseCluster on which databases are made.
    #[arg(long, env = "STEPWRIGHT_BROKER_CLUSTER")]
    pub(crate) cluster: String,
    /// The name that a platform logs in with.
    #[arg(long, env = "STEPWRIGHT_BROKER_USERNAME")]
    pub(crate) username: String,
    /// A file with the password that a platform logs in with.
    #[arg(long, env = "STEPWRIGHT_BROKER_PASSWORD_FILE")]
    pub(crate) password_file: PathBuf,
    /// A folder that outlives the process: which bindings were handed out is kept there.
    #[arg(long, env = "STEPWRIGHT_BROKER_DATA")]
    pub(crate) data: PathBuf,
    /// What absolute paths are below. A development cluster gives each container a folder in place of a root.
    #[arg(long, env = "STEPWRIGHT_DEV_ROOT", default_value = "/")]
    pub(crate) root: PathBuf,
    /// The address on which it is served.
    #[arg(long, env = "STEPWRIGHT_DEV_BIND", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// The port on which it is served, in plain HTTP.
    #[arg(long, env = "STEPWRIGHT_BROKER_PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// How the log looks on standard error.
    #[arg(long, env = "STEPWRIGHT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// The operator's own namespace: its Lease and plugins in ConfigMaps live there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// Namespaces to watch, separated by commas; `*` for all. Default: the operator's own.
    #[arg(long, env = "WATCH_NAMESPACE", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
    /// Namespaces whose RedisEnterpriseDatabases are looked after as well, separated by commas.
    #[arg(long, env = "REDB_NAMESPACES", value_delimiter = ',')]
    pub(crate) redb_namespaces: Vec<String>,
    /// The same by a label of the namespace: `name` or `name=value`.
    #[arg(long, env = "REDB_NAMESPACES_LABEL", value_name = "LABEL")]
    pub(crate) redb_namespaces_label: Option<String>,
    /// A ConfigMap in the operator's namespace. Its keys REDB_NAMESPACES and REDB_NAMESPACES_LABEL take the place of those
    /// two options, and are followed while the operator runs.
    #[arg(
        long,
        env = "STEPWRIGHT_ENVIRONMENT_CONFIG",
        value_name = "CONFIGMAP",
        default_value = "operator-environment-config"
    )]
    pub(crate) environment_config: String,
    /// The name of this process in the Lease and in Events.
    #[arg(long, env = "POD_NAME", default_value = "stepwright")]
    pub(crate) identity: String,
    /// Plugins in this folder (*.wasm) override the embedded ones.
    #[arg(long, env = "STEPWRIGHT_PLUGIN_DIR")]
    pub(crate) plugin_dir: Option<PathBuf>,
    /// Compiled plugins are kept in this folder, so that a start does not compile them. Empty: nowhere.
    #[arg(long, env = "STEPWRIGHT_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// The most that the folder of compiled plugins may come to, in MiB.
    #[arg(long, env = "STEPWRIGHT_CACHE_MIB", default_value_t = 512)]
    pub(crate) cache_mib: u32,
    /// A file with this installation's key: 32 bytes in hexadecimal. Default: the Secret `stepwright-installation` in the
    /// operator's namespace, which is made when it is not there.
    #[arg(long, env = "STEPWRIGHT_INSTALLATION_KEY_FILE")]
    pub(crate) installation_key_file: Option<PathBuf>,
    /// A JSON file with settings for steps: `{"upgrade": {…}}`.
    #[arg(long, env = "STEPWRIGHT_SETTINGS")]
    pub(crate) settings: Option<PathBuf>,
    /// A JSON file with pipelines to add to, or to put in the place of, the built-in ones.
    #[arg(long, env = "STEPWRIGHT_PIPELINES")]
    pub(crate) pipelines: Option<PathBuf>,
    /// Where a host name of a remote cluster (RedisEnterpriseRemoteCluster) is to be found that DNS does not know, as with curl:
    /// what is asked of this host and port goes to that address and port. The host may be `*` or `*.suffix`. Several,
    /// separated by commas.
    #[arg(long, env = "STEPWRIGHT_RESOLVE", value_name = "HOST:PORT:ADDRESS:PORT", value_delimiter = ',')]
    pub(crate) resolve: Vec<Resolve>,
    /// How pods are reached.
    #[arg(long, env = "STEPWRIGHT_REACH", value_enum, default_value_t = Reach::Auto)]
    pub(crate) reach: Reach,
    /// The address on which health and metrics are served. A development cluster gives each pod one of its own.
    #[arg(long, env = "STEPWRIGHT_DEV_BIND", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// The port on which health and metrics are served.
    #[arg(long, env = "STEPWRIGHT_ADMIN_PORT", default_value_t = 8080)]
    pub(crate) admin_port: u16,
    /// The port on which the API server is answered before it stores something. 0: not at all.
    #[arg(long, env = "STEPWRIGHT_ADMISSION_PORT", default_value_t = 8443)]
    pub(crate) admission_port: u16,
    /// The Secret with the certificate for that, in the operator's namespace. It is made and renewed, unless it has
    /// `tls.crt`, as cert-manager's have: such a one is only read.
    #[arg(long, env = "STEPWRIGHT_ADMISSION_SECRET", value_name = "SECRET", default_value = "admission-tls")]
    pub(crate) admission_secret: String,
    /// The Service in the operator's namespace through which the API server comes.
    #[arg(long, env = "STEPWRIGHT_ADMISSION_SERVICE", value_name = "SERVICE", default_value = "admission")]
    pub(crate) admission_service: String,
    /// The ValidatingWebhookConfiguration whose `caBundle` is kept.
    #[arg(
        long,
        env = "STEPWRIGHT_ADMISSION_WEBHOOK",
        value_name = "NAME",
        default_value = "redis-enterprise-admission"
    )]
    pub(crate) admission_webhook: String,
    /// The port on which the journal is served to the CLI, on loopback only. 0: not at all.
    #[arg(long, env = "STEPWRIGHT_LOCAL_PORT", default_value_t = local_api::PORT)]
    pub(crate) local_port: u16,
    /// Take up no plugin from a ConfigMap or a registry that is not signed by one of the keys.
    #[arg(long, env = "STEPWRIGHT_REQUIRE_SIGNATURES", requires = "signature_keys")]
    pub(crate) require_signatures: bool,
    /// A Secret in the operator's namespace whose data are ed25519 public keys, PEM or base64.
    #[arg(long, env = "STEPWRIGHT_SIGNATURE_KEYS", value_name = "SECRET")]
    pub(crate) signature_keys: Option<String>,
    /// `host:port` of registries that are spoken to in plain HTTP, separated by commas or given several times. All others: TLS.
    #[arg(long, env = "STEPWRIGHT_INSECURE_REGISTRY", value_delimiter = ',', value_name = "HOST:PORT")]
    pub(crate) insecure_registry: Vec<String>,
    /// A Secret of type `kubernetes.io/dockerconfigjson` in the operator's namespace, with credentials for registries.
    #[arg(long, env = "STEPWRIGHT_REGISTRY_CREDENTIALS", value_name = "SECRET")]
    pub(crate) registry_credentials: Option<String>,
    /// The most that a component may come to, decompressed, in MiB.
    #[arg(long, env = "STEPWRIGHT_MAX_COMPONENT_MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_component_mib: u32,
    /// Recorded passes of each step that a plugin is asked about before it is swapped in.
    #[arg(long, env = "STEPWRIGHT_REHEARSAL_PASSES", default_value_t = 50)]
    pub(crate) rehearsal_passes: usize,
    #[command(flatten)]
    pub(crate) ceiling: Ceiling,
    /// The Lease by which one process leads. Empty: lead without one, for tests.
    #[arg(long, env = "STEPWRIGHT_LEASE", default_value = "stepwright")]
    pub(crate) lease: String,
    /// Run these steps alone, separated by commas: they are another process' `--delegated-steps`, which has the rest.
    #[arg(
        long,
        env = "STEPWRIGHT_STEPS",
        value_delimiter = ',',
        value_name = "STEP",
        conflicts_with = "delegated_steps"
    )]
    pub(crate) steps: Vec<String>,
    /// Leave these steps to processes of their own, separated by commas. What is made for them depends on the steps; where
    /// that is impossible, as outside of a cluster, they are run here all the same.
    #[arg(long, env = "STEPWRIGHT_DELEGATED_STEPS", value_delimiter = ',', value_name = "STEP")]
    pub(crate) delegated_steps: Vec<String>,
    /// Look at no Secrets but these, separated by commas, for a process that may see no others. Default: all.
    #[arg(long, env = "STEPWRIGHT_SECRETS", value_delimiter = ',', value_name = "SECRET")]
    pub(crate) secrets: Vec<String>,
    /// One in so many questions to plugins is asked twice, to see that they are pure. 0: none.
    #[arg(long, env = "STEPWRIGHT_PURITY_EVERY", default_value_t = 100)]
    pub(crate) purity_every: u64,
    /// The form of the log. What is logged is chosen by RUST_LOG.
    #[arg(long, env = "STEPWRIGHT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// The most that a plugin's manifest may ask for. One that asks for more is refused.
#[derive(Debug, Parser)]
pub(crate) struct Ceiling {
    /// The most memory that a plugin's manifest may ask for, in MiB.
    #[arg(long, env = "STEPWRIGHT_MAX_MEMORY_MIB", default_value_t = 256)]
    max_memory_mib: u32,
    /// The most time that a plugin's manifest may ask for, for one call.
    #[arg(long, env = "STEPWRIGHT_MAX_MILLISECONDS", default_value_t = 10_000)]
    max_milliseconds: u32,
    /// The most fuel that a plugin's manifest may ask for, for one call.
    #[arg(long, env = "STEPWRIGHT_MAX_FUEL", default_value_t = 100_000_000_000)]
    max_fuel: u64,
    /// The most that a plugin's manifest may ask to hand back in one call, in KiB.
    #[arg(long, env = "STEPWRIGHT_MAX_PLAN_KIB", default_value_t = 16 * 1024)]
    max_plan_kib: u32,
    /// The most lines that a plugin's manifest may ask to log in one call.
    #[arg(long, env = "STEPWRIGHT_MAX_LOG_LINES", default_value_t = 1_000)]
    max_log_lines: u32,
    /// The most that a plugin's manifest may ask to log in one call, in KiB.
    #[arg(long, env = "STEPWRIGHT_MAX_LOG_KIB", default_value_t = 1_024)]
    max_log_kib: u32,
    /// The most objects that a plugin's manifest may ask to have in one plan.
    #[arg(long, env = "STEPWRIGHT_MAX_OBJECTS", default_value_t = 5_000)]
    max_objects: u32,
    /// The most calls that a plugin's manifest may ask to make in one round.
    #[arg(long, env = "STEPWRIGHT_MAX_CALLS", default_value_t = 256)]
    max_calls: u32,
    /// The most rounds that a plugin's manifest may ask for, in one pass.
    #[arg(long, env = "STEPWRIGHT_MAX_ROUNDS", default_value_t = 8)]
    max_rounds: u32,
}

impl RunArgs {
    /// The options that a process which runs some of the steps alone is to be given as well, as far as they were chosen: what
    /// decides which plugins are taken up, and how they are watched.
    pub(crate) fn handed_on(&self) -> Vec<String> {
        // Every field is named, so that a new one is decided upon here.
        let Self {
            namespace: _,
            watch_namespaces: _,
            redb_namespaces: _,
            redb_namespaces_label: _,
            environment_config: _,
            identity: _,
            plugin_dir: _,
            cache_dir: _,
            cache_mib: _,
            installation_key_file: _,
            settings: _,
            pipelines: _,
            // Remote clusters are the main process's.
            resolve: _,
            reach,
            bind_address: _,
            admin_port: _,
            // A process that runs some of the steps is not asked before something is stored.
            admission_port: _,
            admission_secret: _,
            admission_service: _,
            admission_webhook: _,
            local_port,
            require_signatures,
            signature_keys,
            insecure_registry,
            registry_credentials,
            max_component_mib,
            rehearsal_passes,
            ceiling,
            lease,
            steps: _,
            delegated_steps: _,
            secrets: _,
            purity_every,
            log_format,
        } = self;
        let word = |it: Option<clap::builder::PossibleValue>| it.map(|it| it.get_name().to_owned());
        let valued = [
            ("reach", word(reach.to_possible_value())),
            ("local-port", Some(local_port.to_string())),
            ("signature-keys", signature_keys.clone()),
            ("insecure-registry", Some(insecure_registry.join(","))),
            ("registry-credentials", registry_credentials.clone()),
            ("max-component-mib", Some(max_component_mib.to_string())),
            ("rehearsal-passes", Some(rehearsal_passes.to_string())),
            ("max-memory-mib", Some(ceiling.max_memory_mib.to_string())),
            ("max-milliseconds", Some(ceiling.max_milliseconds.to_string())),
            ("max-fuel", Some(ceiling.max_fuel.to_string())),
            ("max-plan-kib", Some(ceiling.max_plan_kib.to_string())),
            ("max-log-lines", Some(ceiling.max_log_lines.to_string())),
            ("max-log-kib", Some(ceiling.max_log_kib.to_string())),
            ("max-objects", Some(ceiling.max_objects.to_string())),
            ("max-calls", Some(ceiling.max_calls.to_string())),
            ("max-rounds", Some(ceiling.max_rounds.to_string())),
            ("lease", Some(lease.clone())),
            ("purity-every", Some(purity_every.to_string())),
            ("log-format", word(log_format.to_possible_value())),
        ];
        let command = Self::command();
        let default = |long: &str| {
            let found = command.get_arguments().find(|it| it.get_long() == Some(long))?;
            Some(found.get_default_values().first()?.to_string_lossy().into_owned())
        };
        let chosen = valued.into_iter().filter_map(|(long, value)| Some((long, value.filter(|it| !it.is_empty())?)));
        let chosen = chosen.filter(|(long, value)| default(long).as_ref() != Some(value));
        let flag = require_signatures.then(|| "--require-signatures".to_owned());
        flag.into_iter().chain(chosen.map(|(long, value)| format!("--{long}={value}"))).collect()
    }
}

impl Ceiling {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_mib: self.max_memory_mib,
            milliseconds: self.max_milliseconds,
            fuel: Some(self.max_fuel),
            plan_kib: self.max_plan_kib,
            log_lines: self.max_log_lines,
            log_kib: self.max_log_kib,
            objects: self.max_objects,
            calls: self.max_calls,
            rounds: self.max_rounds,
        }
    }
}

/// How the operator reaches the pods of the managed system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reach {
    /// By pod IP inside a cluster, through the API server's port-forward outside of one.
    Auto,
    /// By pod IP.
    Direct,
    /// Through the API server's port-forward.
    PortForward,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_sandbox_s_own_ceiling() {
        let ceiling = Ceiling::try_parse_from(["run"]).unwrap();
        assert_eq!(ceiling.limits(), stepwright_engine::EngineConfig::default().ceiling);
        let lower = Ceiling::try_parse_from(["run", "--max-objects", "7", "--max-fuel", "9"]).unwrap().limits();
        assert_eq!((lower.objects, lower.fuel), (7, Some(9)));
    }

    #[test]
    fn what_was_chosen_for_plugins_is_handed_on() {
        assert!(RunArgs::try_parse_from(["run"]).unwrap().handed_on().is_empty());
        let chosen = [
            "--require-signatures",
            "--signature-keys=k",
            "--insecure-registry=a:1,b:2",
            "--max-objects=7",
            "--lease=l",
        ];
        let given = ["run", "--namespace=n", "--delegated-steps=a", "--plugin-dir=/p", "--log-format=json"];
        let handed = RunArgs::try_parse_from(given.into_iter().chain(chosen)).unwrap().handed_on();
        let mut wanted: Vec<&str> = chosen.into_iter().chain(["--log-format=json"]).collect();
        let mut handed: Vec<&str> = handed.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        handed.sort_unstable();
        assert_eq!(handed, wanted);
        assert!(RunArgs::try_parse_from(["run", "--steps=a", "--delegated-steps=b"]).is_err());
    }
}
