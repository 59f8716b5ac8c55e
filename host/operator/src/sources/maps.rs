//! ConfigMaps to offers. Pure: what comes out depends on what goes in, so that it can be done again at every change.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use k8s_openapi::api::core::v1::ConfigMap;

use super::parts::{self, Place};
use super::refusal::OfferError;
use super::settings;
use super::unpack::{Packing, unpack};
use super::wishes::{self, nearest, shown};
use crate::offer::{Component, Offer, data, wish};

/// What the ConfigMaps of one namespace offer, and what is wrong with those that offer nothing: the name of a ConfigMap that
/// is there (of a plugin in parts: of its first one that is) and the error. Both are in the order of names.
///
/// `maps` are those with the plugins' label. `most_bytes` bounds each component, decompressed; `unpack::MOST_BYTES` is a good
/// value. A ConfigMap with an error offers nothing, whatever else is right about it.
pub fn offers(maps: &[Arc<ConfigMap>], most_bytes: usize) -> (Vec<Offer>, Vec<(String, OfferError)>) {
    let mut errors = Vec::new();
    // The name of the first part, to the parts by their ConfigMaps' names.
    let mut groups: BTreeMap<String, Vec<Piece<'_>>> = BTreeMap::new();
    let mut sorted: Vec<&ConfigMap> = maps.iter().map(Arc::as_ref).collect();
    sorted.sort_by_key(|map| &map.metadata.name);
    for map in sorted {
        match Piece::read(map) {
            Ok(piece) => groups.entry(piece.place.of.clone()).or_default().push(piece),
            Err(error) => errors.push((name(map), error)),
        }
    }
    let mut offers = Vec::new();
    for mut pieces in groups.into_values() {
        pieces.sort_by_key(|piece| piece.place.part);
        match offer(&pieces, most_bytes) {
            Ok(offer) => offers.push(offer),
            Err(error) => errors.extend(pieces.first().map(|piece| (name(piece.map), error))),
        }
    }
    errors.sort_by(|(one, _), (other, _)| one.cmp(other));
    (offers, errors)
}

/// One ConfigMap, whose keys and annotations are known ones.
struct Piece<'a> {
    map: &'a ConfigMap,
    place: Place,
    /// The bytes it holds; `None`: an artifact is named instead, or nothing.
    bytes: Option<(Packing, &'a [u8])>,
}

impl<'a> Piece<'a> {
    fn read(map: &'a ConfigMap) -> Result<Self, OfferError> {
        wishes::are_known(map)?;
        let place = Place::read(map)?;
        if place.part > 1 {
            parts::has_bytes_only(map, &place.of)?;
        }
        for key in map.data.iter().flat_map(BTreeMap::keys) {
            if !data::ALL.contains(&key.as_str()) {
                return Err(unknown_text(key));
            }
        }
        let mut found = Vec::new();
        for (key, bytes) in map.binary_data.iter().flatten() {
            let packing = Packing::ALL.into_iter().find(|packing| packing.key() == key);
            found.push((packing.ok_or_else(|| unknown_binary(key))?, bytes.0.as_slice()));
        }
        if let [_, _, ..] = found.as_slice() {
            let keys: Vec<String> = found.iter().map(|(packing, _)| format!("`{}`", packing.key())).collect();
            return Err(OfferError::SeveralComponents { found: keys.join(" and ") });
        }
        Ok(Self { map, place, bytes: found.pop() })
    }
}

/// `pieces` have one first part, are sorted, and are at least one.
fn offer(pieces: &[Piece<'_>], most_bytes: usize) -> Result<Offer, OfferError> {
    let Some(first) = pieces.first() else { return Err(OfferError::NoComponent) };
    let map = first.map;
    let text = |key: &str| map.data.as_ref().and_then(|data| data.get(key));
    let oci = map.metadata.annotations.as_ref().and_then(|annotations| annotations.get(wish::OCI));
    // First what is in the first part alone: a wish that is wrong is told before the other parts have come.
    let wishes = wishes::wishes(map)?;
    let settings = text(data::SETTINGS).cloned().unwrap_or_else(|| "{}".to_owned());
    if let Some(problem) = settings::problem(&settings) {
        return Err(OfferError::SettingsInvalid { problem });
    }
    let signature = text(data::SIGNATURE).map(|text| signature(text)).transpose()?;
    let component = match oci {
        Some(_) if first.place.parts > 1 || pieces.iter().any(|piece| piece.bytes.is_some()) => {
            let found = format!("bytes in `binaryData`, and the artifact that annotation `{}` names", wish::OCI);
            return Err(OfferError::SeveralComponents { found });
        }
        Some(reference) => Component::Oci { reference: reference.clone() },
        None => Component::Inline(inline(pieces, most_bytes)?),
    };
    Ok(Offer {
        namespace: map.metadata.namespace.clone().unwrap_or_default(),
        name: first.place.of.clone(),
        component,
        signature,
        settings,
        wishes,
    })
}

fn inline(pieces: &[Piece<'_>], most_bytes: usize) -> Result<Vec<u8>, OfferError> {
    let mut parts = Vec::new();
    for piece in pieces {
        let (packing, bytes) = piece.bytes.ok_or(OfferError::NoComponent)?;
        parts.push((&piece.place, packing, bytes));
    }
    let (packing, packed) = parts::join(&parts)?;
    Ok(unpack(packing, &packed, most_bytes)?)
}

fn signature(text: &str) -> Result<Vec<u8>, OfferError> {
    let malformed = |problem: String| OfferError::SignatureMalformed { problem };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .map_err(|error| malformed(format!("is no base64: {error}")))?;
    if bytes.len() == 64 { Ok(bytes) } else { Err(malformed(format!("has {} bytes", bytes.len()))) }
}

fn unknown_text(key: &str) -> OfferError {
    let is_component = Packing::ALL.iter().any(|packing| packing.key() == key);
    let accepted = if is_component {
        "a component is bytes, and belongs in `binaryData`".to_owned()
    } else {
        format!("did you mean `{}`? What is accepted is {}", nearest(key, &data::ALL), quoted(&data::ALL))
    };
    OfferError::KeyUnknown { section: "data", key: shown(key), accepted }
}

fn unknown_binary(key: &str) -> OfferError {
    let accepted = if data::ALL.contains(&key) {
        "it is text, and belongs in `data`".to_owned()
    } else {
        format!("what is accepted is one of {}", quoted(&Packing::ALL.map(Packing::key)))
    };
    OfferError::KeyUnknown { section: "binaryData", key: shown(key), accepted }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn name(map: &ConfigMap) -> String {
    map.metadata.name.clone().unwrap_or_default()
}
