//! How the string at a key is told to be encoded, which is no change of it.

use super::Keys;
use crate::keyspace::door::Cause;

impl Keys<'_> {
    /// Makes the string at a key raw, with the same bytes: nobody is told of that.
    pub fn make_raw(&mut self, key: &[u8]) {
        let Some(found) = self.find(key) else { return };
        let len = self.table(found).get(found.at).value().len();
        let locked = &mut self.locked[found.lock];
        self.keyspace.wrote(locked, found.at, None, Cause::Recoded);
        self.keyspace.resize(locked, found.at, len);
        locked.table.get_mut(found.at).set_raw();
    }

    /// Marks the string at a key as text, which OBJECT ENCODING never calls an integer.
    pub fn mark_text(&mut self, key: &[u8]) {
        if let Some(found) = self.find(key) {
            self.locked[found.lock].table.get_mut(found.at).set_text();
        }
    }
}
