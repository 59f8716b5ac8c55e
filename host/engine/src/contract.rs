//! Which version of the contract a component was built for, and which world of it. Names only: nothing is compiled here.

pub use stepwright_core::world::World;

/// The version of the package `stepwright:plugin` that this host speaks.
pub const CONTRACT: &str = "0.1.0";

const PACKAGE: &str = "stepwright:plugin/";

/// WASI, as far as a guest's standard library needs it to start. Sockets and HTTP are not among it.
const EMPTY_WORLD: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

/// Why a component does not fit. The message is for the plugin's author.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("it was built for stepwright:plugin@{theirs}, and this host speaks {CONTRACT}")]
    Version { theirs: String },
    #[error("it imports `{0}`, which plugins are not given")]
    Import(String),
    #[error("it exports none of step, policy and admission of stepwright:plugin@{CONTRACT}")]
    NoWorld,
    #[error("it exports more than one of step, policy and admission; make a plugin of each")]
    ManyWorlds,
}

/// The world of a component with these imports and exports, and the version of the contract that it was built for.
pub(crate) fn world<'a>(
    imports: impl IntoIterator<Item = &'a str>,
    exports: impl IntoIterator<Item = &'a str>,
) -> Result<(World, &'a str), Misfit> {
    for name in imports {
        match name.strip_prefix(PACKAGE) {
            Some(interface) => spoken(interface)?,
            None if EMPTY_WORLD.iter().any(|known| name.starts_with(known)) => {}
            None => return Err(Misfit::Import(name.to_owned())),
        }
    }
    let mut found = None;
    for interface in exports.into_iter().filter_map(|name| name.strip_prefix(PACKAGE)) {
        spoken(interface)?;
        let (name, version) = interface.split_once('@').unwrap_or((interface, ""));
        if let Some(world) = World::ALL.into_iter().find(|world| world.interface() == name)
            && found.replace((world, version)).is_some()
        {
            return Err(Misfit::ManyWorlds);
        }
    }
    found.ok_or(Misfit::NoWorld)
}

/// Before 1.0, versions of one minor version fit each other; from then on, of one major version.
fn spoken(interface: &str) -> Result<(), Misfit> {
    let theirs = interface.split_once('@').map_or("no version", |(_, version)| version);
    if track(theirs).is_some() && track(theirs) == track(CONTRACT) {
        return Ok(());
    }
    Err(Misfit::Version { theirs: theirs.to_owned() })
}

fn track(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    // A pre-release fits nothing but itself, and none is ours.
    let _patch: u32 = numbers.next()?.parse().ok()?;
    Some(if major == 0 { (major, minor) } else { (major, 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(imports: &[&str], exports: &[&str], expected: Result<World, &str>) {
        let found = world(imports.iter().copied(), exports.iter().copied());
        assert_eq!(found.map(|(world, _)| world).map_err(|misfit| misfit.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_patch_apart_fits() {
        check(
            &["stepwright:plugin/log@0.1.7", "wasi:io/error@0.2.6"],
            &["stepwright:plugin/step@0.1.3"],
            Ok(World::Step),
        );
        check(&[], &["stepwright:plugin/plugin@0.1.0", "stepwright:plugin/policy@0.1.0"], Ok(World::Policy));
        check(&[], &["stepwright:plugin/admission@0.1.0"], Ok(World::Admission));
    }

    #[test]
    fn another_minor_version_is_refused_with_both_named() {
        let expected = Err("it was built for stepwright:plugin@0.2.0, and this host speaks 0.1.0");
        check(&[], &["stepwright:plugin/step@0.2.0"], expected);
        check(&["stepwright:plugin/log@0.2.0"], &["stepwright:plugin/step@0.1.0"], expected);
        check(
            &[],
            &["stepwright:plugin/step@0.1.1-rc.1"],
            Err("it was built for stepwright:plugin@0.1.1-rc.1, and this host speaks 0.1.0"),
        );
    }

    #[test]
    fn the_network_is_refused_by_name() {
        check(
            &["wasi:sockets/tcp@0.2.6"],
            &["stepwright:plugin/step@0.1.0"],
            Err("it imports `wasi:sockets/tcp@0.2.6`, which plugins are not given"),
        );
    }

    #[test]
    fn exactly_one_world() {
        check(
            &[],
            &["wasi:cli/run@0.2.6"],
            Err("it exports none of step, policy and admission of stepwright:plugin@0.1.0"),
        );
        check(
            &[],
            &["stepwright:plugin/step@0.1.0", "stepwright:plugin/policy@0.1.0"],
            Err("it exports more than one of step, policy and admission; make a plugin of each"),
        );
    }
}
