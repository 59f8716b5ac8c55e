//! The programs of the control plane: found in `KUBEBUILDER_ASSETS`, or built once by the Go client from the pinned
//! modules in `dev/cluster/tools/`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::files;

/// A program, the module it is pinned in, and its package there.
#[derive(Clone, Copy, Debug)]
struct Program {
    name: &'static str,
    module: &'static str,
    package: &'static str,
}

const PROGRAMS: [Program; 6] = [
    Program { name: "kube-apiserver", module: "kubernetes", package: "k8s.io/kubernetes/cmd/kube-apiserver" },
    Program {
        name: "kube-controller-manager",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
    Program { name: "kube-scheduler", module: "kubernetes", package: "k8s.io/kubernetes/cmd/kube-scheduler" },
    Program { name: "kubectl", module: "kubernetes", package: "k8s.io/kubernetes/cmd/kubectl" },
    Program { name: "etcd", module: "etcd", package: "go.etcd.io/etcd/server/v3" },
    Program { name: "kwok", module: "kwok", package: "sigs.k8s.io/kwok/cmd/kwok" },
];
const KWOK_CRDS: [&str; 4] = ["stages", "execs", "logs", "portforwards"];

/// Where each program lies.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `kube-apiserver`
    pub api_server: PathBuf,
    /// `kube-controller-manager`
    pub controller_manager: PathBuf,
    /// `kube-scheduler`
    pub scheduler: PathBuf,
    /// `kubectl`
    pub kubectl: PathBuf,
    /// `etcd`
    pub etcd: PathBuf,
    /// `kwok`
    pub kwok: PathBuf,
    /// The folder with kwok's CRDs.
    pub kwok_crds: PathBuf,
}

impl Binaries {
    /// The folder of those that we build: `control-plane` in cargo's target folder.
    #[must_use]
    pub fn default_folder() -> PathBuf {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::repository().join("target"), PathBuf::from);
        std::path::absolute(&target).unwrap_or(target).join("control-plane")
    }

    /// Finds them and builds nothing.
    ///
    /// # Errors
    /// When one is missing; the message says how to build it.
    pub fn find() -> anyhow::Result<Self> {
        let folder = Self::default_folder();
        let find = |name: &str| {
            let path = given(name).unwrap_or_else(|| folder.join(name));
            if path.exists() {
                return Ok(path);
            }
            bail!("`{}` is missing; build it with: cargo xtask build-control-plane", path.display());
        };
        Ok(Self {
            api_server: find("kube-apiserver")?,
            controller_manager: find("kube-controller-manager")?,
            scheduler: find("kube-scheduler")?,
            kubectl: find("kubectl")?,
            etcd: find("etcd")?,
            kwok: find("kwok")?,
            kwok_crds: folder.join("kwok-crds"),
        })
    }

    /// Builds what is neither given nor up to date, and tells `report` what it does.
    ///
    /// # Errors
    /// When Go is missing or a build fails; the message names the log.
    pub async fn build(report: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let folder = Self::default_folder();
        files::make_folder(&folder)?;
        for module in ["kubernetes", "etcd", "kwok"] {
            let tools = crate::repository().join("dev/cluster/tools").join(module);
            let pins = pins(&tools)?;
            let stale: Vec<Program> = PROGRAMS
                .into_iter()
                .filter(|program| program.module == module && given(program.name).is_none())
                .filter(|program| !is_current(&folder, program.name, &pins))
                .collect();
            if !stale.is_empty() {
                build_module(&tools, &folder, &stale, report).await?;
                for program in &stale {
                    files::write_atomically(&stamp(&folder, program.name), pins.as_bytes())?;
                }
            }
            if module == "kwok" && !is_current(&folder, "kwok-crds", &pins) {
                copy_kwok_crds(&tools, &folder.join("kwok-crds")).await?;
                files::write_atomically(&stamp(&folder, "kwok-crds"), pins.as_bytes())?;
            }
        }
        Self::find()
    }
}

