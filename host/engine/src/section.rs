//! The manifest as a custom section of the component, `stepwright:manifest`: how it is written and what it says.
//!
//! The section stands at the top level, once, and holds JSON. It is put there after the build by asking the component
//! itself, so it is the same for every language. Whether it is true is checked elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stepwright_core::world::World;
use wasmparser::{Chunk, Parser, Payload};

/// The section's name.
pub const NAME: &str = "stepwright:manifest";

/// What the section holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section<'a> {
    /// The version of `stepwright:plugin` that the component was built for.
    pub(crate) contract: &'a str,
    pub(crate) world: World,
    /// What `describe` returns, as it is: a field that stands there twice must not get lost on the way.
    #[serde(borrow)]
    pub(crate) manifest: &'a RawValue,
}

/// These bytes without any section of that name. What cannot be parsed is passed on as it is, for others to refuse.
pub fn strip(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let (mut parser, mut rest) = (Parser::new(0), bytes);
    while !rest.is_empty() {
        let Ok(Chunk::Parsed { consumed, payload }) = parser.parse(rest, true) else { break };
        let mut length = consumed;
        match payload {
            Payload::CustomSection(section) if section.name() == NAME => length = 0,
            // The parser stands behind these already; only code has to be skipped.
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                length = length.saturating_add(unchecked_range.len());
            }
            Payload::CodeSectionStart { size, .. } => {
                parser.skip_section();
                length = length.saturating_add(size as usize);
            }
            Payload::End(_) => break,
            _ => {}
        }
        let Some(section) = rest.get(..length) else { break };
        kept.extend_from_slice(section);
        rest = rest.get(length.max(consumed)..).unwrap_or_default();
    }
    kept.extend_from_slice(rest);
    kept
}

/// What the first section of that name holds, byte for byte. `None`: there is none before the first thing that cannot be
/// parsed. For tools; the host reads a component by `inspect`, which checks all of it.
pub fn data(bytes: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth = depth.saturating_add(1),
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == NAME => return Some(section.data()),
            _ => {}
        }
    }
    None
}

/// These bytes with exactly one section of that name, at the end.
pub(crate) fn write(bytes: &[u8], section: &Section<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let data = serde_json::to_vec(section)?;
    let mut packed = strip(bytes);
    // A custom section is: its id, its size, and in it a name with its length, and the data.
    let mut content = Vec::with_capacity(data.len().saturating_add(32));
    leb128(&mut content, NAME.len());
    content.extend_from_slice(NAME.as_bytes());
    content.extend_from_slice(&data);
    packed.push(0);
    leb128(&mut packed, content.len());
    packed.extend_from_slice(&content);
    Ok(packed)
}

/// An unsigned number as WebAssembly writes it: seven bits in a byte, low ones first.
fn leb128(into: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            into.push(low);
            return;
        }
        into.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component of nothing but two custom sections.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0\x00\x03\x01ab\x00\x03\x01cd";

    #[test]
    fn modules_and_components_within_stay() {
        let inner = r#"(component (core module (func)) (component (core module (func nop))))"#;
        let bytes = wat::parse_str(inner).unwrap();
        let manifest = RawValue::from_string("{}".into()).unwrap();
        let section = Section { contract: "0.1.0", world: World::Step, manifest: &manifest };
        let packed = write(&bytes, &section).unwrap();
        assert_eq!(packed.get(..bytes.len()), Some(&bytes[..]));
        assert_eq!(strip(&packed), bytes);
        // A core module is no component, and is passed on.
        let module = wat::parse_str("(module (func) (func nop))").unwrap();
        assert_eq!(strip(&module), module);
    }

    #[test]
    fn what_was_written_can_be_taken_away_again() {
        let manifest = RawValue::from_string(format!("{:?}", "x".repeat(1000))).unwrap();
        let section = Section { contract: "0.1.0", world: World::Step, manifest: &manifest };
        let packed = write(EMPTY, &section).unwrap();
        assert!(packed.len() > EMPTY.len() + 1000);
        assert_eq!(strip(&packed), EMPTY);
        // Packing twice is packing once.
        assert_eq!(write(&packed, &section).unwrap(), packed);
        let mut many = packed.clone();
        many.extend_from_slice(packed.get(EMPTY.len()..).unwrap());
        assert_eq!(strip(&many), EMPTY);
    }

    #[test]
    fn what_is_no_component_stays_as_it_is() {
        for bytes in [&b""[..], b"no wasm", b"\0asm\x0d\0\x01\0\x00\x7f\x01ab"] {
            assert_eq!(strip(bytes), bytes);
        }
    }
}
