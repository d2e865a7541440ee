//! The Lua state: what scripts find in it, how one is compiled, and how it runs.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{
    Error, Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState,
};

use super::errors::{self, first_line, reason};
use super::replies::{self, Called};
use super::{Script, Watch, api, bits, cjson, cmsgpack, pack};
use crate::error::CommandError;
use crate::resp::{Protocol, Queue, Reply};

const PRELUDE_TEXT: &str = include_str!("prelude.lua");
/// It is looked whether a script is to end each time after so many instructions.
const LOOK_INSTRUCTIONS: u32 = 10_000;
/// A larger buffer for replies of commands is given back.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;
/// So many scripts are kept compiled. Those that are compiled again take some microseconds.
const COMPILED_MAX: usize = 2_000;
/// Where scripts and functions come from, in errors.
const SCRIPT_SOURCE: &str = "@user_script";

/// Runs the commands of a script.
pub trait Host {
    /// Runs one, and writes its reply.
    ///
    /// # Errors
    /// It may not run.
    fn call(&mut self, args: &Queue, reply: &mut Reply) -> Result<(), CommandError>;
}

/// The Lua state of a thread.
pub struct Vm {
    lua: Lua,
    globals: Table,
    run: Function,
    /// By their names. A table of Lua's: the bindings hold few values at a time.
    compiled: Table,
    compiled_count: usize,
    api: Arc<api::State>,
    reply: Reply,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("used_bytes", &self.used_bytes())
            .finish_non_exhaustive()
    }
}

impl Vm {
    /// A new one. `watch` says whether a script is to end.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(watch: Arc<dyn Watch>) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::OS | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let api = Arc::new(api::State::default());
        let host = lua.create_table()?;
        api::fill(&lua, &host, &api)?;
        host.set("bit", bits::functions(&lua)?)?;
        host.set("struct", pack::functions(&lua)?)?;
        host.set("cmsgpack", cmsgpack::functions(&lua)?)?;
        host.set("cjson", cjson::functions(&lua)?)?;
        host.set("null", Value::NULL)?;
        let prelude = lua.load(PRELUDE_TEXT).set_name(errors::PRELUDE);
        let (globals, run) = prelude.call::<(Table, Function)>(host)?;
        let look = HookTriggers::new().every_nth_instruction(LOOK_INSTRUCTIONS);
        lua.set_global_hook(look, move |_, _| match watch.must_end() {
            Some(reason) => Err(Error::external(reason)),
            None => Ok(VmState::Continue),
        })?;
        Ok(Self {
            compiled: lua.create_table()?,
            compiled_count: 0,
            lua,
            globals,
            run,
            api,
            reply: Reply::new(Protocol::Resp2),
        })
    }

    /// Bytes that it takes.
    pub fn used_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Compiles a script, if that has not been done.
    ///
    /// # Errors
    /// It is no Lua.
    pub fn compile(&mut self, script: &Script) -> Result<Function, CommandError> {
        let no_memory = |error: Error| CommandError::message(format!("ERR {}", first_line(&error)));
        let name = self.lua.create_string(script.digest).map_err(no_memory)?;
        if let Ok(Some(function)) = self.compiled.raw_get::<Option<Function>>(&name) {
            return Ok(function);
        }
        let chunk = self.lua.load(script.body()).set_name(SCRIPT_SOURCE);
        let chunk = chunk.set_mode(ChunkMode::Text);
        let chunk = chunk.set_environment(self.globals.clone());
        let function = chunk.into_function().map_err(|error| {
            let why = match error {
                Error::SyntaxError { message, .. } => message,
                other => first_line(&other),
            };
            let what = "ERR Error compiling script (new function): ";
            CommandError::bytes(&[what.as_bytes(), why.as_bytes()])
        })?;
        if self.compiled_count >= COMPILED_MAX {
            self.compiled_count = 0;
            self.compiled.clear().map_err(no_memory)?;
        }
        self.compiled_count += 1;
        self.compiled.raw_set(name, &function).map_err(no_memory)?;
        Ok(function)
    }

    /// Runs a script that was compiled, and writes what it returns.
    ///
    /// # Errors
    /// It has failed; the error says where.
    pub fn run<'k>(
        &mut self,
        script: &Script,
        function: &Function,
        (keys, args): (
            impl Iterator<Item = &'k [u8]>,
            impl Iterator<Item = &'k [u8]>,
        ),
        host: &mut dyn Host,
        reply: &mut Reply,
    ) -> Result<(), CommandError> {
        self.api.begin();
        self.lua.gc_restart();
        let mut scratch = std::mem::take(&mut self.reply);
        let ended = self.call(function, (keys, args), host, &mut scratch);
        // A long value or buffer is given back.
        scratch.begin(Protocol::Resp2);
        if scratch.buffer_mut().capacity() <= SCRATCH_BYTES_MAX {
            self.reply = scratch;
        }
        let ended = ended.and_then(|(is_well, value)| match is_well {
            true => replies::write(&value, reply, self.api.protocol()).map(Ok),
            false => Ok(Err(value)),
        });
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(value)) => Err(failure(&self.lua, value, script)),
            Err(error) => Err(failure(&self.lua, Value::Error(Box::new(error)), script)),
        }
    }

    fn call<'k>(
        &self,
        function: &Function,
        (keys, args): (
            impl Iterator<Item = &'k [u8]>,
            impl Iterator<Item = &'k [u8]>,
        ),
        host: &mut dyn Host,
        scratch: &mut Reply,
    ) -> mlua::Result<(bool, Value)> {
        let lua = &self.lua;
        let strings = |all: &mut dyn Iterator<Item = &'k [u8]>| -> mlua::Result<Table> {
            let table = lua.create_table()?;
            for bytes in all {
                table.raw_push(lua.create_string(bytes)?)?;
            }
            Ok(table)
        };
        let (mut keys, mut args) = (keys, args);
        let (keys, args) = (strings(&mut keys)?, strings(&mut args)?);
        let inside = RefCell::new((host, scratch, Queue::default()));
        let called = |lua: &Lua, args: &MultiValue| -> mlua::Result<Called> {
            let (host, scratch, queue) = &mut *inside.borrow_mut();
            queue.clear();
            scratch.begin(self.api.protocol());
            let called = replies::request(args, queue).and_then(|()| host.call(queue, scratch));
            match called {
                Ok(()) => Called::read(lua, scratch),
                Err(error) => Ok(Called::Error(error.wire().into_owned())),
            }
        };
        lua.scope(|scope| {
            let call = scope.create_function(|lua, args| called(lua, &args)?.or_raise())?;
            let safe = scope.create_function(|lua, args| called(lua, &args)?.into_value(lua))?;
            self.run.call((function, keys, args, call, safe))
        })
    }
}

