//! Replies that the proxy makes itself, out of those of several shards or of none.

use crate::resp;

pub(super) fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

pub(super) fn wrong_number(name: &str) -> Vec<u8> {
    error(&format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()))
}

pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", items.len()).into_bytes();
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

pub(super) fn sum(replies: &[Vec<u8>]) -> Vec<u8> {
    let sum: i64 = replies.iter().filter_map(|reply| resp::integer_of(reply)).sum();
    format!(":{sum}\r\n").into_bytes()
}
