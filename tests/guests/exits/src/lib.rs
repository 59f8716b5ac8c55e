//! Ends its process instead of answering.

guest_kit::step_plugin!("exits", "{}", |_| std::process::exit(0));
