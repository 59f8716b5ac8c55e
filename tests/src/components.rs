//! Components for tests, each with bytes of its own: what the test guest `sinner` becomes when its card is filled in, and what
//! else can be wrong with a file.

use std::path::PathBuf;

use serde_json::{Value, json};
use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentSection, CustomSection, Function, FunctionSection, InstanceSection,
    Module, ModuleArg, ModuleSection, RefType, TableSection, TableType, TypeSection, ValType,
};

/// What is written into the test guest `sinner`.
#[derive(Debug, Clone)]
pub struct Card {
    /// One of the sins that `tests/guests/sinner` knows; anything else is none.
    pub sin: String,
    pub manifest: Value,
    /// Stands in every ConfigMap that the component wants. Need not be UTF-8.
    pub words: Vec<u8>,
    /// Whether the manifest is put into the component as well.
    pub packed: bool,
}

/// The manifest of a component that answers for the step `step` of the tests' pipeline.
pub fn manifest(name: &str, limits: Value) -> Value {
    json!({"name": name, "version": "1.0.0", "steps": [{
        "name": "step", "primary": ["spec"],
        "observes": [{"name": "theirs", "apiVersion": "v1", "kind": "ConfigMap", "select": {"names": ["theirs"]},
            "fields": ["metadata", "data"]}],
        "writes": [{"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "v1", "kind": "Secret"},
            {"apiVersion": "v1", "kind": "Namespace"}],
        "calls": ["PUT /v1/bdbs"], "limits": limits,
    }]})
}

impl Card {
    /// A component that behaves and says these words.
    pub fn good(name: &str, words: &str) -> Self {
        let manifest = manifest(name, json!({}));
        Self { sin: "none".to_owned(), manifest, words: words.as_bytes().to_vec(), packed: true }
    }

    /// A component of this name that commits the sin of that name.
    pub fn sinner(sin: &str) -> Self {
        Self { sin: sin.to_owned(), ..Self::good(sin, sin) }
    }

    pub fn with_limits(mut self, limits: Value) -> Self {
        self.manifest["steps"][0]["limits"] = limits;
        self
    }

    pub fn with_words(mut self, words: &[u8]) -> Self {
        self.words = words.to_vec();
        self
    }

    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let mut bytes = guest("sinner");
        fill(&mut bytes, b"@@card:sin@@", 64, self.sin.as_bytes());
        fill(&mut bytes, b"@@card:manifest@@", 4096, self.manifest.to_string().as_bytes());
        fill(&mut bytes, b"@@card:words@@", 128, &self.words);
        if self.packed { packed(bytes, "0.1.0", "step-plugin", &self.manifest) } else { bytes }
    }
}

/// A component built from `tests/guests`, as it is.
pub fn guest(name: &str) -> Vec<u8> {
    let folder = match std::env::var_os("STEPWRIGHT_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        // …/target/debug/deps/<this test>
        None => std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("guests"),
    };
    let path = folder.join(name).with_extension("wasm");
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}; run `cargo xtask build`", path.display()),
    }
}

/// Writes over the text that begins with `mark`.
fn fill(bytes: &mut [u8], mark: &[u8], length: usize, text: &[u8]) {
    assert!(text.len() <= length, "{} bytes do not fit into {length}", text.len());
    let places: Vec<usize> = (0..bytes.len() - mark.len()).filter(|&at| bytes[at..].starts_with(mark)).collect();
    let [place] = places[..] else { panic!("{} is there {} times", mark.escape_ascii(), places.len()) };
    let frame = &mut bytes[place..place + length];
    frame.fill(b' ');
    frame[..text.len()].copy_from_slice(text);
}

/// With a manifest in a section of its own, as `stepwright plugins pack` puts it.
pub fn packed(component: Vec<u8>, contract: &str, world: &str, manifest: &Value) -> Vec<u8> {
    let content = json!({"contract": contract, "world": world, "manifest": manifest}).to_string();
    let section = CustomSection { name: "stepwright:manifest".into(), data: content.into_bytes().into() };
    appended(component, &[&section])
}

/// With a section more that means nothing: another digest, and as many bytes as there are to be.
pub fn noted(component: Vec<u8>, note: &[u8]) -> Vec<u8> {
    appended(component, &[&CustomSection { name: "note".into(), data: note.into() }])
}

fn appended(mut component: Vec<u8>, sections: &[&dyn AnySection]) -> Vec<u8> {
    for section in sections {
        section.add_to(&mut component);
    }
    component
}

/// A section, whichever.
trait AnySection {
    fn add_to(&self, bytes: &mut Vec<u8>);
}

impl<T: ComponentSection> AnySection for T {
    fn add_to(&self, bytes: &mut Vec<u8>) {
        self.append_to_component(bytes);
    }
}

/// The component with a core module more, which is instantiated with it: whatever its start function does is done before
/// anything of the component is called.
fn with_module(component: Vec<u8>, module: &Module) -> Vec<u8> {
    let index = core_modules(&component);
    let mut instances = InstanceSection::new();
    instances.instantiate(index, Vec::<(String, ModuleArg)>::new());
    appended(component, &[&ModuleSection(module), &instances])
}

/// How many core modules stand at the top level of a component.
fn core_modules(component: &[u8]) -> u32 {
    let (mut at, mut count) = (Component::HEADER.len(), 0);
    while at < component.len() {
        let id = component[at];
        let (length, rest) = leb128(&component[at + 1..]);
        count += u32::from(id == 1);
        at = component.len() - rest.len() + length;
    }
    count
}

fn leb128(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[end + 1..])
}

/// Wants a table of a hundred million elements before any of its code runs.
pub fn table_bomb(card: &Card) -> Vec<u8> {
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 100_000_000,
        maximum: None,
        shared: false,
    });
    let mut module = Module::new();
    module.section(&tables);
    let plain = Card { packed: false, ..card.clone() }.component();
    packed(with_module(plain, &module), "0.1.0", "step-plugin", &card.manifest)
}

/// Little to read, much to compile: many variables, each of which changes on the way around each of many loops.
pub fn compile_bomb(card: &Card, variables: u32, loops: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut body = Function::new([(variables, ValType::I32)]);
    let mut instructions = body.instructions();
    for _ in 0..loops {
        instructions.loop_(BlockType::Empty);
    }
    for variable in 0..variables {
        let next = (variable + 1) % variables;
        instructions.local_get(next).local_get(variable).i32_add().local_set(variable);
    }
    for depth in 0..loops {
        instructions.local_get(depth % variables).br_if(depth);
    }
    for _ in 0..loops {
        instructions.end();
    }
    instructions.end();
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let plain = Card { packed: false, ..card.clone() }.component();
    packed(with_module(plain, &module), "0.1.0", "step-plugin", &card.manifest)
}

/// A core module, which is no component.
pub fn core_module() -> Vec<u8> {
    Module::new().finish()
}

/// Zstandard of `count` zeros in blocks of a hundred thousand, four bytes each.
pub fn zip_bomb(count: usize) -> Vec<u8> {
    // Magic number; a frame without checksum or length; a window of 8 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3];
    const BLOCK: usize = 100_000;
    let blocks = count.div_ceil(BLOCK);
    for block in 0..blocks {
        let header = u32::from(block + 1 == blocks) | 1 << 1 | (BLOCK as u32) << 3;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}
