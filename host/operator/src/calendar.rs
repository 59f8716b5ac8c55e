//! The fact `today`: for steps whose plan depends on the date and on nothing finer, such as what they say of something that
//! expires. A step that asks for the clock instead is asked anew in every pass; with this one it is once a day.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::sleep;

/// Its name. Its value is a date in UTC, `"2026-01-31"`.
pub const FACT: &str = "today";
/// How often is looked whether a day is over: a machine may have slept, and its clock may be set.
const LOOK: Duration = Duration::from_secs(60);

/// The date, in UTC.
pub(crate) fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Tells of each new day, for ever.
pub(crate) async fn watch(turned: impl FnMut()) -> anyhow::Result<()> {
    turns(today, LOOK, turned).await
}

async fn turns(mut day: impl FnMut() -> String, look: Duration, mut turned: impl FnMut()) -> anyhow::Result<()> {
    let mut last = day();
    loop {
        sleep(look).await;
        let now = day();
        if now != last {
            last = now;
            turned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn a_day_is_a_date_as_the_api_writes_it() {
        let day = today();
        assert!(format!("{day}T00:00:00Z").parse::<Timestamp>().is_ok(), "{day}");
    }

    #[tokio::test]
    async fn each_new_day_is_told_once() {
        let days = ["2026-01-30", "2026-01-30", "2026-01-31", "2026-01-31", "2026-02-01"];
        let (asked, told) = (Cell::new(0), RefCell::new(Vec::new()));
        let day = || {
            let at = asked.replace(asked.get() + 1);
            (*days.get(at).or(days.last()).unwrap()).to_owned()
        };
        let turned = || told.borrow_mut().push(asked.get());
        let all = async {
            while asked.get() < 8 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = turns(day, Duration::from_millis(1), turned) => unreachable!("it never ends"),
            () = all => {}
        }
        assert_eq!(*told.borrow(), [3, 5]);
    }
}
