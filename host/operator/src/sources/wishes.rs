//! Annotations and `data` to wishes. A value that is not understood is refused with what would be: a wish that is dropped in
//! silence is a plugin that runs another way than its admin believes.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::ConfigMap;
use stepwright_core::admit::RESERVED_PREFIX;
use stepwright_core::slot::{Mode, OnFailure, Share};

use super::refusal::OfferError;
use crate::offer::{Labels, Wishes, data, told, wish};

/// Of the primaries, where mode `canary` is wished for and no share is named.
const CANARY_PERCENT: u8 = 10;
/// More ConfigMaps in one set are a mistake.
const MOST_IN_A_SET: usize = 64;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The wishes of the ConfigMap that holds a plugin, or its first part.
pub(super) fn wishes(map: &ConfigMap) -> Result<Wishes, OfferError> {
    let none = BTreeMap::new();
    let annotations = Annotations(map.metadata.annotations.as_ref().unwrap_or(&none));
    annotations.are_known()?;
    let mode = mode(&annotations)?;
    let promote_after = annotations.parsed(wish::PROMOTE_AFTER, "a number of passes from 1 on", |&n: &u32| n > 0)?;
    if promote_after.is_some() && mode == Mode::Active {
        let because = format!("only a shadow or a canary is promoted; set `{}` to one of them", wish::MODE);
        return Err(OfferError::AnnotationContradicts { annotation: wish::PROMOTE_AFTER, because });
    }
    let priority = annotations.parsed(wish::PRIORITY, "a whole number", |_: &i32| true)?;
    let on_failure = annotations.one_of(wish::ON_FAILURE, &OnFailure::ALL.map(|it| (it.as_str(), it)))?;
    let rehearse_live = annotations.one_of(wish::REHEARSE, &[("live", true)])?;
    let calls = map.data.as_ref().and_then(|data| data.get(data::CALLS)).map(|text| calls(text)).transpose()?;
    Ok(Wishes {
        mode,
        promote_after,
        priority: priority.unwrap_or_default(),
        on_failure: on_failure.unwrap_or_default(),
        service_account: annotations.name(wish::SERVICE_ACCOUNT, "the name of a ServiceAccount in this namespace")?,
        calls,
        rehearse_live: rehearse_live.unwrap_or_default(),
        set: set(&annotations)?,
        promoted: annotations.digest(wish::PROMOTED)?,
        rolled_back: annotations.digest(wish::ROLLED_BACK)?,
    })
}

/// Refuses annotations with our prefix that nobody reads.
pub(super) fn are_known(map: &ConfigMap) -> Result<(), OfferError> {
    map.metadata.annotations.as_ref().map_or(Ok(()), |annotations| Annotations(annotations).are_known())
}

fn mode(annotations: &Annotations<'_>) -> Result<Mode, OfferError> {
    let share = share(annotations)?;
    let default = Share::Percent(CANARY_PERCENT);
    let canary = Mode::Canary(share.clone().map_or(default, |(_, share)| share));
    let modes = [("active", Mode::Active), ("shadow", Mode::Shadow), ("canary", canary)];
    let mode = annotations.one_of(wish::MODE, &modes)?.unwrap_or(Mode::Active);
    match share {
        Some((annotation, _)) if !matches!(mode, Mode::Canary(_)) => {
            let because = format!("the mode is `{}`; set `{}` to `canary`", mode.as_str(), wish::MODE);
            Err(OfferError::AnnotationContradicts { annotation, because })
        }
        _ => Ok(mode),
    }
}

/// The share, and the annotation that names it.
fn share(annotations: &Annotations<'_>) -> Result<Option<(&'static str, Share)>, OfferError> {
    let percent = annotations.parsed(wish::CANARY_PERCENT, "a whole number from 0 to 100", |&n: &u8| n <= 100)?;
    let labels = annotations.0.get(wish::CANARY_LABELS).map(|text| labels(text)).transpose()?;
    match (percent, labels) {
        (None, None) => Ok(None),
        (Some(percent), None) => Ok(Some((wish::CANARY_PERCENT, Share::Percent(percent)))),
        (None, Some(labels)) => Ok(Some((wish::CANARY_LABELS, Share::Labels(labels)))),
        (Some(_), Some(_)) => {
            let because =
                format!("a share is by labels or by percentage; take one away, it or `{}`", wish::CANARY_PERCENT);
            Err(OfferError::AnnotationContradicts { annotation: wish::CANARY_LABELS, because })
        }
    }
}

