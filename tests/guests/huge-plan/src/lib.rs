//! Answers with more than it may.

guest_kit::step_plugin!("huge-plan", r#"{"planKib":64,"milliseconds":5000}"#, |_| Ok(guest_kit::Plan {
    status: Some(guest_kit::quoted(&"x".repeat(1 << 20))),
    ..guest_kit::nothing()
}));
