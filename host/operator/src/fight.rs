//! Fields that Stepwright puts back and somebody else changes again, over and over: noticed, named, and left alone for a while
//! that grows. Reading the other manager's name from the cluster is the caller's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stepwright_core::object::ObjectRef;

/// So many times within `WINDOW` is a fight.
const TIMES: usize = 4;
const WINDOW: Duration = Duration::from_secs(75);
/// How long a field is left alone at first; twice as long each time that it goes on, up to a ceiling.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);

/// What a fight is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fight {
    pub field: String,
    pub manager: String,
    /// How long the object is left alone.
    pub pause: Duration,
}

#[derive(Default)]
struct OfObject {
    field: String,
    /// When it was put back lately.
    times: Vec<Instant>,
    /// Left alone until then, and what is said meanwhile.
    paused: Option<(Instant, Fight)>,
}

/// The objects that were put back lately, by primary and object.
#[derive(Default)]
pub(crate) struct Fights {
    objects: Mutex<HashMap<(ObjectRef, ObjectRef), OfObject>>,
}

impl Fights {
    /// The fight because of which an object is left alone now.
    pub(crate) fn paused(&self, primary: &ObjectRef, object: &ObjectRef, now: Instant) -> Option<Fight> {
        let objects = self.objects.lock();
        let (until, fight) = objects.get(&(primary.clone(), object.clone()))?.paused.as_ref()?;
        (now < *until).then(|| fight.clone())
    }

    /// Whether putting `field` back once more would be a fight, if somebody else wrote it.
    pub(crate) fn is_suspect(&self, primary: &ObjectRef, object: &ObjectRef, field: &str, now: Instant) -> bool {
        let objects = self.objects.lock();
        let Some(of) = objects.get(&(primary.clone(), object.clone())).filter(|of| of.field == field) else {
            return false;
        };
        let recent = of.times.iter().filter(|time| now.duration_since(**time) < WINDOW).count();
        // After a pause it is tried once more; changed again, it goes on.
        let goes_on = of.paused.as_ref().is_some_and(|(until, fight)| now < *until + 2 * fight.pause);
        recent + 1 >= TIMES || (goes_on && recent > 0)
    }

    /// `field` is being put back.
    pub(crate) fn put_back(&self, primary: &ObjectRef, object: &ObjectRef, field: &str, now: Instant) {
        let mut objects = self.objects.lock();
        objects.retain(|_, of| {
            of.times.retain(|time| now.duration_since(*time) < WINDOW);
            !of.times.is_empty() || of.paused.as_ref().is_some_and(|(until, fight)| now < *until + 2 * fight.pause)
        });
        let of = objects.entry((primary.clone(), object.clone())).or_default();
        if of.field != field {
            *of = OfObject { field: field.to_owned(), ..OfObject::default() };
        }
        of.times.push(now);
    }

    /// Leaves the object alone: twice as long as last time.
    pub(crate) fn pause(
        &self,
        primary: &ObjectRef,
        object: &ObjectRef,
        field: &str,
        manager: String,
        now: Instant,
    ) -> Fight {
        let mut objects = self.objects.lock();
        let of = objects.entry((primary.clone(), object.clone())).or_default();
        let pause = of.paused.as_ref().map_or(PAUSE, |(_, last)| (last.pause * 2).min(LONGEST));
        let fight = Fight { field: field.to_owned(), manager, pause };
        of.field = field.to_owned();
        of.times.clear();
        of.paused = Some((now + pause, fight.clone()));
        fight
    }

    /// The primary is gone.
    pub(crate) fn forget(&self, primary: &ObjectRef) {
        self.objects.lock().retain(|(of, _), _| of != primary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ObjectRef {
        ObjectRef { api_version: "v1".into(), kind: "X".into(), namespace: None, name: name.into() }
    }

    #[test]
    fn the_fourth_time_within_the_window_is_suspect() {
        let (fights, start) = (Fights::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for second in [0, 1, 2] {
            assert!(!fights.is_suspect(&id("p"), &id("o"), "spec.x", at(second)));
            fights.put_back(&id("p"), &id("o"), "spec.x", at(second));
        }
        assert!(fights.is_suspect(&id("p"), &id("o"), "spec.x", at(3)));
        // Another field, another object, or much later: none.
        assert!(!fights.is_suspect(&id("p"), &id("o"), "spec.y", at(3)));
        assert!(!fights.is_suspect(&id("p"), &id("other"), "spec.x", at(3)));
        assert!(!fights.is_suspect(&id("p"), &id("o"), "spec.x", at(100)));
    }

    #[test]
    fn pauses_grow_while_it_goes_on_and_end() {
        let (fights, start) = (Fights::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let first = fights.pause(&id("p"), &id("o"), "f", "them".into(), at(0));
        assert_eq!(first.pause, PAUSE);
        assert_eq!(fights.paused(&id("p"), &id("o"), at(4)), Some(first));
        assert_eq!(fights.paused(&id("p"), &id("o"), at(5)), None);
        assert!(!fights.is_suspect(&id("p"), &id("o"), "f", at(5)));
        // Tried once more after the pause, and changed again: at once a fight, and a longer one.
        fights.put_back(&id("p"), &id("o"), "f", at(5));
        assert!(fights.is_suspect(&id("p"), &id("o"), "f", at(6)));
        assert_eq!(fights.pause(&id("p"), &id("o"), "f", "them".into(), at(6)).pause, PAUSE * 2);
        assert!(!fights.is_suspect(&id("p"), &id("o"), "f", at(1_000)));
        fights.put_back(&id("p"), &id("elsewhere"), "f", at(1_000));
        assert_eq!(fights.pause(&id("p"), &id("o"), "f", "them".into(), at(1_000)).pause, PAUSE, "forgotten");
    }
}
