//! Numbers, plugins and values as people read them.

use serde_json::Value;

use crate::journal::PluginRef;

/// Longest value that is shown whole, in characters.
const SHOWN: usize = 100;

/// `rec 0.1.0 @1a2b3c4d5e6f (embedded)`.
pub fn plugin(plugin: &PluginRef) -> String {
    let digest = plugin.digest.get(..12).unwrap_or(&plugin.digest);
    format!("{} {} @{digest} ({})", plugin.name, plugin.version, plugin.source)
}

/// `740 µs`, `12.3 ms`, `4.2 s`.
pub(super) fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// `812 B`, `14.2 KiB`, `3.1 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let in_units = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", in_units(1_024)),
        _ => format!("{} MiB", in_units(1_048_576)),
    }
}

/// `1 field`, `2 fields`.
pub(super) fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// JSON on one line, cut where it gets long.
pub(super) fn value(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
