//! ConfigMaps to offers: each refusal with its exact text, and what comes back of what was put in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use proptest::prelude::*;
use stepwright_core::slot::{Mode, OnFailure, Share};
use stepwright_operator::offer::{Component, Offer, Wishes, data, told, wish};
use stepwright_operator::sources::unpack::{MOST_BYTES, Packing};
use stepwright_operator::sources::{MOST_PARTS, OfferError, maps};

const COMPONENT: &[u8] = b"the bytes of a component, the bytes of a component";

/// A ConfigMap with a component and nothing else.
fn plugin(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.metadata.namespace = Some("here".to_owned());
    bytes(map, "plugin.wasm", COMPONENT)
}

fn bytes(mut map: ConfigMap, key: &str, bytes: &[u8]) -> ConfigMap {
    map.binary_data.get_or_insert_default().insert(key.to_owned(), ByteString(bytes.to_vec()));
    map
}

fn text(mut map: ConfigMap, key: &str, text: &str) -> ConfigMap {
    map.data.get_or_insert_default().insert(key.to_owned(), text.to_owned());
    map
}

fn annotated(mut map: ConfigMap, annotations: &[(&str, &str)]) -> ConfigMap {
    let all = map.metadata.annotations.get_or_insert_default();
    all.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    map
}

/// Without a component.
fn bare(name: &str) -> ConfigMap {
    ConfigMap { binary_data: None, ..plugin(name) }
}

fn part(name: &str, of: &str, part: &str, piece: &[u8]) -> ConfigMap {
    annotated(bytes(bare(name), "plugin.wasm", piece), &[(wish::PART_OF, of), (wish::PART, part)])
}

fn read(maps: Vec<ConfigMap>) -> (Vec<Offer>, Vec<(String, OfferError)>) {
    let maps: Vec<Arc<ConfigMap>> = maps.into_iter().map(Arc::new).collect();
    maps::offers(&maps, MOST_BYTES)
}

fn offered(map: ConfigMap) -> Offer {
    let (mut offers, errors) = read(vec![map]);
    assert_eq!(errors, []);
    offers.pop().unwrap()
}

