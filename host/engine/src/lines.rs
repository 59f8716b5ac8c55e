//! What a guest logs and prints becomes events of the host's log: few, short, and one line each.

use stepwright_core::manifest::Limits;

use crate::worlds::log::Level;

/// Longest message and longest list of fields that are passed on, in bytes.
const LONGEST: usize = 1024;

/// The lines of one call.
pub(crate) struct Lines {
    limits: Limits,
    written: u32,
    /// Bytes of all lines, also of those that were not written.
    bytes: usize,
    dropped: u32,
    last_words: String,
}

/// How far a call's log went past its limits.
pub(crate) struct Flood {
    pub(crate) lines: u32,
    pub(crate) kib: u64,
}

impl Lines {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, written: 0, bytes: 0, dropped: 0, last_words: String::new() }
    }

    /// Lines that were passed on.
    pub(crate) fn written(&self) -> u32 {
        self.written
    }

    pub(crate) fn write(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        if matches!(level, Level::Error) {
            self.last_words.clear();
            self.last_words.push_str(&tidy(message));
        }
        let message = tidy(message);
        let fields = joined(fields);
        self.bytes = self.bytes.saturating_add(message.len()).saturating_add(fields.len());
        if self.written >= self.limits.log_lines || self.bytes > (self.limits.log_kib as usize).saturating_mul(1024) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.written = self.written.saturating_add(1);
        // Levels are part of an event's static description, so each needs its own.
        match level {
            Level::Trace => tracing::trace!(target: "stepwright::guest", fields, "{message}"),
            Level::Debug => tracing::debug!(target: "stepwright::guest", fields, "{message}"),
            Level::Info => tracing::info!(target: "stepwright::guest", fields, "{message}"),
            Level::Warn => tracing::warn!(target: "stepwright::guest", fields, "{message}"),
            Level::Error => tracing::error!(target: "stepwright::guest", fields, "{message}"),
        }
    }

    /// A line that the guest printed to its standard error, where a Rust panic's text goes when no hook is set.
    pub(crate) fn printed_error(&mut self, line: &str) {
        self.write(Level::Warn, line, &[]);
        if line.contains("panicked at") {
            self.last_words.clear();
        }
        if self.last_words.len() < LONGEST && !line.is_empty() && !line.starts_with("note: ") {
            if !self.last_words.is_empty() {
                self.last_words.push(' ');
            }
            self.last_words.push_str(&tidy(line));
        }
    }

    /// Whether more was logged than the limits allow, and how much that was.
    pub(crate) fn flood(&self) -> Option<Flood> {
        let kib = (self.bytes as u64).div_ceil(1024);
        (self.dropped > 0).then(|| Flood { lines: self.written.saturating_add(self.dropped), kib })
    }

    /// Ends the call's log. Returns what the guest last said of an error, for the message of a trap.
    pub(crate) fn finish(self) -> Option<String> {
        (!self.last_words.is_empty()).then_some(self.last_words)
    }
}

/// One line of limited length: no guest can make up lines of the host's log.
fn tidy(text: &str) -> String {
    let mut line: String = cut(text, LONGEST).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > LONGEST {
        line.push('…');
    }
    line
}

fn joined(fields: &[(String, String)]) -> String {
    let mut all = String::new();
    for (key, value) in fields {
        if all.len() >= LONGEST {
            all.push('…');
            break;
        }
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(&tidy(cut(key, 64)));
        all.push('=');
        all.push_str(&tidy(cut(value, 256)));
    }
    all
}

fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_short() {
        assert_eq!(tidy("a\nINFO forged\x1b[31m"), "a INFO forged [31m");
        assert_eq!(tidy(&"ä".repeat(LONGEST)).len(), LONGEST + '…'.len_utf8());
    }

    #[test]
    fn fields_are_limited_in_number_and_length() {
        let many: Vec<_> = (0..10_000).map(|n| (n.to_string(), "v".repeat(10_000))).collect();
        assert!(joined(&many).len() < 2 * LONGEST);
        assert_eq!(joined(&[("a".into(), "1".into()), ("b".into(), "2".into())]), "a=1 b=2");
    }

    #[test]
    fn a_panic_printed_over_several_lines_is_remembered_whole() {
        let mut lines = Lines::new(&Limits { log_lines: 1, ..Limits::default() });
        lines.printed_error("something before");
        lines.printed_error("thread 'main' panicked at src/lib.rs:3:5:");
        lines.printed_error("no idea");
        lines.printed_error("note: run with `RUST_BACKTRACE=1`");
        assert_eq!(lines.dropped, 3);
        assert_eq!(lines.finish().as_deref(), Some("thread 'main' panicked at src/lib.rs:3:5: no idea"));
    }

    #[test]
    fn bytes_are_limited_over_all_lines() {
        let mut lines = Lines::new(&Limits { log_kib: 1, ..Limits::default() });
        for _ in 0..5 {
            lines.write(Level::Info, &"x".repeat(400), &[]);
        }
        assert_eq!((lines.written(), lines.dropped), (2, 3));
    }
}
