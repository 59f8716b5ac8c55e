//! What Kubernetes accepts as a key of labels and annotations, and as a label's value. `None`: it is accepted.

const NAME: &str = "letters, digits, `-`, `_` and `.`, at most 63, beginning and ending with a letter or digit";

pub(crate) fn key(key: &str) -> Option<String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if let Some(prefix) = prefix
        && !is_domain(prefix)
    {
        return Some(format!("the prefix `{prefix}` is no DNS name, such as example.com"));
    }
    if prefix.is_some_and(|prefix| prefix == "stepwright.dev" || prefix.ends_with(".stepwright.dev")) {
        return Some("the prefix stepwright.dev is the operator's own: use another".to_owned());
    }
    (!is_name(name)).then(|| format!("the name of a key is made of {NAME}"))
}

pub(crate) fn label_value(value: &str) -> Option<String> {
    let fits = value.is_empty() || is_name(value);
    (!fits).then(|| format!("a label's value is empty or made of {NAME}; it is `{value}`: use an annotation"))
}

fn is_name(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().next_back())
}

fn is_domain(text: &str) -> bool {
    let part = |part: &str| {
        let letters = part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        letters && !part.is_empty() && part.len() <= 63 && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}
