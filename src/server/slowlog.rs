//! The slow log: the last commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::resp::Args;

/// Arguments of a command that are kept; the last place tells how many more there were.
const ARGS_MAX: usize = 32;
/// Bytes of an argument that are kept.
const ARG_BYTES_MAX: usize = 128;

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

/// The arguments as the log keeps them.
pub fn shortened(args: &Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGS_MAX {
        ARGS_MAX - 1
    } else {
        args.len()
    };
    let mut short: Vec<Vec<u8>> = args.from(0).take(kept).map(shorten).collect();
    if kept < args.len() {
        short.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    short
}

fn shorten(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    short
}
