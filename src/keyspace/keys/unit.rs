//! The commands of a unit, which work one after the other with the same locked keys.

use super::Keys;
use crate::keyspace::EventName;
use crate::random::Random;

impl Keys<'_> {
    /// The next command begins, in a database.
    pub fn begin(&mut self, event: EventName, random: u64, db: usize) {
        self.event = event;
        self.random = Random(random);
        self.has_strayed.set(false);
        self.use_db(db);
    }
}