/// The one error, as `name: Reason: text`.
fn refused(maps: Vec<ConfigMap>) -> String {
    let (_, errors) = read(maps);
    let texts: Vec<String> =
        errors.iter().map(|(name, error)| format!("{name}: {}: {error}", error.reason())).collect();
    texts.join("\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn a_plugin_without_wishes_is_active_and_has_empty_settings() {
    let expected = Offer {
        namespace: "here".to_owned(),
        name: "p".to_owned(),
        component: Component::Inline(COMPONENT.to_vec()),
        signature: None,
        settings: "{}".to_owned(),
        wishes: Wishes::default(),
    };
    assert_eq!(offered(plugin("p")), expected);
}

#[test]
fn a_component_may_be_packed() {
    for (packing, packed) in [(Packing::Gzip, gzip(COMPONENT)), (Packing::Zstd, zstd(COMPONENT))] {
        let offer = offered(bytes(bare("p"), packing.key(), &packed));
        assert_eq!(offer.component, Component::Inline(COMPONENT.to_vec()), "{packing:?}");
    }
}

#[test]
fn an_artifact_is_named_and_not_fetched() {
    let reference = "ghcr.io/team/plugin@sha256:0";
    let offer = offered(annotated(bare("p"), &[(wish::OCI, reference)]));
    assert_eq!(offer.component, Component::Oci { reference: reference.to_owned() });
}

#[test]
fn every_wish_is_read() {
    let digest = "a".repeat(64);
    let map = annotated(
        plugin("p"),
        &[
            (wish::MODE, "canary"),
            (wish::CANARY_LABELS, "tier=dev, example.com/team=x"),
            (wish::PROMOTE_AFTER, "20"),
            (wish::PRIORITY, "-5"),
            (wish::ON_FAILURE, "fallback"),
            (wish::SERVICE_ACCOUNT, "rigger"),
            (wish::REHEARSE, "live"),
            (wish::SET, "spring"),
            (wish::SET_SIZE, "3"),
            (wish::PROMOTED, &digest),
            (wish::ROLLED_BACK, &digest),
            (told::STATE, "canary"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
        ],
    );
    let map = text(map, data::CALLS, "# databases\nGET /v1/bdbs\n\nPUT   /v1/bdbs/*   # one of them\n");
    let map = text(map, data::SETTINGS, "{\"a\": [1, {\"b\": null}]}");
    let map = text(map, data::SIGNATURE, &format!("{}\n", "A".repeat(85) + "A=="));
    let offer = offered(map);
    let labels = [("tier", "dev"), ("example.com/team", "x")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(
        offer.wishes,
        Wishes {
            mode: Mode::Canary(Share::Labels(labels)),
            promote_after: Some(20),
            priority: -5,
            on_failure: OnFailure::Fallback,
            service_account: Some("rigger".to_owned()),
            calls: Some(vec!["GET /v1/bdbs".to_owned(), "PUT /v1/bdbs/*".to_owned()]),
            rehearse_live: true,
            set: Some(("spring".to_owned(), 3)),
            promoted: Some(digest.clone()),
            rolled_back: Some(digest),
        }
    );
    assert_eq!(offer.settings, "{\"a\": [1, {\"b\": null}]}");
    assert_eq!(offer.signature, Some(vec![0; 64]));
}

#[test]
fn a_canary_has_a_tenth_unless_it_names_a_share() {
    let mode = |annotations: &[(&str, &str)]| offered(annotated(plugin("p"), annotations)).wishes.mode;
    assert_eq!(mode(&[(wish::MODE, "canary")]), Mode::Canary(Share::Percent(10)));
    assert_eq!(mode(&[(wish::MODE, "canary"), (wish::CANARY_PERCENT, "55")]), Mode::Canary(Share::Percent(55)));
    assert_eq!(mode(&[(wish::MODE, "shadow")]), Mode::Shadow);
}

#[test]
fn a_wish_that_is_not_understood_is_refused_with_what_would_be() {
    let mode = "stepwright.dev/mode";
    for (annotations, expected) in [
        (
            &[(mode, "Canary")][..],
            "AnnotationInvalid: annotation `stepwright.dev/mode` is `Canary`; what is accepted is `active`, `shadow`, `canary`",
        ),
        (
            &[(mode, "")],
            "AnnotationInvalid: annotation `stepwright.dev/mode` is ``; what is accepted is `active`, `shadow`, `canary`",
        ),
        (
            &[(mode, "canary"), (wish::CANARY_PERCENT, "101")],
            "AnnotationInvalid: annotation `stepwright.dev/canary-percent` is `101`; what is accepted is a whole number from 0 to 100",
        ),
        (
            &[(mode, "canary"), (wish::CANARY_PERCENT, "10%")],
            "AnnotationInvalid: annotation `stepwright.dev/canary-percent` is `10%`; what is accepted is a whole number from 0 to 100",
        ),
        (
            &[(wish::CANARY_PERCENT, "10")],
            "AnnotationContradicts: annotation `stepwright.dev/canary-percent` has no effect: the mode is `active`; set `stepwright.dev/mode` to `canary`",
        ),
        (
            &[(mode, "canary"), (wish::CANARY_LABELS, "tier")],
            "AnnotationInvalid: annotation `stepwright.dev/canary-labels` is `tier`; what is accepted is labels such as `tier=dev,team=x`",
        ),
        (
            &[(mode, "canary"), (wish::CANARY_LABELS, "a=1,a=2")],
            "AnnotationInvalid: annotation `stepwright.dev/canary-labels` is `a=1,a=2`; what is accepted is each label once, and `a` is there twice",
        ),
        (
            &[(mode, "canary"), (wish::CANARY_LABELS, "a=1"), (wish::CANARY_PERCENT, "1")],
            "AnnotationContradicts: annotation `stepwright.dev/canary-labels` has no effect: a share is by labels or by percentage; take one away, it or `stepwright.dev/canary-percent`",
        ),
        (
            &[(mode, "shadow"), (wish::PROMOTE_AFTER, "0")],
            "AnnotationInvalid: annotation `stepwright.dev/promote-after` is `0`; what is accepted is a number of passes from 1 on",
        ),
        (
            &[(wish::PROMOTE_AFTER, "5")],
            "AnnotationContradicts: annotation `stepwright.dev/promote-after` has no effect: only a shadow or a canary is promoted; set `stepwright.dev/mode` to one of them",
        ),
        (
            &[(wish::PRIORITY, "high")],
            "AnnotationInvalid: annotation `stepwright.dev/priority` is `high`; what is accepted is a whole number",
        ),
        (
            &[(wish::ON_FAILURE, "ignore")],
            "AnnotationInvalid: annotation `stepwright.dev/on-failure` is `ignore`; what is accepted is `hold`, `skip`, `stop`, `fallback`",
        ),
        (
            &[(wish::SERVICE_ACCOUNT, "other:rigger")],
            "AnnotationInvalid: annotation `stepwright.dev/service-account` is `other:rigger`; what is accepted is the name of a ServiceAccount in this namespace",
        ),
        (
            &[(wish::REHEARSE, "yes")],
            "AnnotationInvalid: annotation `stepwright.dev/rehearse` is `yes`; what is accepted is `live`",
        ),
        (
            &[(wish::SET, "spring")],
            "AnnotationContradicts: annotation `stepwright.dev/set` has no effect: a set has a name and a size; add `stepwright.dev/set-size`",
        ),
        (
            &[(wish::SET_SIZE, "2")],
            "AnnotationContradicts: annotation `stepwright.dev/set-size` has no effect: a set has a name and a size; add `stepwright.dev/set`",
        ),
        (
            &[(wish::SET, "Spring"), (wish::SET_SIZE, "2")],
            "AnnotationInvalid: annotation `stepwright.dev/set` is `Spring`; what is accepted is a name in lower case",
        ),
        (
            &[(wish::SET, "spring"), (wish::SET_SIZE, "0")],
            "AnnotationInvalid: annotation `stepwright.dev/set-size` is `0`; what is accepted is a whole number from 1 to 64",
        ),
        (
            &[(wish::PROMOTED, "abc")],
            "AnnotationInvalid: annotation `stepwright.dev/promoted` is `abc`; what is accepted is a whole digest, 64 hexadecimal digits as in `stepwright.dev/digest`",
        ),
        (
            &[("stepwright.dev/canary-percentage", "5")],
            "AnnotationUnknown: annotation `stepwright.dev/canary-percentage` is not known; did you mean `stepwright.dev/canary-percent`?",
        ),
        (
            &[("stepwright.dev/onfailure", "5")],
            "AnnotationUnknown: annotation `stepwright.dev/onfailure` is not known; did you mean `stepwright.dev/on-failure`?",
        ),
        (
            &[(wish::OCI, "ghcr.io/a/b@sha256:0")],
            "PluginAmbiguous: there is more than one component: bytes in `binaryData`, and the artifact that annotation `stepwright.dev/oci` names; leave one, and take the others away",
        ),
    ] {
        assert_eq!(refused(vec![annotated(plugin("p"), annotations)]), format!("p: {expected}"));
    }
}

#[test]
fn what_is_in_data_is_refused_by_name() {
    let settings = |value: &str| text(plugin("p"), data::SETTINGS, value);
    let object = "; what is accepted is one JSON object, such as {\"image\": \"example\"}";
    let call = "; what is accepted is `METHOD /path` with `*` for a segment, such as `PUT /v1/bdbs/*`, or a comment that begins with `#`";
    let signature =
        "; what is accepted is the base64 of an ed25519 signature, 64 bytes, as `stepwright plugins sign` prints it";
    let calls = |value: &str| text(plugin("p"), data::CALLS, value);
    for (map, expected) in [
        (settings("[1]"), format!("PluginSettingsInvalid: `data.settings` is JSON, and no object{object}")),
        (
            settings("{\"a\": 1,\n \"a\": 2}"),
            format!("PluginSettingsInvalid: `data.settings` is not accepted: the key `a` is there twice at line 2 column 4{object}"),
        ),
        (
            settings("{\"a\": [{\"b\": 1, \"b\": 1}]}"),
            format!("PluginSettingsInvalid: `data.settings` is not accepted: the key `b` is there twice at line 1 column 19{object}"),
        ),
        (
            settings("image: x"),
            format!("PluginSettingsInvalid: `data.settings` is not accepted: expected value at line 1 column 1{object}"),
        ),
        (
            settings("{} {}"),
            format!("PluginSettingsInvalid: `data.settings` is not accepted: trailing characters at line 1 column 4{object}"),
        ),
        (
            settings(&"[".repeat(500)),
            format!("PluginSettingsInvalid: `data.settings` is not accepted: recursion limit exceeded at line 1 column 128{object}"),
        ),
        (calls("GET /v1/bdbs\n/v1/bdbs"), format!("CallsInvalid: line 2 of `data.calls` is `/v1/bdbs`{call}")),
        (calls("get /v1/bdbs"), format!("CallsInvalid: line 1 of `data.calls` is `get /v1/bdbs`{call}")),
        (calls("GET v1/bdbs"), format!("CallsInvalid: line 1 of `data.calls` is `GET v1/bdbs`{call}")),
        (calls("GET /v1/b*"), format!("CallsInvalid: line 1 of `data.calls` is `GET /v1/b*`{call}")),
        (calls("GET /v1/../x"), format!("CallsInvalid: line 1 of `data.calls` is `GET /v1/../x`{call}")),
        (calls("GET /v1 /v2"), format!("CallsInvalid: line 1 of `data.calls` is `GET /v1 /v2`{call}")),
        (
            text(plugin("p"), data::SIGNATURE, "%"),
            format!("SignatureMalformed: `data.signature` is no base64: Invalid symbol 37, offset 0.{signature}"),
        ),
        (
            text(plugin("p"), data::SIGNATURE, "AAAA"),
            format!("SignatureMalformed: `data.signature` has 3 bytes{signature}"),
        ),
        (
            text(plugin("p"), "setings", "{}"),
            "KeyUnknown: `data` has a key `setings`, which means nothing here; did you mean `settings`? What is accepted is `settings`, `calls`, `signature`".to_owned(),
        ),
        (
            text(bare("p"), "plugin.wasm", "x"),
            "KeyUnknown: `data` has a key `plugin.wasm`, which means nothing here; a component is bytes, and belongs in `binaryData`".to_owned(),
        ),
        (
            bytes(bare("p"), "plugin.wasm.xz", b"x"),
            "KeyUnknown: `binaryData` has a key `plugin.wasm.xz`, which means nothing here; what is accepted is one of `plugin.wasm`, `plugin.wasm.zst`, `plugin.wasm.gz`".to_owned(),
        ),
        (
            bytes(plugin("p"), "settings", b"{}"),
            "KeyUnknown: `binaryData` has a key `settings`, which means nothing here; it is text, and belongs in `data`".to_owned(),
        ),
        (
            bytes(plugin("p"), "plugin.wasm.gz", b"x"),
            "PluginAmbiguous: there is more than one component: `plugin.wasm` and `plugin.wasm.gz`; leave one, and take the others away".to_owned(),
        ),
        (
            bare("p"),
            "PluginMissing: there is no component: `binaryData` has none of `plugin.wasm`, `plugin.wasm.zst` and `plugin.wasm.gz`, and no annotation `stepwright.dev/oci` names an artifact; `stepwright plugins configmap NAME FILE` prints a ConfigMap that has one".to_owned(),
        ),
    ] {
        assert_eq!(refused(vec![map]), format!("p: {expected}"));
    }
}

#[test]
fn a_packed_component_that_is_broken_is_refused() {
    let mut flipped = zstd(&COMPONENT.repeat(100));
    *flipped.last_mut().unwrap() ^= 1;
    let mut two = zstd(COMPONENT);
    two.extend(zstd(COMPONENT));
    let cut = |packed: Vec<u8>| packed[..packed.len() - 6].to_vec();
    for (packing, packed) in [
        (Packing::Zstd, b"no zstd".to_vec()),
        (Packing::Zstd, Vec::new()),
        (Packing::Zstd, cut(zstd(COMPONENT))),
        (Packing::Zstd, flipped),
        (Packing::Zstd, two),
        (Packing::Gzip, b"no gzip".to_vec()),
        (Packing::Gzip, Vec::new()),
        (Packing::Gzip, cut(gzip(COMPONENT))),
    ] {
        let text = refused(vec![bytes(bare("p"), packing.key(), &packed)]);
        let start = format!("p: PluginCorrupt: `{}` could not be decompressed: ", packing.key());
        assert!(text.starts_with(&start), "{packing:?}: {text}");
        let command = if packing == Packing::Zstd { "`zstd FILE`" } else { "`gzip -k FILE`" };
        assert!(text.ends_with(&format!("; compress the component again with {command}")), "{text}");
    }
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    let most = 1 << 20;
    let zeros = vec![0; 20 << 20];
    for (packing, packed) in [(Packing::Zstd, zstd(&zeros)), (Packing::Gzip, gzip(&zeros))] {
        let map = Arc::new(bytes(bare("p"), packing.key(), &packed));
        let (_, errors) = maps::offers(&[map], most);
        let expected =
            format!("`{}` comes to more than {most} bytes, the most that a component may have here", packing.key());
        assert_eq!(errors[0].1.to_string(), expected);
        assert_eq!(errors[0].1.reason(), "PluginTooLarge");
    }
    let whole = [Arc::new(plugin("p"))];
    assert_eq!(maps::offers(&whole, COMPONENT.len()).1, []);
    assert_eq!(maps::offers(&whole, COMPONENT.len() - 1).1[0].1.reason(), "PluginTooLarge");
}

#[test]
fn parts_are_put_together_whatever_their_order() {
    let parts = [part("p", "p", "1/3", b"abc"), part("x", "p", "3/3", b"gh"), part("y", "p", "2/3", b"def")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let (offers, errors) = read(order.map(|n| parts[n].clone()).to_vec());
        assert_eq!(errors, []);
        assert_eq!((offers[0].name.as_str(), &offers[0].component), ("p", &Component::Inline(b"abcdefgh".to_vec())));
    }
}

#[test]
fn missing_parts_are_waited_for_and_named() {
    let (offers, errors) = read(vec![part("p", "p", "1/3", b"abc"), plugin("other")]);
    assert_eq!(offers.len(), 1);
    assert!(errors[0].1.is_waiting());
    let text = |maps: Vec<ConfigMap>| refused(maps);
    assert_eq!(
        text(vec![part("p", "p", "1/3", b"abc")]),
        "p: PartsMissing: 1 of 3 parts are here; part 2, 3 is still to come"
    );
    // The error is told where there is something to tell it on.
    assert_eq!(
        text(vec![part("x", "p", "2/2", b"abc")]),
        "x: PartsMissing: 1 of 2 parts are here; part 1 is still to come"
    );
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let first = || part("p", "p", "1/2", b"abc");
    let prefix = "PartsInconsistent: the parts of the plugin do not fit together: ";
    for (maps, expected) in [
        (vec![first(), part("x", "p", "2/3", b"d")], format!("p: {prefix}part 1 says that there are 2, part 2 says 3")),
        (
            vec![first(), part("x", "p", "2/2", b"d"), part("y", "p", "2/2", b"d")],
            format!("p: {prefix}part 2 is there twice"),
        ),
        (
            vec![first(), annotated(bytes(bare("x"), "plugin.wasm.gz", b"d"), &[(wish::PART_OF, "p"), (wish::PART, "2/2")])],
            format!("p: {prefix}part 1 is in `plugin.wasm`, part 2 in `plugin.wasm.gz`; parts are pieces of one file, under one key"),
        ),
        (
            vec![annotated(part("x", "p", "2/2", b"d"), &[(wish::MODE, "shadow")])],
            format!("x: {prefix}annotation `stepwright.dev/mode` belongs on ConfigMap `p`, which holds part 1"),
        ),
        (
            vec![text(part("x", "p", "2/2", b"d"), data::SETTINGS, "{}")],
            format!("x: {prefix}`data.settings` belongs in ConfigMap `p`, which holds part 1"),
        ),
        (
            vec![annotated(plugin("x"), &[(wish::PART, "2/2")])],
            format!("x: {prefix}part 2 names no first part; add `stepwright.dev/part-of` with its ConfigMap's name"),
        ),
        (
            vec![part("x", "x", "2/2", b"d")],
            format!("x: {prefix}this is part 2 of itself; `stepwright.dev/part-of` names the ConfigMap with part 1"),
        ),
        (
            vec![part("x", "p", "1/2", b"d")],
            format!("x: {prefix}this is part 1, and `stepwright.dev/part-of` names ConfigMap `p`; the name of a plugin is that of its part 1"),
        ),
        (
            vec![part("x", "p", "2", b"d")],
            format!("x: AnnotationInvalid: annotation `stepwright.dev/part` is `2`; what is accepted is `k/n`, such as `2/3`, with n at most {MOST_PARTS}"),
        ),
        (
            vec![part("x", "P!", "2/2", b"d")],
            "x: AnnotationInvalid: annotation `stepwright.dev/part-of` is `P!`; what is accepted is the name of the ConfigMap that holds part 1".to_owned(),
        ),
        (
            vec![annotated(plugin("x"), &[(wish::PART_OF, "p")])],
            "x: AnnotationContradicts: annotation `stepwright.dev/part-of` has no effect: it goes with `stepwright.dev/part`, which says which part this is, such as `2/3`".to_owned(),
        ),
    ] {
        assert_eq!(refused(maps), expected);
    }
}

#[test]
fn parts_of_the_next_version_are_waited_for_one_after_the_other() {
    let digest = |bytes: &[u8]| stepwright_core::guest::Digest::of(bytes).to_string();
    let of = |whole: &[u8], map: ConfigMap| annotated(map, &[(wish::PARTS_DIGEST, &digest(whole))]);
    let (old, new) = (b"abcdef", b"ABCDEF");
    let (old_1, old_2) = (of(old, part("p", "p", "1/2", b"abc")), of(old, part("x", "p", "2/2", b"def")));
    let (new_1, new_2) = (of(new, part("p", "p", "1/2", b"ABC")), of(new, part("x", "p", "2/2", b"DEF")));
    let waiting = "p: PartsMissing: 1 of 2 parts are here; part 2 is still to come";
    assert_eq!(read(vec![old_1.clone(), old_2.clone()]).0[0].component, Component::Inline(old.to_vec()));
    assert_eq!(refused(vec![new_1.clone(), old_2]), waiting);
    assert_eq!(refused(vec![old_1, new_2.clone()]), waiting);
    assert_eq!(read(vec![new_1.clone(), new_2]).0[0].component, Component::Inline(new.to_vec()));

    let false_one = of(new, part("x", "p", "2/2", b"DEf"));
    let (is, not) = (digest(b"ABCDEf"), digest(new));
    let prefix = "p: PartsInconsistent: the parts of the plugin do not fit together: ";
    assert_eq!(refused(vec![new_1, false_one]), format!("{prefix}together they have the digest {is}, not {not}"));
    assert_eq!(
        refused(vec![of(new, plugin("p"))]),
        "p: AnnotationContradicts: annotation `stepwright.dev/parts-digest` has no effect: it goes with `stepwright.dev/part`, which says which part this is, such as `2/3`"
    );
}

fn maps_of(chunks: &[&[u8]], packing: Packing) -> Vec<ConfigMap> {
    let numbered = chunks.iter().enumerate();
    let made = numbered.map(|(index, chunk)| {
        let number = format!("{}/{}", index + 1, chunks.len());
        let name = if index == 0 { "p".to_owned() } else { format!("p-{}", index + 1) };
        annotated(bytes(bare(&name), packing.key(), chunk), &[(wish::PART_OF, "p"), (wish::PART, &number)])
    });
    made.collect()
}

fn some_map() -> impl Strategy<Value = ConfigMap> {
    let name = prop::sample::select(vec!["p", "x", "y"]);
    let keys: Vec<&str> = wish::ALL.into_iter().chain(told::ALL).chain(["stepwright.dev/else", "else"]).collect();
    let values = vec!["1/2", "2/2", "3/2", "p", "x", "canary", "shadow", "live", "5", "-1", "a=b", "", "é", "\u{0}"];
    let value = prop_oneof![prop::sample::select(values).prop_map(str::to_owned), ".{0,12}"];
    let annotations = prop::collection::btree_map(prop::sample::select(keys).prop_map(str::to_owned), value, 0..4);
    let texts = prop_oneof![Just("{}".to_owned()), "[{}\\[\\]\":a1,]{0,12}", ".{0,12}"];
    let data_keys = vec!["settings", "calls", "signature", "else"];
    let texts = prop::collection::btree_map(prop::sample::select(data_keys).prop_map(str::to_owned), texts, 0..3);
    let binary_keys = vec!["plugin.wasm", "plugin.wasm.zst", "plugin.wasm.gz", "else"];
    let packed = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(zstd(COMPONENT)),
        Just(gzip(COMPONENT)),
        (0..80_usize, any::<u8>()).prop_map(|(at, byte)| {
            let mut packed = zstd(&COMPONENT.repeat(3));
            let length = packed.len();
            packed[at % length] = byte;
            packed
        }),
    ];
    let binary = prop::collection::btree_map(prop::sample::select(binary_keys).prop_map(str::to_owned), packed, 0..3);
    (name, annotations, texts, binary).prop_map(|(name, annotations, texts, binary)| {
        let mut map = bare(name);
        map.metadata.annotations = Some(annotations);
        map.data = Some(texts);
        map.binary_data = Some(binary.into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect());
        map
    })
}

proptest! {
    #[test]
    fn whatever_the_maps_are_each_is_an_offer_or_an_error(maps in prop::collection::vec(some_map(), 0..4)) {
        let names: Vec<String> = maps.iter().filter_map(|map| map.metadata.name.clone()).collect();
        let (offers, errors) = read(maps.clone());
        prop_assert!(offers.len() + errors.len() <= maps.len());
        prop_assert!(maps.is_empty() || offers.len() + errors.len() > 0);
        for name in offers.iter().map(|offer| &offer.name).chain(errors.iter().map(|(name, _)| name)) {
            prop_assert!(names.contains(name), "`{name}` is no ConfigMap of these");
        }
    }

    #[test]
    fn what_was_cut_is_put_together_again(
        component in prop::collection::vec(any::<u8>(), 1..3_000),
        size in 1..900_usize,
        packing in prop::sample::select(Packing::ALL.to_vec()),
    ) {
        let packed = match packing {
            Packing::Plain => component.clone(),
            Packing::Gzip => gzip(&component),
            Packing::Zstd => zstd(&component),
        };
        let size = size.max(packed.len().div_ceil(MOST_PARTS));
        let chunks: Vec<&[u8]> = packed.chunks(size).collect();
        let (offers, errors) = read(maps_of(&chunks, packing));
        prop_assert_eq!(errors, []);
        let sorted: BTreeMap<_, _> = offers.into_iter().map(|offer| (offer.name, offer.component)).collect();
        prop_assert_eq!(sorted, BTreeMap::from([("p".to_owned(), Component::Inline(component))]));
    }
}
