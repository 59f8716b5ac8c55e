//! Compiled code on disk, so that a start does not compile: taken up again only under the seal of this installation.
//!
//! Code from here runs with the host's rights, so a file counts only if its seal, made with a key that is not in the
//! folder, fits name and content. What was verified is a private copy in a sealed memory file, and that is what is mapped:
//! a later write to the cache's file changes nothing. A file that does not fit is removed, counted, and compiled anew: the
//! cache is never needed, only faster.

use std::fs::{self, File, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use stepwright_core::guest::Digest;

use crate::sealed::{SealedCode, memory_file};

/// A key of this installation. Whoever has it can make code that the host runs.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheKey(pub [u8; 32]);

impl std::fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheKey(…)")
    }
}

/// Where compiled code is kept.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Made if it is not there. Only this user may enter it.
    pub folder: PathBuf,
    pub key: CacheKey,
    /// What was used longest ago is removed above this.
    pub max_mib: u32,
}

/// The version of what is written here.
const FORMAT: &[u8] = b"stepwright code 1\0";
const CODE: &str = "cwasm";
const SEAL: &str = "seal";

pub(crate) struct Cache {
    config: CacheConfig,
}

/// What came of looking for code.
pub(crate) enum Found {
    Code(SealedCode),
    Nothing,
    /// It was there, and not to be trusted or not to be read.
    Refused(String),
}

impl Cache {
    pub(crate) fn open(config: &CacheConfig) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.folder)?;
        fs::set_permissions(&config.folder, Permissions::from_mode(0o700))?;
        Ok(Self { config: config.clone() })
    }

    /// The entry for a component compiled by this engine and this version of the host.
    pub(crate) fn name(component: &Digest, engine: &wasmtime::Engine) -> String {
        use sha2::Digest as _;
        let mut hasher = Sha(Sha256::new());
        component.hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hex::encode(hasher.0.finalize())
    }

    pub(crate) fn get(&self, name: &str) -> Found {
        let path = self.path(name, CODE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return Found::Refused(error.to_string()),
        };
        match self.verified(name, &file) {
            Ok(Some(code)) => {
                // For the order of removal only.
                let _ = file.set_modified(SystemTime::now());
                Found::Code(code)
            }
            Ok(None) => {
                self.remove(name);
                Found::Refused("its seal does not fit".to_owned())
            }
            Err(error) => {
                self.remove(name);
                Found::Refused(error.to_string())
            }
        }
    }

    /// Copies the file while taking its seal: the copy is what was looked at.
    fn verified(&self, name: &str, file: &File) -> io::Result<Option<SealedCode>> {
        let seal = fs::read(self.path(name, SEAL))?;
        let Ok(seal) = hex::decode(seal.trim_ascii()) else { return Ok(None) };
        let mut copy = memory_file("stepwright-code")?;
        let mac = self.mac(name, file, |bytes| copy.write_all(bytes))?;
        // Compares in constant time.
        if mac.verify_slice(&seal).is_err() {
            return Ok(None);
        }
        SealedCode::new(copy).map(Some)
    }

    /// Keeps code. Each file appears whole or not at all; the seal comes last.
    pub(crate) fn put(&self, name: &str, code: &SealedCode) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.config.folder)?;
        let mac = self.mac(name, code.reader()?, |bytes| file.write_all(bytes))?;
        file.persist(self.path(name, CODE))?;
        let mut seal = tempfile::NamedTempFile::new_in(&self.config.folder)?;
        seal.write_all(hex::encode(mac.finalize().into_bytes()).as_bytes())?;
        seal.persist(self.path(name, SEAL))?;
        self.shrink(name)
    }

    pub(crate) fn remove(&self, name: &str) {
        for extension in [CODE, SEAL] {
            // One that stays is refused again.
            let _ = fs::remove_file(self.path(name, extension));
        }
    }

    fn mac(
        &self,
        name: &str,
        mut from: impl Read,
        mut pass_on: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.config.key.0).map_err(io::Error::other)?;
        mac.update(FORMAT);
        // Of fixed length, so nothing can move from one to the other.
        mac.update(name.as_bytes());
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(mac),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            mac.update(bytes);
            pass_on(bytes)?;
        }
    }

    /// Removes what was used longest ago until the rest fits; never `kept`.
    fn shrink(&self, kept: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.config.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|it| it == CODE) {
                // It may have been removed by another process in the meantime.
                let Ok(metadata) = entry.metadata() else { continue };
                entries.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let most = u64::from(self.config.max_mib) << 20;
        let mut total: u64 = entries.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in entries {
            if total <= most {
                break;
            }
            let name = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
            if name != kept {
                self.remove(name);
                total = total.saturating_sub(length);
            }
        }
        Ok(())
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        Path::new(&self.config.folder).join(name).with_extension(extension)
    }
}

