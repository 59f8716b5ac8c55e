//! `stepwright run`: puts engine, plugins, caches, managed system and controller together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwright_core::journal::{FORMAT, Header};
use stepwright_core::pipeline::Pipeline;
use stepwright_core::secrets::Fingerprinter;
use stepwright_engine::{CONTRACT, Engine, EngineConfig};
use stepwright_operator::admin::{self, Admin};
use stepwright_operator::admission::AdmissionSettings;
use stepwright_operator::cache::Caches;
use stepwright_operator::controller::Operator;
use stepwright_operator::guests::GuestSettings;
use stepwright_operator::journal::Journal;
use stepwright_operator::lease;
use stepwright_operator::local_api::{self, LocalApi};
use stepwright_operator::metrics::Metrics;
use stepwright_operator::plugins::PluginSettings;
use stepwright_operator::plugins::board::Board;
use stepwright_operator::slots::Slots;
use stepwright_operator::sources::oci::RegistrySettings;
use stepwright_redis_enterprise::{Dialer, Direct, PortForward, RedisEnterprise, Settings};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, Reach, RunArgs};
use crate::{compile, delegation, installation, plugins};

/// How often a process that runs some steps alone looks whether a cluster at rest has changed. One small request each.
const LONE_LOOKS: Duration = Duration::from_secs(1);

/// Runs the operator until SIGTERM or Ctrl-C.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    log_to_stderr(args.log_format);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(operate(args))
}

async fn operate(args: RunArgs) -> anyhow::Result<()> {
    let handed_on = args.handed_on();
    // Every field is taken, so that an option that nobody uses does not compile.
    let RunArgs {
        namespace,
        watch_namespaces,
        redb_namespaces,
        redb_namespaces_label,
        environment_config,
        identity,
        plugin_dir,
        cache_dir,
        cache_mib,
        installation_key_file,
        settings,
        pipelines,
        resolve,
        reach,
        bind_address,
        admin_port,
        local_port,
        admission_port,
        admission_secret,
        admission_service,
        admission_webhook,
        require_signatures,
        signature_keys,
        insecure_registry,
        registry_credentials,
        max_component_mib,
        rehearsal_passes,
        ceiling,
        lease,
        steps,
        delegated_steps,
        secrets,
        purity_every,
        log_format: _,
    } = args;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    info!(version = env!("CARGO_PKG_VERSION"), %namespace, watch = ?watch_namespaces, "starting");

    let own_files = plugin_dir.is_some() || settings.is_some() || pipelines.is_some();
    let pipelines = with_overrides(built_in_pipelines()?, pipelines.as_deref())?;
    let settings: BTreeMap<String, Value> = settings.as_deref().map(read_json).transpose()?.unwrap_or_default();
    let inside = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && std::env::var_os("KUBECONFIG").is_none();
    let config = Config::infer().await.context("failed to find a cluster: no in-cluster account and no kubeconfig")?;
    let client = Client::try_from(config).context("failed to set up the client of the API server")?;
    let mut engine = EngineConfig { compiler: compile::compiler()?, ..EngineConfig::default() };
    engine.ceiling = ceiling.limits();
    // Of the components that came with the host as well, which are far below any sensible bound.
    let most_bytes = (max_component_mib as usize) << 20;
    engine.bounds.bytes = most_bytes;
    if let Some(folder) = cache_dir.filter(|folder| !folder.as_os_str().is_empty()) {
        let key_file = installation_key_file.as_deref();
        engine.cache = Some(installation::cache(folder, cache_mib, key_file, &client, &namespace).await?);
    }
    let engine = Arc::new(Engine::new(engine).context("failed to set up the sandbox")?);
    let plugins = PluginSettings {
        require_signatures,
        // An empty value is what a manifest sets that wants none.
        signature_keys: signature_keys.filter(|name| !name.is_empty()),
        registry: RegistrySettings {
            insecure: insecure_registry.into_iter().filter(|it| !it.is_empty()).collect(),
            most_bytes,
            ..RegistrySettings::default()
        },
        registry_credentials: registry_credentials.filter(|name| !name.is_empty()),
        rehearsal_passes,
        section: plugins::sections(engine.clone()),
        ..PluginSettings::default()
    };
    let watched = match watch_namespaces.as_slice() {
        [] => vec![namespace.clone()],
        names if names.iter().any(|name| name == "*") => Vec::new(),
        names => names.to_vec(),
    };
    let own = delegation::Own {
        namespace: &namespace,
        identity: &identity,
        lease: &lease,
        handed_on,
        secrets: plugins.signature_keys.iter().chain(&plugins.registry_credentials).map(String::as_str).collect(),
        port_forward: reaches_by_port_forward(reach, inside),
        is_alike: !own_files && watched == [namespace.clone()],
    };
    let delegation = delegation::decide(&client, &pipelines, &steps, &delegated_steps, own).await?;
    let pipelines = delegation.part.pipelines(pipelines);
    let load = plugins::loader(engine);
    let slots = Arc::new(Slots::of(&pipelines));
    {
        let (slots, load) = (slots.clone(), load.clone());
        tokio::task::spawn_blocking(move || plugins::fill(&slots, &load, plugin_dir.as_deref(), &settings)).await??;
    }

    let stop = CancellationToken::new();
    let secrets = Some(secrets).filter(|names| !names.is_empty());
    let (caches, changes) = Caches::narrow(client.clone(), watched, secrets, stop.clone());
    let dialer: Arc<dyn Dialer> = if reaches_by_port_forward(reach, inside) {
        Arc::new(PortForward::new(client.clone()))
    } else {
        Arc::new(Direct::new())
    };
    // The key lives as long as the process: fingerprints are of no use outside it.
    let fingerprinter = Arc::new(Fingerprinter::new(rand::random()));
    let mut looks = Settings { namespace: namespace.clone(), resolve: resolve.into(), ..Settings::default() };
    if delegation.part.alone().is_some() {
        // What other processes call for, it sees by looking alone.
        looks.rest_interval = LONE_LOOKS;
    }
    let system = RedisEnterprise::new(caches.clone(), dialer, fingerprinter.clone(), looks);
    let guests = GuestSettings {
        names: redb_namespaces,
        label: redb_namespaces_label,
        map: environment_config,
        names_key: "REDB_NAMESPACES".to_owned(),
        label_key: "REDB_NAMESPACES_LABEL".to_owned(),
    };
    let metrics = Arc::new(Metrics::default());
    let ready = Arc::new(AtomicBool::new(false));
    let lease = delegation::lease(&delegation, &lease);
    let leadership = if lease.is_empty() {
        lease::alone()
    } else {
        lease::compete(client.clone(), &namespace, &lease, &identity)
            .await
            .context("failed to compete for the Lease")?
    };

    let served = Admin { metrics: metrics.clone(), system: system.clone(), ready: ready.clone() };
    let journal = Arc::new(Journal::default());
    let local = local(bind_address, local_port, journal.clone(), plugins.board.clone(), slots.clone(), stop.clone());
    let operator = Operator {
        client,
        pipelines,
        caches,
        changes,
        slots,
        system,
        fingerprinter,
        metrics,
        journal,
        leadership,
        namespace,
        guests,
        identity,
        loader: load,
        plugins,
        purity_every,
        delegation,
        admission: (admission_port != 0).then(|| AdmissionSettings {
            address: SocketAddr::new(bind_address, admission_port),
            secret: admission_secret,
            service: admission_service,
            webhook: admission_webhook,
        }),
        ready,
    };
    let address = SocketAddr::new(bind_address, admin_port);
    let admin = admin::serve(address, served, stop.clone());
    let result = tokio::select! {
        biased;
        () = told_to_stop() => Ok(()),
        ended = operator.run(stop.clone()) => ended,
        ended = admin => ended.with_context(|| format!("failed to serve health and metrics on {address}")),
        () = local => Ok(()),
    };
    stop.cancel();
    info!("stopped");
    result
}

