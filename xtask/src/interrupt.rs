//! Ctrl-C and SIGTERM: what runs is ended, what was started is taken down, and then we go.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

static CURRENT: Mutex<Option<u32>> = Mutex::new(None);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The program that runs now, as long as this value lives.
pub(crate) struct Current;

impl Current {
    pub(crate) fn new(pid: u32) -> Self {
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        Self
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// From now on an interrupt takes down, and ends the process.
pub(crate) fn take_down_with(take_down: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The handlers are there before this returns, so that none comes too early.
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::SeqCst);
        let current = *CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = current {
            // In a terminal it was interrupted as well, and may be gone.
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        eprintln!("\ninterrupted: taking everything down");
        take_down();
        std::process::exit(130);
    });
    Ok(())
}

/// Called where something failed: if that was the interrupt's doing, the interrupt goes on alone.
pub(crate) fn give_way() {
    // The signal reaches the program that runs and us at the same moment.
    std::thread::sleep(Duration::from_millis(200));
    if INTERRUPTED.load(Ordering::SeqCst) {
        loop {
            std::thread::park();
        }
    }
}
