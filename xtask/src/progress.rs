//! Says what is being done, and since when.

use std::time::Instant;

/// A task of several steps.
pub(crate) struct Progress {
    started: Instant,
    step: Option<(String, Instant)>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), step: None }
    }

    /// Begins a step; the one before it is done.
    pub(crate) fn step(&mut self, what: &str) {
        self.finish();
        println!("{} {what}", self.clock());
        self.step = Some((what.to_owned(), Instant::now()));
    }

    /// Something worth knowing within a step.
    pub(crate) fn note(&self, what: &str) {
        println!("{}   {what}", self.clock());
    }

    /// The last step is done.
    pub(crate) fn finish(&mut self) {
        if let Some((_, since)) = self.step.take()
            && since.elapsed().as_millis() >= 100
        {
            println!("{}   done in {:.1} s", self.clock(), since.elapsed().as_secs_f64());
        }
    }

    /// What was being done.
    pub(crate) fn current(&self) -> &str {
        self.step.as_ref().map_or("starting", |(what, _)| what)
    }

    pub(crate) fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn clock(&self) -> String {
        format!("[{:6.1} s]", self.elapsed())
    }
}
