//! kubectl against one cluster.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use crate::command::{capture, output};
use crate::progress::Progress;

/// How often an object is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    /// `None` for whatever the environment says.
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) namespace: String,
}

impl Kubectl {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--namespace", &self.namespace]).args(arguments);
        if let Some(path) = &self.kubeconfig {
            command.env("KUBECONFIG", path);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        capture(&mut self.command(arguments))
    }

    /// An object as JSON; `None` if there is none, or the API server is busy.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let output = output(&mut self.command(&["get", kind, name, "--output", "json"])).ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Makes a namespace if it is not there.
    pub(crate) fn create_namespace(&self) -> anyhow::Result<()> {
        if self.get("namespace", &self.namespace).is_none() {
            self.run(&["create", "namespace", &self.namespace])?;
        }
        Ok(())
    }

    /// Waits until what `state` reads of an object is `wanted`, and tells each change.
    pub(crate) fn wait_for(
        &self,
        (kind, name): (&str, &str),
        wanted: &str,
        within: Duration,
        progress: &Progress,
        state: impl Fn(&Value) -> String,
        give_up: impl Fn() -> Option<String>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let mut seen = String::new();
        loop {
            let now = self.get(kind, name).map(|object| state(&object)).unwrap_or_default();
            if now != seen && !now.is_empty() {
                progress.note(&format!("{kind} {name}: {now}"));
                seen.clone_from(&now);
            }
            if now == wanted {
                return Ok(());
            }
            if let Some(reason) = give_up() {
                bail!("{reason}");
            }
            if Instant::now() > deadline {
                bail!("{kind} {name} is `{seen}` and not `{wanted}` after {} s", within.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A text at a path of an object; empty if there is none.
pub(crate) fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
