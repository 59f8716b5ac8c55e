//! Reads and checks what a plugin says of itself. Whether its wishes are granted is decided elsewhere.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;
use stepwright_core::manifest::{Limits, Manifest, StepManifest};
use stepwright_core::reset::may_rest_at;
use stepwright_core::take::covers;

use crate::contract::World;

/// Why a manifest is refused. The message is for the plugin's author.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("its manifest: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("its manifest names no version")]
    NoVersion,
    #[error("its manifest calls the {what} `{name}`: names are lower-case letters, digits and dashes, at most 63")]
    Name { what: &'static str, name: String },
    #[error("its manifest names no step")]
    NoSteps,
    #[error("its manifest names the step `{0}` twice")]
    Twice(String),
    #[error("its manifest names steps, and a {0} has none")]
    Steps(World),
    #[error("its check `{0}` asks to write or to call: an admission-plugin does neither")]
    CheckActs(String),
    #[error("its manifest has no `policy`, which says which steps it reviews")]
    NoPolicy,
    #[error("its manifest has a `policy`, and it is of the world {0}")]
    Policy(World),
    #[error("its policy reviews no step; `*` stands for every one")]
    ReviewsNothing,
    #[error("its step `{step}` takes fields of {kind}, which it does not write")]
    TakesUnwritten { step: String, kind: String },
    #[error(
        "its step `{step}` takes `{field}` of {kind}: a field is a dotted path of at least two names, below `metadata` none"
    )]
    Takes { step: String, kind: String, field: String },
    #[error(
        "its step `{step}` resets `{field}`: a request is a field of the spec that the step reads, and it rests at true, false or a number"
    )]
    Resets { step: String, field: String },
    #[error("its step `{step}` changes `{field}`: what follows something is a field of the spec that the step reads")]
    Follows { step: String, field: String },
    #[error("its step `{step}` reads a part of the fact `{fact}`, which is not among its `facts`")]
    PartOfNothing { step: String, fact: String },
    #[error("{of} asks for {what} = {asked}: between {least} and {most} can be had here")]
    Limit { of: String, what: &'static str, asked: u64, least: u64, most: u64 },
}

