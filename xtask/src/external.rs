//! `up --use-current-context`: a cluster that the user has already. The operator runs here, as a local process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::command::answers;
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::up::{self, NAMESPACE, Options};
use crate::walkthrough;

/// Applies the CRDs and rights, runs the operator with the user's kubeconfig, and applies the samples.
pub(crate) fn bring_up(paths: &Paths, options: &Options, folder: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let program = if answers("kubectl", "help") { PathBuf::from("kubectl") } else { paths.kubectl() };
    let kubectl = Kubectl { program, kubeconfig: None, namespace: NAMESPACE.to_owned() };
    progress.step("finding the cluster");
    let context = kubectl.run(&["config", "current-context"]).context("kubectl has no current context")?;
    progress.note(&format!("context {}", context.trim()));
    kubectl.run(&["version"]).context("the cluster of the current context does not answer")?;

    up::build_all(paths, progress)?;

    progress.step("installing CRDs and rights");
    kubectl.create_namespace()?;
    let bundle = paths.root.join("deploy/bundle.yaml");
    let text = std::fs::read_to_string(&bundle).with_context(|| format!("failed to read `{}`", bundle.display()))?;
    std::fs::create_dir_all(folder)?;
    let file = folder.join("bundle-without-operator.yaml");
    // Two operators on one cluster would be one too many.
    std::fs::write(&file, without_deployment(&text))?;
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "--filename", &file.display().to_string()])?;

    progress.step("starting the operator");
    let mut command = Command::new(paths.program("stepwright-dev-cluster"));
    command
        .args(["run-program", "--name", "operator", "--folder"])
        .arg(folder)
        .arg("--")
        .arg(paths.program("stepwright"))
        .arg("run")
        .env("POD_NAMESPACE", NAMESPACE)
        .env("WATCH_NAMESPACE", NAMESPACE)
        .env("STEPWRIGHT_REACH", "port-forward")
        .env("STEPWRIGHT_DEV_BIND", "127.0.0.1")
        .env("STEPWRIGHT_ADMIN_PORT", free_port()?.to_string());
    up::start_detached(paths, folder, &mut command)?;
    up::wait_until_running(folder, progress)?;
    progress.note(&format!("its log: {}", folder.join("logs/operator.log").display()));

    if !options.no_samples {
        up::apply_samples(paths, &kubectl, progress, || None)?;
    }
    progress.finish();
    walkthrough::print(progress.elapsed(), &kubectl, folder, &options.name, !options.no_samples);
    println!("`down` ends the operator; what was applied to the cluster stays there.");
    Ok(())
}

fn without_deployment(bundle: &str) -> String {
    let documents = bundle.split("\n---\n");
    let kept: Vec<&str> =
        documents.filter(|document| !document.lines().any(|line| line == "kind: Deployment")).collect();
    kept.join("\n---\n") + "\n"
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("failed to find a free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_not_installed_twice() {
        let bundle = "kind: Role\n---\nkind: Deployment\nmetadata: {}\n---\nkind: ServiceAccount\n";
        assert_eq!(without_deployment(bundle), "kind: Role\n---\nkind: ServiceAccount\n\n");
    }
}
