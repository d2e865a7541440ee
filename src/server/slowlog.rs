//! The slow log: the last commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// A slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowCommand {
    /// Its number, unique in this run of the server.
    pub id: u64,
    /// When it ended, in seconds since the epoch.
    pub time_s: i64,
    /// How long it ran.
    pub micros: u64,
    /// Its name and arguments, cut to a bearable length.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub client_address: String,
    /// The client's name.
    pub client_name: Vec<u8>,
}

/// The slow log. The newest command comes first.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    commands: VecDeque<SlowCommand>,
}

impl SlowLog {
    /// Notes a command, whose number is given here, and forgets the oldest beyond `max_len`.
    pub fn push(&self, mut command: SlowCommand, max_len: usize) {
        let mut inner = self.0.lock();
        command.id = inner.next_id;
        inner.next_id += 1;
        inner.commands.push_front(command);
        inner.commands.truncate(max_len);
    }

    /// The newest commands.
    pub fn newest(&self, count: usize) -> Vec<SlowCommand> {
        self.0.lock().commands.iter().take(count).cloned().collect()
    }

    /// How many commands are kept.
    pub fn len(&self) -> usize {
        self.0.lock().commands.len()
    }

    /// Whether no command is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the oldest commands beyond `max_len`.
    pub fn trim(&self, max_len: usize) {
        self.0.lock().commands.truncate(max_len);
    }

    /// Forgets all commands.
    pub fn reset(&self) {
        self.0.lock().commands.clear();
    }
}

/// The `count` arguments as the log keeps them: at most `most`, of which the last tells how many more there were, and of
/// each at most so many bytes.
pub fn shortened<'a>(
    shown: impl Fn(usize) -> &'a [u8],
    count: usize,
    most: usize,
    most_bytes: usize,
) -> Vec<Vec<u8>> {
    let kept = if count > most { most - 1 } else { count };
    let mut short: Vec<Vec<u8>> = (0..kept).map(|at| shorten(shown(at), most_bytes)).collect();
    if kept < count {
        short.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    short
}

fn shorten(arg: &[u8], most_bytes: usize) -> Vec<u8> {
    let Some((kept, left)) = arg
        .split_at_checked(most_bytes)
        .filter(|(_, left)| !left.is_empty())
    else {
        return arg.to_vec();
    };
    let mut short = kept.to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", left.len()).as_bytes());
    short
}
