//! Looks for anything but its observation: environment, files, clocks, randomness. Notes down what it found.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

guest_kit::step_plugin!("looks-around", r#"{"milliseconds":2000}"#, |_| {
    println!("looking");
    eprintln!("around");
    let began = Instant::now();
    // A day: far more than the deadline. A sandbox whose time passes without waiting answers at once.
    std::thread::sleep(Duration::from_secs(86_400));
    let slept = began.elapsed() >= Duration::from_secs(86_400);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let random = RandomState::new().hash_one(1);
    let arguments = std::env::args().count();
    let variables = std::env::vars().count();
    let files = std::fs::read_dir("/").is_ok() || std::fs::write("/tmp/x", "x").is_ok();
    let input = std::io::read_to_string(std::io::stdin()).map_or(0, |text| text.len());
    Ok(guest_kit::Plan {
        notes: Some(format!(
            r#"{{"slept":{slept},"seconds":{seconds},"random":{random},"arguments":{arguments},"variables":{variables},"files":{files},"input":{input}}}"#
        )),
        ..guest_kit::nothing()
    })
});
