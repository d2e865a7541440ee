//! What each client that writes may have of what the writer takes.
//!
//! Were there only one line those who change little would wait behind those who change much. So each client has a **clock of its
//! own** besides: what it changes moves that on by the time in which the writer takes as much of every client that writes. Where
//! that is much sooner than the end of the line it waits for its own clock alone.
//!
//! A client is charged for the bytes of its requests before they run, and afterwards for what they have changed beyond that.
//! Nothing is given back: how much a change adds to what is not safe is known exactly only where the key was safe before. And who
//! is new stands in the line, or who connects anew for each request would never pay.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::WAIT_MAX;

/// Clients are counted for so long: each that waits for its turns comes at least once in that time.
const WINDOW: u64 = 2 * WAIT_MAX.as_nanos() as u64;

/// Whose own clock comes before this part of the line need not stand in it. It is a small part for two reasons. The line has an
/// order, while clocks that go alike would let all clients in at the same moment. And of a pipeline that is read in a large and a small
/// piece, fifteen requests and one, the large one would wait for longer, so that the small one need not.
const LITTLE_PART: u64 = 16;

/// One client's part.
#[derive(Debug, Default)]
pub struct Share {
    /// When its own clock lets it in next, in nanoseconds.
    own_turn: u64,
    /// Bytes that its last turn was charged for.
    asked: u64,
    /// Bytes that it has changed beyond that.
    owed: u64,
    /// The window that it was counted in last; 0: none yet.
    window: u64,
}

impl Share {
    /// What it has changed since its turn.
    pub fn settle(&mut self, changed: u64) {
        let more = changed.saturating_sub(std::mem::take(&mut self.asked));
        self.owed = self.owed.saturating_add(more);
    }

    /// Charges it for requests of so many bytes, where so many bytes a second are its own part (`None`: it is new): how long they must
    /// wait, where the line is so long. Who stands in the line has paid.
    pub(super) fn wait(
        &mut self,
        now: u64,
        asked: u64,
        own_rate: Option<f64>,
        line: Duration,
    ) -> Duration {
        let due = asked.saturating_add(std::mem::take(&mut self.owed));
        self.asked = asked;
        let cost = own_rate.map_or(u64::MAX, |rate| (due as f64 * 1e9 / rate) as u64);
        let line = line.as_nanos() as u64;
        let own = self.own_turn.saturating_sub(now).saturating_add(cost);
        let wait = if own <= line / LITTLE_PART { own } else { line };
        self.own_turn = now + wait;
        Duration::from_nanos(wait)
    }
}

/// How many clients write.
#[derive(Debug, Default)]
pub(super) struct Writers {
    window: AtomicU64,
    in_window: AtomicU32,
    in_last: AtomicU32,
}

impl Writers {
    /// Counts this one, and gives how many there are in this window or were in the last one. `None`: it is new. Two threads at once
    /// may miss one, or count one twice.
    pub(super) fn count(&self, now: u64, share: &mut Share) -> Option<u32> {
        let relaxed = Ordering::Relaxed;
        // No client was counted in the window that is zero.
        let window = now / WINDOW + 1;
        let before = self.window.load(relaxed);
        let begin = || {
            self.window
                .compare_exchange(before, window, relaxed, relaxed)
        };
        if before < window && begin().is_ok() {
            let last = self.in_window.swap(0, relaxed);
            let is_next = before + 1 == window;
            self.in_last.store(if is_next { last } else { 0 }, relaxed);
        }
        let seen = std::mem::replace(&mut share.window, window);
        if seen != window {
            self.in_window.fetch_add(1, relaxed);
        }
        let most = self.in_window.load(relaxed).max(self.in_last.load(relaxed));
        (seen > 0).then_some(most.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(LITTLE_PART);
    const MS: u64 = 1_000_000;

    #[test]
    fn a_client_pays_for_what_it_asks_and_for_what_it_changes_beyond_that() {
        let mut share = Share::default();
        let mut wait = |now: u64, asked, changed| {
            let wait = share.wait(now * MS, asked, Some(1000.0), LONG);
            share.settle(changed);
            wait.as_millis()
        };
        assert_eq!(wait(0, 200, 0), 200);
        // Its clock goes on.
        assert_eq!(wait(0, 200, 300), 400);
        assert_eq!(wait(0, 0, 0), 500);
        assert_eq!(wait(500, 0, 0), 0);
        assert_eq!(wait(2000, 50, 50), 50);
    }

    #[test]
    fn who_does_not_have_little_stands_in_the_line() {
        let mut share = Share::default();
        let line = Duration::from_millis(160);
        assert_eq!(share.wait(0, 11, Some(1000.0), line), line);
        // That was paid for, as by who is new.
        let mut anew = Share::default();
        assert_eq!(anew.wait(0, 5, None, line), line);
        anew.settle(5);
        assert!(anew.wait(160 * MS, 5, Some(1000.0), line) < line);
        assert_eq!(share.wait(160 * MS, 5, Some(1000.0), line).as_millis(), 5);
        share.settle(1_000_000);
        assert_eq!(share.wait(200 * MS, 5, Some(1000.0), line), line);
        assert_eq!(
            share.wait(200 * MS, 5, Some(1000.0), Duration::ZERO),
            Duration::ZERO
        );
    }

    #[test]
    fn clients_are_counted_once_in_a_window_and_forgotten_after_the_next_one() {
        let writers = Writers::default();
        let mut clients: Vec<_> = (0..50).map(|_| Share::default()).collect();
        for client in &mut clients {
            assert_eq!(writers.count(0, client), None, "it is new");
        }
        assert_eq!(writers.count(1, &mut clients[0]), Some(50));
        assert_eq!(writers.count(WINDOW, &mut clients[0]), Some(50));
        assert_eq!(writers.count(2 * WINDOW, &mut clients[0]), Some(1));
        for client in &mut clients {
            writers.count(2 * WINDOW, client);
        }
        // Nobody came for a time.
        assert_eq!(writers.count(5 * WINDOW, &mut clients[0]), Some(1));
    }
}
