-- What scripts find in their globals, and how one is run.
--
-- Plain Lua has no table that cannot be written. So what must stay as it is for the next script is shown by a proxy: an empty table that
-- reads elsewhere. What raw access leaves in a proxy is taken out after the script.
--
-- An error of the host is made the value that the script is to catch where it catches it.
local host = ...
local error, getmetatable, ipairs, load, loadstring, next, pairs, rawset, select, setmetatable, tostring, type, xpcall =
    error, getmetatable, ipairs, load, loadstring, next, pairs, rawset, select, setmetatable, tostring, type, xpcall
local byte, concat, setfenv = string.byte, table.concat, setfenv
local READONLY = "Attempt to modify a readonly table"

local base, globals = {}, nil
local behind, proxies = setmetatable({}, { __mode = "k" }), {}

local function refuse()
    error(READONLY, 2)
end

local function protect(real, on_missing, proxy)
    if on_missing then
        setmetatable(real, { __index = on_missing })
    end
    proxy = setmetatable(proxy or {}, { __index = real, __newindex = refuse })
    behind[proxy] = real
    proxies[#proxies + 1] = proxy
    return proxy
end

local redis = host.redis

-- What Lua brings, but for files, other modules and what would break out of here.
for _, name in ipairs({
    "assert", "collectgarbage", "error", "gcinfo", "ipairs", "next", "rawequal", "rawget", "select", "tonumber", "tostring",
    "type", "unpack", "_VERSION",
}) do
    base[name] = _G[name]
end

-- An error of the host is no value of Lua: it is caught as what Redis's would be. A script that is to end cannot catch that.
local function settle(is_well, ...)
    if is_well then
        return is_well, ...
    end
    return is_well, host.thrown(...)
end
local function settle_text(is_well, ...)
    if is_well then
        return is_well, ...
    end
    local e = host.thrown(...)
    if type(e) == "table" and type(e.err) == "string" then
        return is_well, e.err
    end
    return is_well, e
end
local pcall, resume = pcall, coroutine.resume
function base.pcall(...)
    return settle_text(pcall(...))
end
function base.xpcall(f, handler)
    return settle(xpcall(f, handler and function(e)
        return handler(host.thrown(e))
    end))
end
function coroutine.resume(...)
    return settle(resume(...))
end

function base.rawset(t, ...)
    if behind[t] then
        error(READONLY, 0)
    end
    return rawset(t, ...)
end

function base.setmetatable(t, ...)
    if behind[t] then
        error(READONLY, 0)
    end
    return setmetatable(t, ...)
end

local hidden = protect({ __index = true })
function base.getmetatable(...)
    local t = ...
    if behind[t] then
        return t == hidden and hidden or nil
    end
    if type(t) == "string" then
        return hidden
    end
    return getmetatable(...)
end

function base.pairs(...)
    local real = behind[(...)]
    if not real then
        local kind = type((...))
        if kind ~= "table" then
            error("bad argument #1 to 'pairs' (table expected, got " .. (select("#", ...) == 0 and "no value" or kind) .. ")", 2)
        end
        return pairs(...)
    end
    return function(_, key)
        return next(real, key)
    end, (...), nil
end

function base.loadstring(chunk, ...)
    -- What was compiled before could do anything to the server.
    if type(chunk) == "string" and byte(chunk, 1) == 27 then
        return nil, "attempt to load a chunk that is no text"
    end
    local compiled, why = loadstring(chunk, ...)
    if not compiled then
        return compiled, why
    end
    -- It would see the globals of the state.
    return setfenv(compiled, globals)
end

function base.load(reader, ...)
    if type(reader) ~= "function" then
        -- An error, in Lua's words.
        return load(reader, ...)
    end
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == "" then
            break
        end
        if type(piece) ~= "string" then
            return nil, "reader function must return a string"
        end
        pieces[#pieces + 1] = piece
    end
    return base.loadstring(concat(pieces), (...) or "=(load)")
end

math.random, math.randomseed = host.random, host.randomseed

for name, library in pairs({
    string = string,
    table = table,
    math = math,
    coroutine = coroutine,
    os = { clock = os.clock },
    bit = host.bit,
    struct = host.struct,
    cmsgpack = host.cmsgpack,
}) do
    base[name] = protect(library)
end

-- What `new` gives is the script's own: another such table, which it can write.
local function open_cjson(cjson)
    local new = cjson.new
    cjson.null = host.null
    function cjson.new(...)
        return open_cjson(new(...))
    end
    return cjson
end
local array_metatable = host.cjson.array_metatable
host.cjson.array_metatable = nil
local marks = {}
for name, value in pairs(array_metatable) do
    marks[name] = value
end
for name in pairs(marks) do
    array_metatable[name] = nil
end
protect(marks, nil, array_metatable)
base.cjson = protect(open_cjson(host.cjson))
base.redis = protect(redis)
base.server = base.redis

globals = protect(base, function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end)
base._G = globals

-- Nothing is left where a chunk of another origin would find it.
local all = _G
for name in pairs(all) do
    all[name] = nil
end

-- Runs a function of a script, which calls commands by these two.
local function run(f, keys, argv, call, call_safely)
    base.KEYS, base.ARGV = keys, argv
    redis.call, redis.pcall = call, call_safely
    local is_well, result = xpcall(f, host.blame)
    for i = 1, #proxies do
        local proxy = proxies[i]
        local key = next(proxy)
        while key ~= nil do
            rawset(proxy, key, nil)
            key = next(proxy)
        end
    end
    return is_well, result
end

return globals, run
