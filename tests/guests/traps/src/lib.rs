//! Panics in every call.

guest_kit::step_plugin!("traps", "{}", |observed: guest_kit::Observation| {
    panic!("no idea what to do about {}", observed.primary.id.name)
});
