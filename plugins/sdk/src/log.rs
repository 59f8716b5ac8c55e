//! Lines in the host's log, under the span of the call. Natively they go to standard error, where `cargo test` keeps them.

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For following single values.
    Trace,
    /// For the plugin's author.
    Debug,
    /// For the admin.
    Info,
    /// Something is odd.
    Warn,
    /// Something is broken.
    Error,
}

/// Writes one line. The message is constant; what varies goes into the fields.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    #[cfg(target_family = "wasm")]
    crate::export::log(level, message, fields);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?} {message} {fields:?}");
}

/// A line for the plugin's author.
pub fn debug(message: &str, fields: &[(&str, &str)]) {
    write(Level::Debug, message, fields);
}

/// A line for the admin.
pub fn info(message: &str, fields: &[(&str, &str)]) {
    write(Level::Info, message, fields);
}

/// A line about something odd.
pub fn warn(message: &str, fields: &[(&str, &str)]) {
    write(Level::Warn, message, fields);
}

/// A line about something broken.
pub fn error(message: &str, fields: &[(&str, &str)]) {
    write(Level::Error, message, fields);
}
