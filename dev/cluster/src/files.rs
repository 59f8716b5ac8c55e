//! Small file helpers: writing so that a reader sees the old or the new content, and never half of it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Writes a file that only its owner may read, by renaming a finished one into place.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let write = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
        file.write_all(content)?;
        std::fs::rename(temporary, path)
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}

/// Makes a folder and those above it.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("failed to create folder `{}`", path.display()))
}

/// Makes `link` point to `target`, whatever was there before.
///
/// # Errors
/// When the link cannot be made.
pub(crate) fn link(target: &Path, link: &Path) -> anyhow::Result<()> {
    if let Some(folder) = link.parent() {
        make_folder(folder)?;
    }
    if std::fs::read_link(link).is_ok_and(|existing| existing == target) {
        return Ok(());
    }
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("failed to link `{}` to `{}`", link.display(), target.display()))
}
