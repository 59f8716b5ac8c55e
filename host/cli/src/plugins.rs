//! Where plugins come from at start: embedded in this binary, overridden by a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use stepwright_core::guest::{Guest, GuestError};
use stepwright_core::manifest::Manifest;
use stepwright_core::world::World;
use stepwright_engine::{Bounds, Engine, EngineConfig};
use stepwright_operator::plugin_maps::Loader;
use stepwright_operator::plugins::SectionReader;
use stepwright_operator::slots::{Slots, Source};
use tracing::{info, warn};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// A loader over an engine, as the operator takes it.
pub(crate) fn loader(engine: Arc<Engine>) -> Loader {
    Arc::new(move |bytes: &[u8]| -> Result<Arc<dyn Guest>, GuestError> { Ok(Arc::new(engine.load(bytes)?)) })
}

/// A reader of manifest sections, for signatures.
pub(crate) fn sections(engine: Arc<Engine>) -> SectionReader {
    Arc::new(move |bytes: &[u8]| engine.section(bytes).map_err(|error| error.to_string()))
}

/// Fills the slots: embedded plugins first, then those of the folder. An embedded plugin that does not load is our fault and
/// ends the start; one of the folder is refused with a warning, and what lies below it answers.
pub(crate) fn fill(
    slots: &Slots,
    load: &Loader,
    folder: Option<&Path>,
    settings: &BTreeMap<String, Value>,
) -> anyhow::Result<()> {
    let manifests = manifests()?;
    for ((name, component), manifest) in EMBEDDED.iter().zip(&manifests) {
        // Nothing is compiled that this process has no use for.
        let wanted = |name: &String| [World::Step, World::Admission].iter().any(|it| slots.wanted(*it).contains(name));
        if !manifest.steps.iter().any(|step| wanted(&step.name)) {
            continue;
        }
        let guest = load(component).with_context(|| format!("failed to load the embedded plugin `{name}`"))?;
        let steps = slots
            .put(Source::Embedded, &guest, &settings_for(&guest, settings))
            .with_context(|| format!("failed to take up the embedded plugin `{name}`"))?;
        info!(plugin = %name, digest = guest.digest().short(), steps = %steps.join(","), "embedded plugin loaded");
    }
    if EMBEDDED.is_empty() {
        warn!("no plugins are embedded in this binary; it was built without `cargo xtask build-plugins`");
    }
    let Some(folder) = folder else { return Ok(()) };
    let entries = std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "wasm")) {
        let shown = file.display().to_string();
        let bytes = std::fs::read(file).with_context(|| format!("failed to read {shown}"))?;
        match load(&bytes) {
            Err(error) => warn!(file = %shown, reason = error.reason(), %error, "plugin refused"),
            Ok(guest) => match slots.put(Source::Directory(shown.clone()), &guest, &settings_for(&guest, settings)) {
                Err(error) => warn!(file = %shown, reason = error.reason(), %error, "plugin refused"),
                Ok(steps) => info!(file = %shown, steps = %steps.join(","), "plugin taken up"),
            },
        }
    }
    Ok(())
}

/// Settings are given by step; a plugin of several steps gets those of its first one that has any.
fn settings_for(guest: &Arc<dyn Guest>, settings: &BTreeMap<String, Value>) -> String {
    let found = guest.manifest().steps.iter().find_map(|step| settings.get(&step.name));
    found.map_or_else(|| "{}".to_owned(), Value::to_string)
}

/// Manifests of the embedded plugins.
pub(crate) fn manifests() -> anyhow::Result<Vec<Manifest>> {
    let read = |(name, component): &(&str, &[u8])| {
        let read = stepwright_engine::inspect(component, &Bounds::default());
        Ok(read.with_context(|| format!("failed to read the embedded plugin `{name}`"))?.manifest)
    };
    EMBEDDED.iter().map(read).collect()
}

/// Prints what a component says of itself.
pub(crate) fn inspect(component: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(component).with_context(|| format!("failed to read {}", component.display()))?;
    let engine = Engine::new(EngineConfig::default())?;
    let guest = engine.load(&bytes).with_context(|| format!("{} would be refused", component.display()))?;
    let shown = serde_json::json!({
        "digest": guest.digest().to_string(), "bytes": bytes.len(), "manifest": guest.manifest(),
    });
    crate::print(&serde_json::to_string_pretty(&shown)?);
    Ok(())
}
