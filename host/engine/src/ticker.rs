//! The clock that ends guests which do not end by themselves. Runs only while a guest does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Advances the engine's epoch on a thread of its own, until dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    tick: Duration,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Calls under way. With none, the thread sleeps: an idle operator should not wake two hundred times a second.
    running: AtomicUsize,
}

/// While it lives, the clock runs.
pub(crate) struct Running<'a>(&'a Ticker);

impl Ticker {
    pub(crate) fn start(engine: wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("guest-ticker".to_owned())
            .spawn(move || run(&for_thread, tick, || engine.increment_epoch()))?;
        Ok(Self { shared, thread: Some(thread), tick })
    }

    pub(crate) fn running(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.wake();
        }
        Running(self)
    }

    /// Ticks after which at least this long has passed: one more, since the first may be about to end.
    pub(crate) fn ticks(&self, limit: Duration) -> u64 {
        let ticks = limit.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // Only a panic in `increment_epoch` could be lost here, and it does not panic.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, tick: Duration, mut advance: impl FnMut()) {
    let mut last = Instant::now();
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) == 0 {
            thread::park();
            last = Instant::now();
            continue;
        }
        thread::park_timeout(tick.saturating_sub(last.elapsed()));
        // A wake-up may come early, by `unpark`; it must not shorten anybody's deadline. Late ones are not made up for,
        // else a stalled machine would end guests that have hardly run.
        if last.elapsed() >= tick {
            advance();
            last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_shorter_than_asked_for() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine, Duration::from_millis(5)).unwrap();
        assert_eq!(ticker.ticks(Duration::from_millis(50)), 11);
        assert_eq!(ticker.ticks(Duration::from_millis(51)), 12);
        assert_eq!(ticker.ticks(Duration::ZERO), 1);
    }

    #[test]
    fn ticks_only_while_something_runs_and_not_sooner_when_woken() {
        let shared = Arc::new(Shared::default());
        let ticks = Arc::new(AtomicUsize::new(0));
        let (for_thread, counted) = (Arc::clone(&shared), Arc::clone(&ticks));
        let tick = Duration::from_millis(20);
        let thread = thread::spawn(move || {
            run(&for_thread, tick, || {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        });

        thread.thread().unpark();
        assert_eq!(ticks.load(Ordering::SeqCst), 0);

        let began = Instant::now();
        shared.running.store(1, Ordering::SeqCst);
        while ticks.load(Ordering::SeqCst) < 3 {
            thread.thread().unpark();
            thread::yield_now();
        }
        assert!(began.elapsed() >= tick * 3, "{:?}", began.elapsed());

        shared.stop.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        thread.join().unwrap();
    }
}