/// A digest as a hasher, so that names do not depend on what std's own makes of the same values.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        use sha2::Digest as _;
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        use sha2::Digest as _;
        let digest = self.0.clone().finalize();
        digest.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, key: u8, max_mib: u32) -> Cache {
        Cache::open(&CacheConfig { folder: folder.to_owned(), key: CacheKey([key; 32]), max_mib }).unwrap()
    }

    fn read(found: Found) -> Result<Vec<u8>, String> {
        match found {
            Found::Code(code) => {
                let mut bytes = Vec::new();
                code.reader().unwrap().read_to_end(&mut bytes).unwrap();
                Ok(bytes)
            }
            Found::Nothing => Err("nothing".into()),
            Found::Refused(why) => Err(why),
        }
    }

    #[test]
    fn only_what_was_put_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1, 10);
        let code = SealedCode::of(b"code").unwrap();
        assert_eq!(read(cache.get("a")), Err("nothing".into()));
        cache.put("a", &code).unwrap();
        assert_eq!(read(cache.get("a")), Ok(b"code".to_vec()));

        // Under another name, changed by a bit, cut, lengthened, without a seal: refused once, and then gone.
        let (path, seal) = (folder.path().join("a.cwasm"), folder.path().join("a.seal"));
        let sins: [fn(&Path, &Path); 5] = [
            |code, _| fs::write(code, b"codf").unwrap(),
            |code, _| fs::write(code, b"cod").unwrap(),
            |code, _| fs::write(code, b"code ").unwrap(),
            |_, seal| fs::write(seal, "00").unwrap(),
            |_, seal| fs::remove_file(seal).unwrap(),
        ];
        for sin in sins {
            cache.put("a", &code).unwrap();
            sin(&path, &seal);
            assert!(matches!(cache.get("a"), Found::Refused(_)));
            assert!(matches!(cache.get("a"), Found::Nothing));
        }
        cache.put("a", &code).unwrap();
        fs::rename(&path, folder.path().join("b.cwasm")).unwrap();
        fs::rename(&seal, folder.path().join("b.seal")).unwrap();
        assert!(matches!(cache.get("b"), Found::Refused(_)));
    }

    #[test]
    fn another_installation_s_code_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        cache(folder.path(), 1, 10).put("a", &SealedCode::of(b"code").unwrap()).unwrap();
        assert!(matches!(cache(folder.path(), 2, 10).get("a"), Found::Refused(_)));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1, 1);
        let code = SealedCode::of(&vec![7; 400 << 10]).unwrap();
        let used = |name: &str, seconds| {
            let file = File::open(folder.path().join(name).with_extension(CODE)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        cache.put("a", &code).unwrap();
        cache.put("b", &code).unwrap();
        used("a", 2);
        used("b", 1);
        cache.put("c", &code).unwrap();
        assert!(matches!(cache.get("b"), Found::Nothing));
        assert!(matches!(cache.get("a"), Found::Code(_)));
        assert!(matches!(cache.get("c"), Found::Code(_)));
    }

    #[test]
    fn nobody_else_may_look_in() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        cache(&inner, 1, 1).put("a", &SealedCode::of(b"code").unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&inner.join("a.cwasm")), mode(&inner.join("a.seal"))), (0o700, 0o600, 0o600));
    }
}