/// The program in `KUBEBUILDER_ASSETS`, the convention of envtest.
fn given(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty())?).join(name);
    path.exists().then_some(path)
}

/// What the outcome of a build depends on. The whole text rather than a hash of it: it is small, and can be compared.
fn pins(tools: &Path) -> anyhow::Result<String> {
    let read = |name| {
        let path = tools.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))
    };
    let module = read("go.mod")?;
    Ok(format!("{}\n{module}{}", linker_flags(&module), read("go.sum")?))
}

/// Without symbols, which nobody looks at here, and with the version that Kubernetes' own builds would have.
fn linker_flags(module: &str) -> String {
    let version = module
        .lines()
        .filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
        .find_map(|version| version.split_ascii_whitespace().next());
    let Some(version) = version else { return "-s -w".to_owned() };
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let variable = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    [
        "-s -w".to_owned(),
        variable("gitVersion", &format!("v{version}")),
        variable("gitMajor", major),
        variable("gitMinor", minor),
    ]
    .concat()
}

fn stamp(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.pins"))
}

fn is_current(folder: &Path, name: &str, pins: &str) -> bool {
    folder.join(name).exists() && std::fs::read_to_string(stamp(folder, name)).is_ok_and(|built| built == pins)
}

async fn build_module(
    tools: &Path,
    folder: &Path,
    programs: &[Program],
    report: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let names = programs.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    let log_path = folder.join(format!("build-{}.log", tools.file_name().unwrap_or_default().display()));
    let log = std::fs::File::create(&log_path).with_context(|| format!("failed to create `{}`", log_path.display()))?;
    let module = std::fs::read_to_string(tools.join("go.mod")).context("failed to read go.mod")?;
    let flags = format!("-ldflags={}", linker_flags(&module));
    let started = Instant::now();
    report(&format!("building {names} (once; minutes on a new machine)"));
    for program in programs {
        // One by one: linking two of these at the same time takes more memory than a small machine has. The packages
        // that they share are compiled once all the same.
        let mut child = Command::new("go")
            .args(["build", "-trimpath", &flags, "-o"])
            .arg(folder.join(program.name))
            .arg(program.package)
            .current_dir(tools)
            .env("GOTOOLCHAIN", "auto")
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start `go`; install Go 1.24 or newer from https://go.dev/dl")?;
        let mut ticker = tokio::time::interval(Duration::from_secs(15));
        ticker.tick().await;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = ticker.tick() => report(&format!("building {} … {} s", program.name, started.elapsed().as_secs())),
            }
        };
        if !status.success() {
            bail!("failed to build {}; log: {}", program.name, log_path.display());
        }
    }
    report(&format!("built {names} in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Takes kwok's CRDs out of the Go client's module cache.
async fn copy_kwok_crds(tools: &Path, target: &Path) -> anyhow::Result<()> {
    let list = || async {
        let output = Command::new("go")
            .args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"])
            .current_dir(tools)
            .output()
            .await
            .context("failed to start `go`; install Go from https://go.dev/dl")?;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut module = list().await?;
    if module.is_empty() {
        // The module cache was emptied after the build.
        Command::new("go").args(["mod", "download", "sigs.k8s.io/kwok"]).current_dir(tools).output().await?;
        module = list().await?;
    }
    files::make_folder(target)?;
    for name in KWOK_CRDS {
        let file = format!("kwok.x-k8s.io_{name}.yaml");
        let source = Path::new(&module).join("kustomize/crd/bases").join(&file);
        let text = std::fs::read(&source).with_context(|| format!("failed to read `{}`", source.display()))?;
        files::write_atomically(&target.join(file), &text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_is_told_its_version() {
        let flags = linker_flags("require (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n");
        assert!(flags.ends_with("version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"));
        assert_eq!(linker_flags("require go.etcd.io/etcd v3.6.5"), "-s -w");
    }
}
