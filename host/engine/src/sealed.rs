//! Compiled code that nobody can change any more, and the one place where code is taken on trust.
//!
//! It lies in a memory file that the kernel has sealed against writing, so what was verified is what is mapped: a mapping
//! of the cache's own file would follow later writes to that file. A copy on the heap would be as safe, but the pages of a
//! mapping are shared between text and file, so nothing lies in memory twice while it is loaded, and initial memories of
//! instances are mapped from it as well.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use wasmtime::component::Component;

/// A new memory file, for writing. Gone with its last handle.
pub(crate) fn memory_file(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?))
}

/// What our own compiler made, of this process or of another one. Make it only from what is known to be that.
pub(crate) struct SealedCode {
    file: File,
}

impl SealedCode {
    /// Takes the contents of a memory file. From here on they stay as they are, whoever else has a handle.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self { file })
    }

    pub(crate) fn of(bytes: &[u8]) -> io::Result<Self> {
        let mut file = memory_file("stepwright-code")?;
        file.write_all(bytes)?;
        Self::new(file)
    }

    /// Its bytes from the beginning.
    pub(crate) fn reader(&self) -> io::Result<impl Read> {
        // Opened anew: another handle of the same opening would share the position.
        File::open(self.path())
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Maps it. wasmtime checks that it was made by the same version with the same settings.
    #[allow(unsafe_code, reason = "mapped code is trusted; see the safety comment")]
    pub(crate) fn component(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes come from `Engine::precompile_component`: a `SealedCode` is made of what our compiler has just
        // written, or of a cached copy of that which carries the seal of this installation's key. The kernel's seals keep
        // them from changing while they are mapped.
        unsafe { Component::deserialize_file(engine, self.path()) }
    }
}
