//! Never answers.

guest_kit::step_plugin!("spins", r#"{"milliseconds":50}"#, |_| {
    let mut turns = 0_u64;
    loop {
        // Not a bare `loop {}`: the turn must cost something that the compiler cannot take away.
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
});
