//! What a component is, read from its bytes alone: nothing is compiled and none of its code runs.
//!
//! The bytes are a stranger's. Each step costs time in proportion to their number, memory is kept only for names of
//! imports and exports, and what would make the compiler suffer is refused by its size. Whether the component is valid
//! is left to the compiler.

use stepwright_core::guest::{Digest, GuestError};
use stepwright_core::manifest::Manifest;
use wasmparser::{Encoding, Parser, Payload};

use crate::config::TABLE_ELEMENTS;
use crate::contract::{self, World};
use crate::manifest;
use crate::section::{self, Section};

/// How large a component may be before it is compiled. The defaults leave room for what Python and JavaScript toolchains
/// make; compiling has limits of its own, these spare it the obvious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The whole component, in bytes.
    pub bytes: usize,
    /// The section with the manifest, in bytes.
    pub manifest: usize,
    /// Imports and exports of the component.
    pub names: usize,
    /// Functions over all core modules.
    pub functions: usize,
    /// Types over all core modules and components.
    pub types: usize,
    /// The body of one function, in bytes. One of 650 KB has kept the compiler busy for a minute.
    pub function: usize,
    /// Locals of one function.
    pub locals: usize,
    /// Modules and components within each other.
    pub depth: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            manifest: 64 << 10,
            names: 1_000,
            functions: 100_000,
            types: 50_000,
            function: 512 << 10,
            locals: 20_000,
            depth: 16,
        }
    }
}

/// What a component says and shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub digest: Digest,
    pub world: World,
    /// The version of `stepwright:plugin` that it was built for.
    pub contract: String,
    pub manifest: Manifest,
}

/// Reads a packed component. Errors call it by its digest, and by its name once that is known.
pub fn inspect(bytes: &[u8], bounds: &Bounds) -> Result<Inspection, GuestError> {
    let digest = Digest::of(bytes);
    let plugin = || digest.short().to_owned();
    let shape = shape(bytes, bounds, digest.short())?;
    let Some(data) = shape.section else { return Err(GuestError::NotPacked { plugin: plugin() }) };
    let garbled = |message: String| GuestError::Garbled { plugin: plugin(), message };
    let section: Section<'_> =
        serde_json::from_slice(data).map_err(|error| garbled(format!("its section `{}`: {error}", section::NAME)))?;
    let manifest = manifest::read(section.manifest.get(), shape.world).map_err(|unfit| garbled(unfit.to_string()))?;
    for (what, says, shows) in [
        ("the world", section.world.as_str(), shape.world.as_str()),
        ("the version of the contract", section.contract, shape.contract),
    ] {
        if says != shows {
            let message = format!("{what} is {says} in the manifest that it carries, and {shows} by its exports");
            return Err(GuestError::Incompatible { plugin: manifest.name, message });
        }
    }
    let contract = shape.contract.to_owned();
    Ok(Inspection { world: shape.world, contract, manifest, digest })
}

/// The bytes of a component's section `stepwright:manifest`, as they stand in it: what a signature is over, besides the whole.
pub(crate) fn section(bytes: &[u8], bounds: &Bounds) -> Result<Vec<u8>, GuestError> {
    let plugin = Digest::of(bytes).short().to_owned();
    let shape = shape(bytes, bounds, &plugin)?;
    shape.section.map(<[u8]>::to_vec).ok_or(GuestError::NotPacked { plugin })
}

/// What can be seen from outside.
pub(crate) struct Shape<'a> {
    pub(crate) world: World,
    pub(crate) contract: &'a str,
    pub(crate) section: Option<&'a [u8]>,
    /// It imports randomness.
    pub(crate) draws: bool,
}

/// Walks over the bytes once. `plugin`: what errors call it.
pub(crate) fn shape<'a>(bytes: &'a [u8], bounds: &Bounds, plugin: &str) -> Result<Shape<'a>, GuestError> {
    let incompatible = |message: String| GuestError::Incompatible { plugin: plugin.to_owned(), message };
    let mut walk = Walk { bounds, seen: Seen::default() };
    walk.size("the component, in bytes,", bytes.len(), bounds.bytes).map_err(|it| it.named(plugin))?;
    for payload in Parser::new(0).parse_all(bytes) {
        payload.map_err(Flaw::from).and_then(|payload| walk.take(payload)).map_err(|flaw| flaw.named(plugin))?;
    }
    let Seen { imports, exports, section, .. } = walk.seen;
    let (world, contract) =
        contract::world(imports.iter().copied(), exports).map_err(|misfit| incompatible(misfit.to_string()))?;
    let draws = imports.iter().any(|name| name.starts_with("wasi:random/"));
    Ok(Shape { world, contract, section, draws })
}