/// The error of a script that has failed.
fn failure(lua: &Lua, value: Value, script: &Script) -> CommandError {
    let place = |at: &str| {
        [
            b" script: ",
            &script.digest[..],
            b", on ",
            at.as_bytes(),
            b".",
        ]
        .concat()
    };
    match value {
        Value::Table(table) => {
            let text = |name: &str| -> Option<Vec<u8>> {
                let value = table.raw_get::<Value>(name).ok()?;
                let text = lua.coerce_string(value).ok()??;
                Some(text.as_bytes().to_vec())
            };
            let what = text("err").unwrap_or_else(|| b"ERR unknown error".to_vec());
            match (text("source"), text("line")) {
                (Some(source), Some(line)) => {
                    let at = [&source[..], b":", &line].concat();
                    CommandError::bytes(&[&what, &place(&String::from_utf8_lossy(&at))])
                }
                _ => CommandError::bytes(&[&what]),
            }
        }
        Value::Error(error) => match reason(&error) {
            Some(ended) => CommandError::bytes(&[ended.to_string().as_bytes()]),
            None => {
                let text = first_line(&error);
                CommandError::bytes(&[b"ERR ", text.as_bytes(), &place(SCRIPT_SOURCE)])
            }
        },
        _ => CommandError::text("ERR unknown error"),
    }
}

#[cfg(test)]
impl Vm {
    /// The string that a piece of Lua gives.
    pub(super) fn eval(&self, text: &str) -> String {
        let chunk = self.lua.load(text).set_name(SCRIPT_SOURCE);
        let chunk = chunk.set_environment(self.globals.clone());
        let shown: mlua::LuaString = chunk.eval().unwrap();
        shown.to_string_lossy()
    }
}
