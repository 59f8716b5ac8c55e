//! How a version fares, and what follows: it stays, it is promoted, it is rolled back. Pure: the time comes in with each
//! judgement. Who is swapped for whom is decided elsewhere.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Mode;

/// What one pass has to say of a version: what promotion and rollback are decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Its plan was carried out.
    Good,
    /// A shadow's plan was the same as that of the version that answers.
    Agreed,
    /// A shadow's plan was another: how many fields differ.
    Differed(usize),
    /// It gave no plan that could be carried out: reason word and message.
    Bad { reason: String, message: String },
}

/// What follows from a judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Keep,
    /// It has earned to answer for every primary.
    Promote,
    /// It has failed too often: the reason word of the last failure, and a message with the numbers.
    RollBack {
        reason: String,
        message: String,
    },
}

/// When a version is taken back, and when promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failures within the window that are too many.
    pub faults: u32,
    /// Milliseconds.
    pub window: u64,
    /// Failures are too many only if they are this share of all judgements in the window, too.
    pub percent: u32,
    /// Good or agreeing passes in a row that promote.
    pub promote_after: Option<u32>,
}

impl Rules {
    /// For a version that takes part like this. One that is being tried out has less patience to expect: the version
    /// that it would replace is known to work.
    pub fn of(mode: &Mode, promote_after: Option<u32>) -> Self {
        let window = 5 * 60 * 1_000;
        match mode {
            Mode::Active => Self { faults: 3, window, percent: 10, promote_after: None },
            Mode::Canary(_) | Mode::Shadow => Self { faults: 2, window, percent: 0, promote_after },
        }
    }
}

/// How often a version was judged which way, since it was taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    pub good: u64,
    pub agreed: u64,
    pub differed: u64,
    pub bad: u64,
    /// Good or agreeing passes since the last that was neither.
    pub in_a_row: u32,
}

/// Parts of a window: the window moves on by one of them at a time.
const PARTS: u64 = 10;

#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    all: u64,
    bad: u64,
}

/// The state of one version.
#[derive(Debug, Clone)]
pub struct Health {
    rules: Rules,
    tally: Tally,
    recent: VecDeque<Part>,
    /// Nothing more follows once it was promoted or rolled back.
    decided: bool,
}

