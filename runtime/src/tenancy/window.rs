//! What time it is for budgets, and when their windows begin.
//!
//! Windows are the wall clock's, in UTC: that is what people mean by a day or a month. But the clock of this server never goes
//! back, and never stands still: it is what the wall clock says, or, where that is earlier than what it said before, what it
//! said then and the time since by a clock that cannot be set (and that goes on while the machine sleeps). So a clock set
//! back opens no window again; one set forward for a while opens the next window once, and the windows after that last as
//! long as windows do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike as _, Months, NaiveTime, Utc};
use rustix::time::{ClockId, clock_gettime};

use super::budget::Window;

const MILLIS_PER_HOUR: i64 = 3_600_000;
const MILLIS_PER_DAY: i64 = 24 * MILLIS_PER_HOUR;

/// What the machine's clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Milliseconds since 1970 by the wall clock.
    pub(super) wall_unix_ms: i64,
    /// Since the machine began.
    pub(super) up: Duration,
}

impl Reading {
    /// Of now.
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let up = clock_gettime(clock);
        let seconds = u64::try_from(up.tv_sec).unwrap_or(0);
        Self {
            wall_unix_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
            up: Duration::new(seconds, u32::try_from(up.tv_nsec).unwrap_or(0)),
        }
    }
}

/// The clock that does not go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowClock {
    unix_ms: i64,
    at: Duration,
}

impl WindowClock {
    /// Which says `unix_ms` at least.
    pub(super) fn beginning(unix_ms: i64, reading: Reading) -> Self {
        Self { unix_ms: unix_ms.max(reading.wall_unix_ms), at: reading.up }
    }

    /// What it says now.
    pub(super) fn now_unix_ms(&mut self, reading: Reading) -> i64 {
        let since = reading.up.saturating_sub(self.at);
        // What is less than a millisecond is left for the next time.
        let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        self.at = self.at.saturating_add(Duration::from_millis(since_ms.unsigned_abs()));
        self.unix_ms = self.unix_ms.saturating_add(since_ms).max(reading.wall_unix_ms);
        self.unix_ms
    }
}

/// From when until when, in milliseconds since 1970: the second is not of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Window {
    /// The one that `unix_ms` is in.
    pub(super) fn around(self, unix_ms: i64) -> Span {
        let of_length = |millis: i64| {
            let from = unix_ms.div_euclid(millis).saturating_mul(millis);
            Span { from, to: from.saturating_add(millis) }
        };
        match self {
            Self::Hour => of_length(MILLIS_PER_HOUR),
            Self::Day => of_length(MILLIS_PER_DAY),
            // Beyond what has a calendar there are days alone.
            Self::Month => month_around(unix_ms).unwrap_or_else(|| of_length(MILLIS_PER_DAY)),
        }
    }
}

fn month_around(unix_ms: i64) -> Option<Span> {
    let first = DateTime::<Utc>::from_timestamp_millis(unix_ms)?.date_naive().with_day(1)?;
    let next = first.checked_add_months(Months::new(1))?;
    let [from, to] = [first, next].map(|day| day.and_time(NaiveTime::MIN).and_utc().timestamp_millis());
    Some(Span { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 366 * MILLIS_PER_DAY;
    /// 2026-11-28 14:30 UTC.
    const NOW: i64 = 1_795_876_200_000;

    const fn reading(wall_unix_ms: i64, up_secs: u64) -> Reading {
        Reading { wall_unix_ms, up: Duration::from_secs(up_secs) }
    }

    #[test]
    fn windows_are_the_calendars() {
        let spans = Window::ALL.map(|window| window.around(NOW));
        let day = NOW / MILLIS_PER_DAY * MILLIS_PER_DAY;
        assert_eq!(spans[0], Span { from: NOW - 1_800_000, to: NOW + 1_800_000 });
        assert_eq!(spans[1], Span { from: day, to: day + MILLIS_PER_DAY });
        assert_eq!(spans[2], Span { from: day - 27 * MILLIS_PER_DAY, to: day + 3 * MILLIS_PER_DAY });
        // A February of a leap year.
        let february = Window::Month.around(1_708_000_000_000);
        assert_eq!((february.to - february.from) / MILLIS_PER_DAY, 29);
        for window in Window::ALL {
            for unix_ms in [i64::MIN, -1, 0, i64::MAX] {
                let span = window.around(unix_ms);
                assert!(span.from <= unix_ms && (unix_ms < span.to || span.to == i64::MAX), "{window:?} {unix_ms}");
            }
        }
    }

    #[test]
    fn row_43_a_clock_that_is_set_moves_time_forward_or_not_at_all() {
        let mut clock = WindowClock::beginning(0, reading(NOW, 10));
        assert_eq!(clock.now_unix_ms(reading(NOW + 5000, 15)), NOW + 5000);
        // A year back: the time goes on all the same.
        assert_eq!(clock.now_unix_ms(reading(NOW - YEAR, 16)), NOW + 6000);
        // A year forward, and back again.
        assert_eq!(clock.now_unix_ms(reading(NOW + YEAR, 17)), NOW + YEAR);
        assert_eq!(clock.now_unix_ms(reading(NOW + 8000, 18)), NOW + YEAR + 1000);
        assert_eq!(clock.now_unix_ms(reading(NOW + 9000, 18 + 3600)), NOW + YEAR + 1000 + 3_600_000);
        // Readings that overtook each other.
        assert_eq!(clock.now_unix_ms(reading(NOW, 0)), NOW + YEAR + 1000 + 3_600_000);
        let mut late = WindowClock::beginning(NOW + YEAR, reading(NOW, 10));
        assert_eq!(late.now_unix_ms(reading(NOW, 11)), NOW + YEAR + 1000, "what was seen before a restart counts");
    }

    #[test]
    fn many_short_looks_lose_no_time() {
        let mut clock = WindowClock::beginning(NOW, reading(0, 0));
        for step in 1..=10_000_u64 {
            clock.now_unix_ms(Reading { wall_unix_ms: 0, up: Duration::from_micros(step * 100) });
        }
        assert_eq!(clock.now_unix_ms(reading(0, 1)), NOW + 1000);
    }
}
