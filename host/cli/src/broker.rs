//! `stepwright service-broker`: puts client, login and folder together, and serves until told to stop.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use kube::Client;
use stepwright_service_broker::{Broker, Login, serve};
use tokio_util::sync::CancellationToken;

use crate::args::BrokerArgs;
use crate::run::{log_to_stderr, told_to_stop};

pub(crate) fn run(args: BrokerArgs) -> anyhow::Result<()> {
    log_to_stderr(args.log_format);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(operate(args))
}

async fn operate(args: BrokerArgs) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let within = |path: &Path| args.root.join(path.strip_prefix("/").unwrap_or(path));
    let (file, data) = (within(&args.password_file), within(&args.data));
    let password = std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let login = Login::new(&args.username, password.trim_end_matches(['\r', '\n']))?;
    let client =
        Client::try_default().await.context("failed to find a cluster: no in-cluster account and no kubeconfig")?;
    let broker = Broker::open(client, args.namespace, args.cluster, login, &data)?;
    let address = SocketAddr::new(args.bind_address, args.port);
    let stop = CancellationToken::new();
    let served = serve(address, broker, stop.clone());
    tokio::pin!(served);
    tokio::select! {
        () = told_to_stop() => {
            stop.cancel();
            served.await
        }
        ended = &mut served => ended,
    }
    .with_context(|| format!("failed to serve on {address}"))
}