impl Health {
    pub fn new(rules: Rules) -> Self {
        Self { rules, tally: Tally::default(), recent: VecDeque::new(), decided: false }
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes note of a judgement at a time in milliseconds, which never goes back.
    pub fn record(&mut self, now: u64, judgement: &Judgement) -> Decision {
        match judgement {
            Judgement::Good => self.tally.good += 1,
            Judgement::Agreed => self.tally.agreed += 1,
            Judgement::Differed(_) => self.tally.differed += 1,
            Judgement::Bad { .. } => self.tally.bad += 1,
        }
        self.tally.in_a_row = match judgement {
            Judgement::Good | Judgement::Agreed => self.tally.in_a_row.saturating_add(1),
            Judgement::Differed(_) | Judgement::Bad { .. } => 0,
        };
        let (all, bad) = self.count(now, matches!(judgement, Judgement::Bad { .. }));
        if self.decided {
            return Decision::Keep;
        }
        let decision = match judgement {
            Judgement::Bad { reason, message } if self.too_many(all, bad) => {
                let minutes = self.rules.window / 60_000;
                let message =
                    format!("{bad} of {all} passes within {minutes} minutes failed, the last one so: {message}");
                Decision::RollBack { reason: reason.clone(), message }
            }
            _ if self.rules.promote_after.is_some_and(|after| self.tally.in_a_row >= after.max(1)) => Decision::Promote,
            _ => Decision::Keep,
        };
        self.decided = decision != Decision::Keep;
        decision
    }

    fn too_many(&self, all: u64, bad: u64) -> bool {
        bad >= u64::from(self.rules.faults) && bad.saturating_mul(100) >= all.saturating_mul(self.rules.percent.into())
    }

    /// Adds one to the window, and counts what is in it: all, and the bad ones.
    fn count(&mut self, now: u64, bad: bool) -> (u64, u64) {
        let number = now / (self.rules.window / PARTS).max(1);
        while self.recent.front().is_some_and(|part| part.number + PARTS <= number) {
            self.recent.pop_front();
        }
        if self.recent.back().is_none_or(|part| part.number != number) {
            self.recent.push_back(Part { number, all: 0, bad: 0 });
        }
        if let Some(part) = self.recent.back_mut() {
            part.all += 1;
            part.bad += u64::from(bad);
        }
        self.recent.iter().fold((0, 0), |(all, bad), part| (all + part.all, bad + part.bad))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Share;
    use super::*;

    fn bad() -> Judgement {
        Judgement::Bad { reason: "PluginTrapped".into(), message: "plugin `p` trapped".into() }
    }

    fn canary() -> Mode {
        Mode::Canary(Share::Percent(10))
    }

    #[test]
    fn an_active_version_goes_at_the_third_failure_and_says_why() {
        let mut health = Health::new(Rules::of(&Mode::Active, None));
        assert_eq!(health.record(0, &bad()), Decision::Keep);
        assert_eq!(health.record(1_000, &bad()), Decision::Keep);
        let Decision::RollBack { reason, message } = health.record(2_000, &bad()) else { panic!("kept") };
        assert_eq!(reason, "PluginTrapped");
        assert_eq!(message, "3 of 3 passes within 5 minutes failed, the last one so: plugin `p` trapped");
        assert_eq!(health.record(3_000, &bad()), Decision::Keep, "decided once");
    }

    #[test]
    fn a_canary_goes_at_the_second() {
        let mut health = Health::new(Rules::of(&canary(), None));
        assert_eq!(health.record(0, &bad()), Decision::Keep);
        assert!(matches!(health.record(1, &bad()), Decision::RollBack { .. }));
    }

    #[test]
    fn failures_far_apart_are_forgiven() {
        let mut health = Health::new(Rules::of(&Mode::Active, None));
        let five_minutes = 5 * 60 * 1_000;
        assert!((0..100).all(|n| health.record(n * five_minutes / 2 + n, &bad()) == Decision::Keep));
    }

    #[test]
    fn one_that_fails_every_third_time_goes_and_one_that_fails_once_in_a_hundred_stays() {
        let run = |every: u64| {
            let mut health = Health::new(Rules::of(&Mode::Active, None));
            (0..2_000).find(|n| {
                let judgement = if n % every == every - 1 { bad() } else { Judgement::Good };
                health.record(n * 10, &judgement) != Decision::Keep
            })
        };
        assert_eq!(run(3), Some(8));
        assert_eq!(run(100), None);
    }

    #[test]
    fn a_difference_starts_the_count_anew() {
        let mut health = Health::new(Rules::of(&Mode::Shadow, Some(3)));
        let said = [Judgement::Agreed, Judgement::Agreed, Judgement::Differed(1), Judgement::Agreed, Judgement::Agreed];
        assert!(said.iter().all(|it| health.record(0, it) == Decision::Keep));
        assert_eq!(health.record(0, &Judgement::Agreed), Decision::Promote);
        assert_eq!(health.record(0, &Judgement::Agreed), Decision::Keep, "decided once");
    }

    fn judgements() -> impl Strategy<Value = Vec<(u64, Judgement)>> {
        let one = prop_oneof![
            4 => Just(Judgement::Good), 2 => Just(Judgement::Agreed), 1 => Just(Judgement::Differed(1)), 2 => Just(bad()),
        ];
        prop::collection::vec((0_u64..100_000, one), 0..200)
    }

    fn modes() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(Mode::Active), Just(Mode::Shadow), Just(canary())]
    }

    proptest! {
        #[test]
        fn decides_at_most_once_and_only_on_grounds(said in judgements(), mode in modes(), after in prop::option::of(1_u32..10)) {
            let rules = Rules::of(&mode, after);
            let mut health = Health::new(rules);
            let (mut now, mut bad_times, mut row, mut decisions) = (0, Vec::new(), 0_u32, 0);
            for (wait, judgement) in said {
                now += wait;
                let is_bad = matches!(judgement, Judgement::Bad { .. });
                if is_bad { bad_times.push(now); }
                row = if matches!(judgement, Judgement::Good | Judgement::Agreed) { row + 1 } else { 0 };
                match health.record(now, &judgement) {
                    Decision::Keep => {}
                    Decision::Promote => {
                        decisions += 1;
                        prop_assert!(mode != Mode::Active && after.is_some_and(|after| row >= after));
                    }
                    Decision::RollBack { .. } => {
                        decisions += 1;
                        let within = bad_times.iter().filter(|time| now - **time <= rules.window).count();
                        prop_assert!(is_bad && within >= rules.faults as usize);
                    }
                }
            }
            prop_assert!(decisions <= 1);
        }

        #[test]
        fn a_single_failure_never_rolls_back(before in 0_usize..300, after in 0_usize..300, mode in modes()) {
            let mut health = Health::new(Rules::of(&mode, None));
            let good = |health: &mut Health| health.record(0, &Judgement::Good) == Decision::Keep;
            prop_assert!((0..before).all(|_| good(&mut health)));
            prop_assert_eq!(health.record(0, &bad()), Decision::Keep);
            prop_assert!((0..after).all(|_| good(&mut health)));
        }

        #[test]
        fn the_window_stays_small(said in judgements()) {
            let mut health = Health::new(Rules::of(&Mode::Active, None));
            let mut now = 0;
            for (wait, judgement) in said {
                now += wait;
                health.record(now, &judgement);
                prop_assert!(health.recent.len() <= 10);
            }
        }
    }
}
