//! What each client that writes may have of what the writer takes: all have as much.
//!
//! Were there only one line those who change little would wait behind those who change much. So each has a **clock of its own**
//! besides: what it changes moves that on by the time in which the writer takes as much of every client that writes, and where that is
//! much sooner than the line a client waits for that. Where all change as much they are about the same.
//!
//! A client is charged for its requests' bytes before they run, or who connects anew for each would never wait. What they have
//! changed is known afterwards, and charged or given back then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::WAIT_MAX;

/// Clients are counted for so long: each that waits comes twice in that time.
const WINDOW: u64 = 2 * WAIT_MAX.as_nanos() as u64;

/// Whose own clock is not sooner by so many times stands in the line: that has an order, and clocks that go alike would let all
/// clients in at the same moment. And of a pipeline that comes in a large and a small part, which is one of fifteen times as
/// much, the large one would wait for longer, so that its small rest need not.
const LITTLE: u64 = 16;

/// One client's part.
#[derive(Debug, Default)]
pub struct Share {
    /// When its next turn is, in nanoseconds.
    next: u64,
    /// Bytes that it was charged for before it changed anything.
    charged: u64,
    /// Bytes that it was charged too little for, or too much.
    owed: i64,
    /// The window that it was counted in last.
    window: u64,
}

impl Share {
    /// Its requests have changed so many bytes.
    pub fn settle(&mut self, changed: u64) {
        let charged = std::mem::take(&mut self.charged);
        self.owed = self.owed.saturating_add_unsigned(changed);
        self.owed = self.owed.saturating_sub_unsigned(charged);
    }

    /// Charges it for requests of so many bytes, of which so many of its own are taken in a second: how long they must wait, where
    /// the line is so long. What it need not wait for is forgotten.
    pub(super) fn wait(
        &mut self,
        now: u64,
        asked: u64,
        bytes_a_second: f64,
        line: Duration,
    ) -> Duration {
        let due = self.owed.saturating_add_unsigned(asked);
        self.owed = due.min(0);
        self.charged = asked;
        let cost = due.max(0) as f64 * 1e9 / bytes_a_second;
        let line = line.as_nanos() as u64;
        let own = self.next.saturating_sub(now).saturating_add(cost as u64);
        let wait = if own <= line / LITTLE { own } else { line };
        self.next = now + wait;
        Duration::from_nanos(wait)
    }
}

/// How many clients write.
#[derive(Debug, Default)]
pub(super) struct Writing {
    window: AtomicU64,
    in_window: AtomicU32,
    in_last: AtomicU32,
}

impl Writing {
    /// Counts this one. Gives how many there are in this window or were in the last one.
    pub(super) fn count(&self, now: u64, share: &mut Share) -> u32 {
        // No client was counted in the window that is zero.
        let window = now / WINDOW + 1;
        let before = self.window.load(Ordering::Relaxed);
        let begins = before < window;
        let relaxed = Ordering::Relaxed;
        if begins
            && self
                .window
                .compare_exchange(before, window, relaxed, relaxed)
                .is_ok()
        {
            let last = self.in_window.swap(0, relaxed);
            let follows = before + 1 == window;
            self.in_last.store(if follows { last } else { 0 }, relaxed);
        }
        if share.window != window {
            share.window = window;
            self.in_window.fetch_add(1, relaxed);
        }
        let most = self.in_window.load(relaxed).max(self.in_last.load(relaxed));
        most.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_charged_too_much_gets_it_back() {
        let mut share = Share::default();
        let mut wait = |now: u64, asked, changed| {
            let wait = share.wait(now * 1_000_000, asked, 1000.0, LITTLE as u32 * WAIT_MAX);
            share.settle(changed);
            wait.as_millis()
        };
        assert_eq!(wait(0, 500, 300), 500);
        assert_eq!(wait(0, 500, 0), 800);
        assert_eq!(wait(0, 400, 600), 800);
        // It has changed more than it asked for.
        assert_eq!(wait(0, 0, 0), 900);
        assert_eq!(wait(2000, 50, 50), 50);
    }

    #[test]
    fn what_a_client_need_not_wait_for_is_forgotten() {
        let mut share = Share::default();
        let line = Duration::from_millis(100);
        assert_eq!(share.wait(0, 500, 1000.0, line), line);
        assert_eq!(share.wait(100_000_000, 5, 1000.0, line), line / 20);
    }

    #[test]
    fn a_client_that_changes_more_than_it_asked_for_waits_for_that_next_time() {
        let mut share = Share::default();
        assert!(share.wait(0, 10, 1000.0, WAIT_MAX) < Duration::from_millis(20));
        share.settle(1_000_000);
        assert_eq!(share.wait(0, 10, 1000.0, WAIT_MAX), WAIT_MAX);
    }

    #[test]
    fn clients_are_counted_once_in_a_window_and_forgotten_after_the_next_one() {
        let writing = Writing::default();
        let mut clients: Vec<_> = (0..50).map(|_| Share::default()).collect();
        for now in [0, 1] {
            let counts = clients.iter_mut().map(|share| writing.count(now, share));
            assert_eq!(counts.last(), Some(50));
        }
        assert_eq!(writing.count(WINDOW, &mut clients[0]), 50);
        assert_eq!(writing.count(2 * WINDOW, &mut clients[0]), 1);
        clients.iter_mut().for_each(|share| {
            writing.count(2 * WINDOW, share);
        });
        // Nobody came for a time.
        assert_eq!(writing.count(5 * WINDOW, &mut clients[0]), 1);
    }
}