/// Reads the text and checks that it makes sense for a plugin of this world, whatever a host would grant.
pub(crate) fn read(text: &str, world: World) -> Result<Manifest, Unfit> {
    let manifest: Manifest = serde_json::from_str(text)?;
    name("plugin", &manifest.name)?;
    if manifest.version.is_empty() {
        return Err(Unfit::NoVersion);
    }
    match world {
        World::Step | World::Admission if manifest.steps.is_empty() => return Err(Unfit::NoSteps),
        World::Policy if !manifest.steps.is_empty() => return Err(Unfit::Steps(world)),
        World::Admission => {
            let acts = |step: &&StepManifest| {
                !(step.writes.is_empty() && step.calls.is_empty() && step.begins.is_empty()) || step.retires
            };
            if let Some(step) = manifest.steps.iter().find(acts) {
                return Err(Unfit::CheckActs(step.name.clone()));
            }
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for step in &manifest.steps {
        name("step", &step.name)?;
        if !seen.insert(step.name.as_str()) {
            return Err(Unfit::Twice(step.name.clone()));
        }
        takes(step)?;
        resets(step)?;
        follows(step)?;
        let read = |fact: &&String| step.facts.contains(fact) || step.facts_when.contains_key(*fact);
        if let Some(fact) = step.fact_parts.keys().find(|fact| !read(fact)) {
            return Err(Unfit::PartOfNothing { step: step.name.clone(), fact: fact.chars().take(80).collect() });
        }
    }
    match &manifest.policy {
        None if world == World::Policy => return Err(Unfit::NoPolicy),
        Some(_) if world != World::Policy => return Err(Unfit::Policy(world)),
        Some(policy) if policy.reviews.is_empty() => return Err(Unfit::ReviewsNothing),
        Some(policy) => policy.reviews.iter().filter(|it| *it != "*").try_for_each(|it| name("step", it))?,
        None => {}
    }
    Ok(manifest)
}

/// Checks that no limit asked for is above what can be had here.
pub(crate) fn within(manifest: &Manifest, ceiling: &Limits) -> Result<(), Unfit> {
    for step in &manifest.steps {
        limits(|| format!("step `{}`", step.name), &step.limits, ceiling)?;
    }
    manifest.policy.as_ref().map_or(Ok(()), |policy| limits(|| "its policy".to_owned(), &policy.limits, ceiling))
}

/// The first difference, as the path and both values. None: they are the same.
pub(crate) fn difference(carried: &Manifest, described: &Manifest) -> Result<Option<String>, Unfit> {
    let (carried, described) = (serde_json::to_value(carried)?, serde_json::to_value(described)?);
    Ok(differs(&mut String::new(), &carried, &described))
}

fn differs(path: &mut String, carried: &Value, described: &Value) -> Option<String> {
    let missing = Value::Null;
    let mut below = |key: &str, carried: &Value, described: &Value| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        let found = differs(path, carried, described);
        path.truncate(length);
        found
    };
    match (carried, described) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            keys.into_iter()
                .find_map(|key| below(key, ours.get(key).unwrap_or(&missing), theirs.get(key).unwrap_or(&missing)))
        }
        (Value::Array(ours), Value::Array(theirs)) => (0..ours.len().max(theirs.len())).find_map(|at| {
            below(&at.to_string(), ours.get(at).unwrap_or(&missing), theirs.get(at).unwrap_or(&missing))
        }),
        _ if carried == described => None,
        _ => Some(format!("`{path}` is {} there, and it says {}", short(carried), short(described))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn name(what: &'static str, name: &str) -> Result<(), Unfit> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(Unfit::Name { what, name: name.chars().take(80).collect() })
}

/// What is taken is narrow, and of a kind that is written.
fn takes(step: &StepManifest) -> Result<(), Unfit> {
    for taken in &step.takes {
        let kind = taken.type_ref();
        if !step.writes.contains(&kind) {
            return Err(Unfit::TakesUnwritten { step: step.name.clone(), kind: kind.to_string() });
        }
        let narrow = |field: &&String| {
            field.contains('.') && field.split('.').all(|name| !name.is_empty()) && !field.starts_with("metadata.")
        };
        if let Some(field) = taken.fields.iter().find(|field| !narrow(field)) {
            let field = field.chars().take(80).collect();
            return Err(Unfit::Takes { step: step.name.clone(), kind: kind.to_string(), field });
        }
    }
    Ok(())
}

/// What is set back is a field of the spec that the step looks at: it answers a wish, and must have seen it.
fn resets(step: &StepManifest) -> Result<(), Unfit> {
    let fits = |field: &str, rests_at: &Value| {
        let named = field.strip_prefix("spec.").is_some_and(|path| path.split('.').all(|name| !name.is_empty()));
        named && may_rest_at(rests_at) && step.primary.iter().any(|read| covers(read, field))
    };
    match step.resets.iter().find(|(field, rests_at)| !fits(field, rests_at)) {
        None => Ok(()),
        Some((field, _)) => Err(Unfit::Resets { step: step.name.clone(), field: field.chars().take(80).collect() }),
    }
}

/// The same of what follows something.
fn follows(step: &StepManifest) -> Result<(), Unfit> {
    let fits = |field: &&String| {
        let named = field.strip_prefix("spec.").is_some_and(|path| path.split('.').all(|name| !name.is_empty()));
        named && step.primary.iter().any(|read| covers(read, field))
    };
    match step.follows.iter().find(|field| !fits(field)) {
        None => Ok(()),
        Some(field) => Err(Unfit::Follows { step: step.name.clone(), field: field.chars().take(80).collect() }),
    }
}

fn limits(of: impl Fn() -> String, asked: &Limits, ceiling: &Limits) -> Result<(), Unfit> {
    let fuel = asked.fuel.map(|fuel| ("fuel", fuel, 1, ceiling.fuel.unwrap_or(u64::MAX)));
    let rest = [
        ("memoryMib", asked.memory_mib, 1, ceiling.memory_mib),
        ("milliseconds", asked.milliseconds, 1, ceiling.milliseconds),
        ("planKib", asked.plan_kib, 1, ceiling.plan_kib),
        ("logLines", asked.log_lines, 0, ceiling.log_lines),
        ("logKib", asked.log_kib, 0, ceiling.log_kib),
        ("objects", asked.objects, 0, ceiling.objects),
        ("calls", asked.calls, 0, ceiling.calls),
        ("rounds", asked.rounds, 1, ceiling.rounds),
    ];
    let rest = rest.map(|(what, asked, least, most)| (what, asked.into(), least, most.into()));
    for (what, asked, least, most) in rest.into_iter().chain(fuel) {
        if !(least..=most).contains(&asked) {
            return Err(Unfit::Limit { of: of(), what, asked, least, most });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(world: World, text: &str, expected: Result<(), &str>) {
        let ceiling = Limits { memory_mib: 128, ..Limits::default() };
        let found = read(text, world).and_then(|it| within(&it, &ceiling)).map_err(|unfit| unfit.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_manifest_is_refused_in_words() {
        check(World::Step, r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]}]}"#, Ok(()));
        check(World::Policy, r#"{"name":"a","version":"1","policy":{"reviews":["*","rec"]}}"#, Ok(()));
        check(
            World::Policy,
            r#"{"name":"a","version":"1"}"#,
            Err("its manifest has no `policy`, which says which steps it reviews"),
        );
        check(
            World::Policy,
            r#"{"name":"a","version":"1","policy":{"reviews":[]}}"#,
            Err("its policy reviews no step; `*` stands for every one"),
        );
        check(
            World::Policy,
            r#"{"name":"a","version":"1","policy":{"reviews":["*"],"limits":{"logKib":65}}}"#,
            Err("its policy asks for logKib = 65: between 0 and 64 can be had here"),
        );
        check(
            World::Admission,
            r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]}],"policy":{"reviews":["*"]}}"#,
            Err("its manifest has a `policy`, and it is of the world admission-plugin"),
        );
        check(World::Admission, r#"{"name":"a","version":"1"}"#, Err("its manifest names no step"));
        check(
            World::Admission,
            r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[],"calls":["GET /v1/bdbs"]}]}"#,
            Err("its check `s` asks to write or to call: an admission-plugin does neither"),
        );
        check(World::Step, r#"{"name":"a","version":"1"}"#, Err("its manifest names no step"));
        check(World::Step, r#"{"name":"a","version":""}"#, Err("its manifest names no version"));
        check(
            World::Policy,
            r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]}]}"#,
            Err("its manifest names steps, and a policy-plugin has none"),
        );
        check(
            World::Step,
            r#"{"name":"A b","version":"1"}"#,
            Err("its manifest calls the plugin `A b`: names are lower-case letters, digits and dashes, at most 63"),
        );
        check(
            World::Step,
            r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]},{"name":"s","primary":[]}]}"#,
            Err("its manifest names the step `s` twice"),
        );
        check(
            World::Step,
            r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[],"limits":{"memoryMib":129}}]}"#,
            Err("step `s` asks for memoryMib = 129: between 1 and 128 can be had here"),
        );
    }

    #[test]
    fn a_part_is_one_of_a_fact_that_is_read() {
        let text = |facts: &str| {
            format!(
                r#"{{"name":"a","version":"1","steps":[{{"name":"s","primary":[],{facts},"factParts":
                {{"things":{{"fields":["uid"],"items":[{{"name":"$(metadata.name)"}}]}}}}}}]}}"#
            )
        };
        check(World::Step, &text(r#""facts":["things"]"#), Ok(()));
        check(World::Step, &text(r#""factsWhen":{"things":"spec.x"}"#), Ok(()));
        let refused = "its step `s` reads a part of the fact `things`, which is not among its `facts`";
        check(World::Step, &text(r#""facts":["others"]"#), Err(refused));
    }

    #[test]
    fn what_is_taken_is_narrow_and_of_a_kind_that_is_written() {
        let text = |kind: &str, field: &str| {
            format!(
                r#"{{"name":"a","version":"1","steps":[{{"name":"s","primary":[],"writes":[{{"apiVersion":"v1","kind":"Pod"}}],
                "takes":[{{"apiVersion":"v1","kind":"{kind}","fields":["{field}"]}}]}}]}}"#
            )
        };
        check(World::Step, &text("Pod", "spec.nodeName"), Ok(()));
        check(
            World::Step,
            &text("Service", "spec.type"),
            Err("its step `s` takes fields of v1/Service, which it does not write"),
        );
        for field in ["spec", "", "spec.", "metadata.labels"] {
            let refused = format!(
                "its step `s` takes `{field}` of v1/Pod: a field is a dotted path of at least two names, below `metadata` none"
            );
            check(World::Step, &text("Pod", field), Err(&refused));
        }
    }

    #[test]
    fn what_is_reset_is_read_and_rests_at_something_plain() {
        let text = |field: &str, rests_at: &str| {
            format!(
                r#"{{"name":"a","version":"1","steps":[{{"name":"s","primary":["spec.a"],"resets":{{"{field}":{rests_at}}}}}]}}"#
            )
        };
        check(World::Step, &text("spec.a", "false"), Ok(()));
        check(World::Step, &text("spec.a.b", "0"), Ok(()));
        for (field, rests_at) in
            [("spec.b", "false"), ("spec.a.", "false"), ("status.a", "0"), ("spec", "0"), ("spec.a", r#""x""#)]
        {
            let refused = format!(
                "its step `s` resets `{field}`: a request is a field of the spec that the step reads, and it rests at true, false or a number"
            );
            check(World::Step, &text(field, rests_at), Err(&refused));
        }
    }

    #[test]
    fn what_follows_something_is_a_field_of_the_spec_that_is_read() {
        let text = |field: &str| {
            format!(
                r#"{{"name":"a","version":"1","steps":[{{"name":"s","primary":["spec.a"],"follows":["{field}"]}}]}}"#
            )
        };
        check(World::Step, &text("spec.a"), Ok(()));
        for field in ["spec", "spec.b", "status.a", "metadata.name"] {
            let refused = format!(
                "its step `s` changes `{field}`: what follows something is a field of the spec that the step reads"
            );
            check(World::Step, &text(field), Err(&refused));
        }
    }

    #[test]
    fn fuel_is_capped_where_there_is_a_cap() {
        let text = r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[],"limits":{"fuel":1001}}]}"#;
        let manifest = read(text, World::Step).unwrap();
        within(&manifest, &Limits::default()).unwrap();
        let ceiling = Limits { fuel: Some(1000), ..Limits::default() };
        let refused = within(&manifest, &ceiling).unwrap_err().to_string();
        assert_eq!(refused, "step `s` asks for fuel = 1001: between 1 and 1000 can be had here");
    }

    #[test]
    fn the_first_difference_is_named() {
        let manifest = |primary| {
            let text = format!(r#"{{"name":"a","version":"1","steps":[{{"name":"s","primary":{primary}}}]}}"#);
            read(&text, World::Step).unwrap()
        };
        let (one, two) = (manifest(r#"["spec"]"#), manifest(r#"["spec","status"]"#));
        assert_eq!(difference(&one, &one).unwrap(), None);
        let found = difference(&one, &two).unwrap();
        assert_eq!(found.as_deref(), Some(r#"`steps.0.primary.1` is null there, and it says "status""#));
    }
}
