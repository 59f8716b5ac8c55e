//! Reads and checks what a plugin says of itself. Whether its wishes are granted is decided elsewhere.

use std::collections::HashSet;

use stepwright_core::manifest::{Limits, Manifest, StepManifest};

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
    #[error("step `{step}` asks for {what} = {asked}: between 1 and {most} can be had here")]
    Limit { step: String, what: &'static str, asked: u32, most: u32 },
}

pub(crate) fn read(text: &str, world: World, ceiling: &Limits) -> Result<Manifest, Unfit> {
    let manifest: Manifest = serde_json::from_str(text)?;
    name("plugin", &manifest.name)?;
    if manifest.version.is_empty() {
        return Err(Unfit::NoVersion);
    }
    match world {
        World::Step if manifest.steps.is_empty() => return Err(Unfit::NoSteps),
        World::Policy | World::Admission if !manifest.steps.is_empty() => return Err(Unfit::Steps(world)),
        _ => {}
    }
    let mut seen = HashSet::new();
    for step in &manifest.steps {
        name("step", &step.name)?;
        if !seen.insert(step.name.as_str()) {
            return Err(Unfit::Twice(step.name.clone()));
        }
        limits(step, ceiling)?;
    }
    Ok(manifest)
}

fn name(what: &'static str, name: &str) -> Result<(), Unfit> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(Unfit::Name { what, name: name.chars().take(80).collect() })
}

fn limits(step: &StepManifest, ceiling: &Limits) -> Result<(), Unfit> {
    let asked = &step.limits;
    for (what, asked, least, most) in [
        ("memoryMib", asked.memory_mib, 1, ceiling.memory_mib),
        ("milliseconds", asked.milliseconds, 1, ceiling.milliseconds),
        ("planKib", asked.plan_kib, 1, ceiling.plan_kib),
        ("logLines", asked.log_lines, 0, ceiling.log_lines),
    ] {
        if !(least..=most).contains(&asked) {
            return Err(Unfit::Limit { step: step.name.clone(), what, asked, most });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(world: World, text: &str, expected: Result<(), &str>) {
        let ceiling = Limits { memory_mib: 128, ..Limits::default() };
        let found = read(text, world, &ceiling).map(drop).map_err(|unfit| unfit.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_manifest_is_refused_in_words() {
        check(World::Step, r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]}]}"#, Ok(()));
        check(World::Policy, r#"{"name":"a","version":"1"}"#, Ok(()));
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
}
