//! A component in several ConfigMaps, because one holds at most a mebibyte. Part `1/n` has everything else of the plugin;
//! the others have bytes only, and name it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::refusal::OfferError;
use super::unpack::Packing;
use super::wishes::{is_name, shown};
use crate::offer::{data, wish};

/// More than enough for the largest component that is taken.
pub const MOST_PARTS: usize = 64;

/// Where a ConfigMap belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The ConfigMap with part 1: itself, if it is whole.
    pub(super) of: String,
    /// From 1 on.
    pub(super) part: usize,
    pub(super) parts: usize,
}

impl Place {
    /// What the annotations say.
    pub(super) fn read(map: &ConfigMap) -> Result<Self, OfferError> {
        let name = map.metadata.name.clone().unwrap_or_default();
        let annotation = |key: &str| map.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let of = annotation(wish::PART_OF);
        let Some(part) = annotation(wish::PART) else {
            let because = format!("it goes with `{}`, which says which part this is, such as `2/3`", wish::PART);
            return match of {
                Some(_) => Err(OfferError::AnnotationContradicts { annotation: wish::PART_OF, because }),
                None => Ok(Self { of: name, part: 1, parts: 1 }),
            };
        };
        let (number, parts) = split(part).ok_or_else(|| OfferError::AnnotationInvalid {
            annotation: wish::PART,
            value: shown(part),
            accepted: format!("what is accepted is `k/n`, such as `2/3`, with n at most {MOST_PARTS}"),
        })?;
        match of {
            Some(of) if !is_name(of) => Err(OfferError::AnnotationInvalid {
                annotation: wish::PART_OF,
                value: shown(of),
                accepted: "what is accepted is the name of the ConfigMap that holds part 1".to_owned(),
            }),
            Some(of) if number == 1 && *of != name => inconsistent(format!(
                "this is part 1, and `{}` names ConfigMap `{of}`; the name of a plugin is that of its part 1",
                wish::PART_OF
            )),
            Some(of) if number > 1 && *of == name => inconsistent(format!(
                "this is part {number} of itself; `{}` names the ConfigMap with part 1",
                wish::PART_OF
            )),
            None if number > 1 => inconsistent(format!(
                "part {number} names no first part; add `{}` with its ConfigMap's name",
                wish::PART_OF
            )),
            of => Ok(Self { of: of.cloned().unwrap_or(name), part: number, parts }),
        }
    }
}

/// The bytes of all parts in order, still packed.
///
/// `parts`: all that name the same first part, in any order, each with its place and its bytes.
pub(super) fn join(parts: &[(&Place, Packing, &[u8])]) -> Result<(Packing, Vec<u8>), OfferError> {
    let mut by_number = BTreeMap::new();
    let Some((first, packing, _)) = parts.iter().min_by_key(|(place, ..)| place.part) else {
        return Err(OfferError::NoComponent);
    };
    for (place, its, bytes) in parts {
        if place.parts != first.parts {
            return inconsistent(format!(
                "part {} says that there are {}, part {} says {}",
                first.part, first.parts, place.part, place.parts
            ));
        }
        if its != packing {
            return inconsistent(format!(
                "part {} is in `{}`, part {} in `{}`; parts are pieces of one file, under one key",
                first.part,
                packing.key(),
                place.part,
                its.key()
            ));
        }
        if by_number.insert(place.part, *bytes).is_some() {
            return inconsistent(format!("part {} is there twice", place.part));
        }
    }
    let missing: Vec<String> =
        (1..=first.parts).filter(|number| !by_number.contains_key(number)).map(|number| number.to_string()).collect();
    if missing.is_empty() {
        return Ok((*packing, by_number.into_values().flatten().copied().collect()));
    }
    Err(OfferError::PartsMissing { have: by_number.len(), of: first.parts, missing: missing.join(", ") })
}

/// A part after the first has bytes, and nothing that would be a wish.
pub(super) fn has_bytes_only(map: &ConfigMap, of: &str) -> Result<(), OfferError> {
    let annotations = map.metadata.annotations.iter().flat_map(BTreeMap::keys);
    let strange = annotations.filter(|key| wish::ALL.contains(&key.as_str()));
    if let Some(key) = strange.into_iter().find(|key| ![wish::PART, wish::PART_OF].contains(&key.as_str())) {
        return inconsistent(format!("annotation `{key}` belongs on ConfigMap `{of}`, which holds part 1"));
    }
    let keys = map.data.iter().flat_map(BTreeMap::keys);
    if let Some(key) = keys.into_iter().find(|key| data::ALL.contains(&key.as_str())) {
        return inconsistent(format!("`data.{key}` belongs in ConfigMap `{of}`, which holds part 1"));
    }
    Ok(())
}

fn split(text: &str) -> Option<(usize, usize)> {
    let (number, parts) = text.split_once('/')?;
    let (number, parts) = (number.parse().ok()?, parts.parse().ok()?);
    (1 <= number && number <= parts && parts <= MOST_PARTS).then_some((number, parts))
}

fn inconsistent<T>(message: String) -> Result<T, OfferError> {
    Err(OfferError::PartsInconsistent { message })
}
