//! What makes one component of another: three texts of fixed length, which tests write over after the build. So thirty
//! components with digests, names and manifests of their own cost one build.

use std::hint::black_box;

/// A text of `N` bytes that begins with a mark by which it is found in the component, and is otherwise blank.
const fn blank<const N: usize>(mark: &[u8]) -> [u8; N] {
    let mut text = [b' '; N];
    let mut at = 0;
    while at < mark.len() {
        text[at] = mark[at];
        at += 1;
    }
    text
}

const WORDS_AS_BUILT: [u8; 128] = blank(b"@@card:words@@");

static SIN: [u8; 64] = blank(b"@@card:sin@@");
static MANIFEST: [u8; 4096] = blank(b"@@card:manifest@@");
/// A `str`, which nobody checks again: what is written over it need not be UTF-8.
static WORDS: &str = match std::str::from_utf8(&WORDS_AS_BUILT) {
    Ok(words) => words,
    Err(_) => panic!("blanks are UTF-8"),
};

/// The name of the sin; `none` for a component that behaves.
pub(crate) fn sin() -> String {
    // Without the box the compiler would answer with what it knows.
    String::from_utf8_lossy(black_box(&SIN)).trim_end().to_owned()
}

/// JSON.
pub(crate) fn manifest() -> String {
    String::from_utf8_lossy(black_box(&MANIFEST)).trim_end().to_owned()
}

/// A word by which versions differ, as it stands, blanks included.
pub(crate) fn words() -> String {
    black_box(WORDS).to_owned()
}