fn labels(text: &str) -> Result<Labels, OfferError> {
    let mut labels = Labels::new();
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').map_or(("", ""), |(key, value)| (key.trim(), value.trim()));
        if !is_qualified(key) || !is_label_value(value) {
            return Err(invalid(wish::CANARY_LABELS, text, "labels such as `tier=dev,team=x`"));
        }
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid(wish::CANARY_LABELS, text, format!("each label once, and `{key}` is there twice")));
        }
    }
    Ok(labels)
}

fn set(annotations: &Annotations<'_>) -> Result<Option<(String, usize)>, OfferError> {
    let name = annotations.name(wish::SET, "a name in lower case")?;
    let size =
        annotations.parsed(wish::SET_SIZE, format!("a whole number from 1 to {MOST_IN_A_SET}"), |n: &usize| {
            (1..=MOST_IN_A_SET).contains(n)
        })?;
    let alone = |annotation, other| {
        let because = format!("a set has a name and a size; add `{other}`");
        Err(OfferError::AnnotationContradicts { annotation, because })
    };
    match (name, size) {
        (Some(name), Some(size)) => Ok(Some((name, size))),
        (None, None) => Ok(None),
        (Some(_), None) => alone(wish::SET, wish::SET_SIZE),
        (None, Some(_)) => alone(wish::SET_SIZE, wish::SET),
    }
}

/// The lines of `data.calls`, without comments and empty ones.
fn calls(text: &str) -> Result<Vec<String>, OfferError> {
    let mut calls = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let said = raw.split('#').next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        let words: Vec<&str> = said.split_whitespace().collect();
        let good = match words.as_slice() {
            [method, path] => METHODS.contains(method) && is_route(path),
            _ => false,
        };
        if !good {
            return Err(OfferError::CallsInvalid { line: index + 1, text: shown(raw.trim()) });
        }
        calls.push(words.join(" "));
    }
    Ok(calls)
}

/// As admission takes paths: plain segments, no query. `*` stands for a whole segment.
fn is_route(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?'))
        && path
            .split('/')
            .all(|segment| segment != "." && segment != ".." && (segment == "*" || !segment.contains('*')))
}

struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    fn are_known(&self) -> Result<(), OfferError> {
        let ours = self.0.keys().filter(|key| key.starts_with(RESERVED_PREFIX));
        let known = |key: &str| wish::ALL.contains(&key) || told::ALL.contains(&key);
        match ours.into_iter().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => {
                Err(OfferError::AnnotationUnknown { annotation: shown(key), nearest: nearest(key, &wish::ALL) })
            }
        }
    }

    fn parsed<T: FromStr>(
        &self,
        annotation: &'static str,
        accepted: impl Into<String>,
        good: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, OfferError> {
        let Some(text) = self.0.get(annotation) else { return Ok(None) };
        let value = text.parse().ok().filter(good);
        value.map(Some).ok_or_else(|| invalid(annotation, text, accepted.into()))
    }

    fn one_of<T: Clone>(&self, annotation: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, OfferError> {
        let Some(text) = self.0.get(annotation) else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| word == text).map(|(_, value)| value.clone());
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        found.map(Some).ok_or_else(|| invalid(annotation, text, words.join(", ")))
    }

    fn name(&self, annotation: &'static str, accepted: &str) -> Result<Option<String>, OfferError> {
        let Some(text) = self.0.get(annotation) else { return Ok(None) };
        is_name(text).then(|| Some(text.clone())).ok_or_else(|| invalid(annotation, text, accepted))
    }

    fn digest(&self, annotation: &'static str) -> Result<Option<String>, OfferError> {
        let Some(text) = self.0.get(annotation) else { return Ok(None) };
        let whole = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let accepted = format!("a whole digest, 64 hexadecimal digits as in `{}`", told::DIGEST);
        whole.then(|| Some(text.clone())).ok_or_else(|| invalid(annotation, text, accepted))
    }
}

fn invalid(annotation: &'static str, value: &str, accepted: impl Into<String>) -> OfferError {
    let accepted = format!("what is accepted is {}", accepted.into());
    OfferError::AnnotationInvalid { annotation, value: shown(value), accepted }
}

/// The known word that is most like what was written.
pub(super) fn nearest(written: &str, known: &[&'static str]) -> &'static str {
    let distance = |word: &&&'static str| strsim::damerau_levenshtein(&shown(written), word);
    known.iter().min_by_key(distance).copied().unwrap_or_default()
}

/// Short enough for a message; what strangers write may be long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 100;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// A DNS subdomain, as Kubernetes names most objects.
pub(super) fn is_name(text: &str) -> bool {
    let label = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_name(prefix) && !name.is_empty() && is_label_value(name),
        None => !key.is_empty() && is_label_value(key),
    }
}

fn is_label_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
