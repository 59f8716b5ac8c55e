//! Logs far more than it may, over-long lines among them, to both of the ways out, and then answers.

use guest_kit::log;

guest_kit::step_plugin!("floods-log", r#"{"logLines":10,"milliseconds":10000}"#, |_| {
    let long = "x".repeat(100_000);
    for line in 0..1_000 {
        log::write(log::Level::Info, &format!("line {line}"), &[("line".into(), line.to_string())]);
        println!("printed {line}");
    }
    log::write(log::Level::Info, &long, &[("also".into(), long.clone())]);
    Ok(guest_kit::nothing())
});
