//! Allocates and touches memory until it is stopped.

guest_kit::step_plugin!("eats-memory", r#"{"memoryMib":16,"milliseconds":5000}"#, |_| {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
});
