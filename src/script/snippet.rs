//! Runs pieces of Lua for the tests of the libraries, in a state as scripts have it.

use std::sync::Arc;

use super::vm::Vm;
use super::{Ended, Watch};

const SHOW: &str = r##"
local function show(value)
    if type(value) == "string" then
        return '"' .. value:gsub("[^%w%p ]", function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
    end
    if type(value) == "number" then
        return ("%.17g"):format(value)
    end
    if type(value) ~= "table" then
        return tostring(value)
    end
    local items = {}
    for k, v in pairs(value) do
        items[#items + 1] = show(k) .. "=" .. show(v)
    end
    return "{" .. table.concat(items, ",") .. "}"
end
local function show_all(...)
    local all = {}
    for i = 1, select("#", ...) do
        all[i] = show((select(i, ...)))
    end
    return table.concat(all, " ")
end
"##;

struct Patient;

impl Watch for Patient {
    fn must_end(&self) -> Option<Ended> {
        None
    }
}

/// A Lua state.
pub(super) struct State(Vm);

impl State {
    pub(super) fn new() -> Self {
        State(Vm::new(Arc::new(Patient)).unwrap())
    }

    /// The values of an expression as text, or its error, with the statements before a `;;` run first.
    pub(super) fn show(&self, snippet: &str) -> String {
        let (statements, values) = snippet.split_once(";;").unwrap_or(("", snippet));
        let shown = SHOW.replace('\n', " ");
        let chunk = format!(
            "{shown} local ok, shown = pcall(function() {statements} return show_all({values}) end) \
             return ok and shown or 'ERR ' .. tostring(shown)"
        );
        self.0.eval(&chunk)
    }
}

/// Checks that each snippet shows what Redis 8.10 shows. They run in one state, one after the other.
#[track_caller]
pub(super) fn check(cases: &[(&str, &str)]) {
    let state = State::new();
    for (snippet, expected) in cases {
        assert_eq!(state.show(snippet), *expected, "{snippet}");
    }
}

/// Checks the same in a thread with as little stack as those have that run scripts.
#[track_caller]
pub(super) fn check_in_thread(cases: &'static [(&str, &str)]) {
    const STACK_BYTES: usize = 2 << 20;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let outcome = thread.spawn(|| check(cases)).unwrap().join();
    assert!(outcome.is_ok(), "the thread has failed");
}
