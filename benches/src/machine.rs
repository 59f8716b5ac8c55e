//! One line on when and on what a measurement was taken. Linux only, like the development cluster.

use k8s_openapi::jiff::Timestamp;

/// Date, processor, memory, kernel, what else the machine did in the minute before, and how this was built.
pub fn line() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let found = text.lines().find(|line| line.starts_with(key));
        found.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kib: u64 = after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let load = read("/proc/loadavg");
    format!(
        "{}; {}, {cores} cores, {} GiB; Linux {}; load {} in the minute before; {} build.",
        Timestamp::now().strftime("%Y-%m-%d"),
        after(&read("/proc/cpuinfo"), "model name"),
        kib >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("unknown"),
        if cfg!(debug_assertions) { "debug" } else { "release" },
    )
}