fn reaches_by_port_forward(reach: Reach, inside: bool) -> bool {
    match reach {
        Reach::Direct => false,
        Reach::PortForward => true,
        Reach::Auto => !inside,
    }
}

/// Serves the journal until stopped. Nothing that reconciles depends on it, so a port that is taken costs only the warning.
async fn local(
    address: IpAddr,
    port: u16,
    journal: Arc<Journal>,
    board: Arc<Board>,
    slots: Arc<Slots>,
    stop: CancellationToken,
) {
    let header = Header {
        format: FORMAT,
        host: env!("CARGO_PKG_VERSION").to_owned(),
        contract: CONTRACT.to_owned(),
        exported: String::new(),
    };
    let api = LocalApi {
        journal,
        plugins: Arc::new(move || serde_json::to_value(board.view(&slots)).unwrap_or_default()),
        header,
    };
    let address = local_api::address(address, port);
    if port != 0
        && let Err(error) = local_api::serve(address, api, stop.clone()).await
    {
        warn!(%address, error = &error as &dyn std::error::Error, "the journal is not served; choose another --local-port");
    }
    stop.cancelled().await;
}

pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The pipelines of Redis Enterprise.
pub(crate) fn built_in_pipelines() -> anyhow::Result<Vec<Pipeline>> {
    serde_json::from_str(stepwright_redis_enterprise::PIPELINES).context("failed to read the built-in pipelines")
}

fn with_overrides(mut pipelines: Vec<Pipeline>, file: Option<&Path>) -> anyhow::Result<Vec<Pipeline>> {
    if let Some(file) = file {
        let more: Vec<Pipeline> = read_json(file)?;
        for pipeline in more {
            pipelines.retain(|it| it.type_ref() != pipeline.type_ref());
            pipelines.push(pipeline);
        }
    }
    Ok(pipelines)
}

fn read_json<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} does not hold what is expected", file.display()))
}

pub(crate) fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_lease_manager=warn,kube_runtime::watcher=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
