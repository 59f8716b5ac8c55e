//! `stepwright plugins pack`: a component goes in, the same with its manifest in a section comes out.

use std::path::Path;

use anyhow::Context as _;
use stepwright_engine::{Engine, EngineConfig};

/// Packs a file, over itself or to another place.
pub(crate) fn pack(file: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let engine = Engine::new(EngineConfig::default())?;
    let packed = engine.pack(&bytes).with_context(|| format!("failed to pack {}", file.display()))?;
    let output = output.unwrap_or(file);
    std::fs::write(output, &packed).with_context(|| format!("failed to write {}", output.display()))?;
    crate::print(&format!("packed {}", output.display()));
    Ok(())
}
