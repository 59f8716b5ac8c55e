//! Embeds the built-in plugins: the components that `cargo xtask build-plugins` left in the target folder.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The plugins of the built-in pipelines, by the name of their file.
const BUILT_IN: [&str; 7] = ["upgrade", "rec", "services-rigger", "redb", "rerc", "reaadb", "admission"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=STEPWRIGHT_PLUGINS");
    let folder = env::var_os("STEPWRIGHT_PLUGINS").map_or_else(|| target(&out).join("plugins"), PathBuf::from);
    let mut entries = String::new();
    for name in BUILT_IN {
        let file = folder.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", file.display());
        if file.is_file() {
            entries.push_str(&format!("    ({name:?}, include_bytes!({:?})),\n", file.display().to_string()));
        } else {
            println!("cargo::warning=plugin {name} is not embedded: run `cargo xtask build-plugins` first");
        }
    }
    let code = format!(
        "/// Name and component of each embedded plugin.\npub(crate) static EMBEDDED: &[(&str, &[u8])] = &[\n{entries}];\n"
    );
    Ok(fs::write(out.join("embedded.rs"), code)?)
}

/// `<target>/<profile>/build/<crate>/out` is where a build script writes.
fn target(out: &Path) -> PathBuf {
    out.ancestors().nth(4).map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}