/// What is wrong with the bytes, before it is said of whom.
enum Flaw {
    Unreadable(String),
    TooLarge { what: &'static str, size: usize, limit: usize },
}

impl Flaw {
    fn named(self, plugin: &str) -> GuestError {
        let plugin = plugin.to_owned();
        match self {
            Self::Unreadable(message) => GuestError::Incompatible { plugin, message },
            Self::TooLarge { what, size, limit } => {
                GuestError::TooLarge { plugin, what, size: size as u64, limit: limit as u64 }
            }
        }
    }
}

impl From<wasmparser::BinaryReaderError> for Flaw {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        let message = error.message();
        Self::Unreadable(format!(
            "it is no component, or not a whole one: at byte {}, {message}; build it for wasm32-wasip2",
            error.offset()
        ))
    }
}

#[derive(Default)]
struct Seen<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    section: Option<&'a [u8]>,
    functions: usize,
    types: usize,
    depth: usize,
}

struct Walk<'a, 'b> {
    bounds: &'b Bounds,
    seen: Seen<'a>,
}

impl<'a> Walk<'a, '_> {
    fn size(&self, what: &'static str, size: usize, limit: usize) -> Result<(), Flaw> {
        if size > limit { Err(Flaw::TooLarge { what, size, limit }) } else { Ok(()) }
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<(), Flaw> {
        let bounds = *self.bounds;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if self.seen.depth == 0 => {
                return Err(Flaw::Unreadable(
                    "this is a core module, and plugins are components; build it for wasm32-wasip2, or make a component \
                     of it with `wasm-tools component new`"
                        .to_owned(),
                ));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.seen.depth = self.seen.depth.saturating_add(1);
                self.size("the depth of modules and components in it", self.seen.depth, bounds.depth)?;
            }
            Payload::End(_) => self.seen.depth = self.seen.depth.saturating_sub(1),
            Payload::CustomSection(section) if self.seen.depth == 0 && section.name() == section::NAME => {
                self.size("its manifest, in bytes,", section.data().len(), bounds.manifest)?;
                if self.seen.section.replace(section.data()).is_some() {
                    let message = format!("it carries the section `{}` more than once", section::NAME);
                    return Err(Flaw::Unreadable(message));
                }
            }
            Payload::ComponentImportSection(imports) if self.seen.depth == 0 => {
                for import in imports {
                    self.seen.imports.push(import?.name.name);
                    self.size("the number of its imports", self.seen.imports.len(), bounds.names)?;
                }
            }
            Payload::ComponentExportSection(exports) if self.seen.depth == 0 => {
                for export in exports {
                    self.seen.exports.push(export?.name.name);
                    self.size("the number of its exports", self.seen.exports.len(), bounds.names)?;
                }
            }
            Payload::TypeSection(types) => self.types(types.count())?,
            Payload::CoreTypeSection(types) => self.types(types.count())?,
            Payload::ComponentTypeSection(types) => self.types(types.count())?,
            Payload::TableSection(tables) => {
                for table in tables {
                    let elements = usize::try_from(table?.ty.initial).unwrap_or(usize::MAX);
                    self.size("a table of it, in elements,", elements, TABLE_ELEMENTS)?;
                }
            }
            Payload::CodeSectionStart { count, .. } => {
                self.seen.functions = self.seen.functions.saturating_add(count as usize);
                self.size("the number of its functions", self.seen.functions, bounds.functions)?;
            }
            Payload::CodeSectionEntry(body) => {
                self.size("a function of it, in bytes,", body.range().len(), bounds.function)?;
                let mut locals = 0_usize;
                for declared in body.get_locals_reader()? {
                    let (count, _) = declared?;
                    locals = locals.saturating_add(count as usize);
                }
                self.size("the number of a function's locals", locals, bounds.locals)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn types(&mut self, count: u32) -> Result<(), Flaw> {
        self.seen.types = self.seen.types.saturating_add(count as usize);
        self.size("the number of its types", self.seen.types, self.bounds.types)
    }
}
