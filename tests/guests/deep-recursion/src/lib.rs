//! Recurses until the stack ends.

guest_kit::step_plugin!("deep-recursion", r#"{"milliseconds":5000}"#, |observed: guest_kit::Observation| {
    Ok(guest_kit::Plan { notes: Some(deeper(u64::from(observed.round)).to_string()), ..guest_kit::nothing() })
});

#[allow(unconditional_recursion, reason = "the sin")]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 16]);
    // The sum after the call keeps it from becoming a loop.
    deeper(depth + 1).wrapping_add(here.iter().sum::<u64>())
}
