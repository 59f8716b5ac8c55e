-- One shard's part of an Active-Active database: runs commands, and keeps beside the data (database 0) what is needed to merge it
-- (database 1). Everything here is atomic, in the files and in the stream to the replica.
--
-- A key has a kind: r (string), s (set), h (hash), w (any other type, as a whole). It is made of elements: the members of a set, the
-- fields of a hash, else one with an empty name. An element has
--   a  by instance, when it last added the element         r  by instance, which of these a removal had seen
--   v, t  the value and when it was set                    c  by instance, what it added to that value {n = times, d = sum}
-- Each is merged by taking the newer, in any order and any number of times. Times are digits of one length: microseconds, instance,
-- and a digit that is 1 for a counter that begins anew after a removal.

local verb, me, flushes = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function aside(...)
  redis.call('SELECT', 1)
  local reply = redis.call(...)
  redis.call('SELECT', 0)
  return reply
end

local seen = tonumber(aside('GET', 'flushes') or '0')
if seen < flushes then
  redis.call('FLUSHALL')
  aside('SET', 'flushes', string.format('%d', flushes))
  seen = flushes
end

local stamp
local function now()
  if not stamp then
    local time = redis.call('TIME')
    local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local last = tonumber(aside('GET', 'clock') or '0')
    if us <= last then us = last + 1 end
    aside('SET', 'clock', string.format('%.0f', us))
    stamp = string.format('%016.0f%04d0', us, tonumber(me))
  end
  return stamp
end

local function home(key) return 'k:' .. key end
local function exists(key) return redis.call('EXISTS', key) == 1 end

local function get(key, name)
  local packed = aside('HGET', home(key), 'e' .. name)
  if packed then return cmsgpack.unpack(packed) end
  return {a = {}, r = {}, t = '', c = {}}
end

local function put(key, name, element) aside('HSET', home(key), 'e' .. name, cmsgpack.pack(element)) end

local function all(key)
  local flat, found = aside('HGETALL', home(key)), {}
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 1) == 'e' then found[string.sub(flat[i], 2)] = cmsgpack.unpack(flat[i + 1]) end
  end
  return found
end

local function live(element)
  for id, at in pairs(element.a) do
    if at > (element.r[id] or '') then return true end
  end
  return false
end

local function value(element)
  if next(element.c) == nil then return element.v or '0' end
  local sum = tonumber(element.v or '0')
  for _, part in pairs(element.c) do sum = sum + part.d end
  return string.format('%.0f', sum)
end

-- Has the others told. Without names all of the key is.
local function note(key, names)
  local entry = {'XADD', 'log', 'MAXLEN', '~', '100000', '*', 'k', key}
  if names and #names <= 50 then
    for _, name in ipairs(names) do
      entry[#entry + 1] = 'e'
      entry[#entry + 1] = name
    end
  end
  aside(unpack(entry))
end

local function remove(element)
  for id, at in pairs(element.a) do
    if at > (element.r[id] or '') then element.r[id] = at end
  end
end

-- What is no longer there, deleted or expired, was removed.
local function bury(key)
  local gone = {}
  for name, element in pairs(all(key)) do
    if live(element) then
      remove(element)
      put(key, name, element)
      gone[#gone + 1] = name
    end
  end
  if #gone > 0 then
    aside('HSET', home(key), '#x', '-1', '#xt', now())
    note(key, gone)
  end
end

-- The key is of this kind from now on. What it was before, under another kind, is gone.
local function kind(key, is)
  local was = aside('HGET', home(key), '#k')
  if was ~= is then
    if was then aside('DEL', home(key)) end
    aside('HSET', home(key), '#k', is, '#t', now())
  end
end

local function lifetime(key)
  local at = redis.call('PEXPIRETIME', key)
  local known = tonumber(aside('HGET', home(key), '#x') or '-1')
  if at >= -1 and at ~= known then
    aside('HSET', home(key), '#x', string.format('%.0f', at), '#xt', now())
    return true
  end
  return false
end

local function assign(key, name, text)
  local element = get(key, name)
  element.v, element.t, element.c = text, now(), {}
  element.a[me] = now()
  put(key, name, element)
end

local function add(key, name)
  local element = get(key, name)
  element.a[me] = now()
  put(key, name, element)
end

local function take(key, name)
  local element = get(key, name)
  if live(element) then
    remove(element)
    put(key, name, element)
  end
end

-- Something is added to a number that was there before or not.
local function count(key, name, delta)
  local element = get(key, name)
  if not live(element) then
    -- Wherever the same removal was seen, the counter begins from the same point.
    local last = ''
    for _, at in pairs(element.r) do
      if at > last then last = at end
    end
    element.v, element.c = nil, {}
    element.t = last == '' and '' or string.sub(last, 1, -2) .. '1'
  end
  local part = element.c[me] or {n = 0, d = 0}
  element.c[me] = {n = part.n + 1, d = part.d + delta}
  element.a[me] = now()
  put(key, name, element)
end

local kinds = {string = 'r', set = 's', hash = 'h'}

local function differs(key, name, text)
  local element = get(key, name)
  return not live(element) or value(element) ~= text
end

-- Notes what is there, whatever made it so. A string that was written counts as set even if it is the same.
local function absorb(key, written)
  local of = redis.call('TYPE', key).ok
  if of == 'none' then return bury(key) end
  local is = kinds[of] or 'w'
  kind(key, is)
  local news = {}
  if is == 'r' or is == 'w' then
    local text = redis.call(is == 'r' and 'GET' or 'DUMP', key)
    if differs(key, '', text) or (written and is == 'r') then
      assign(key, '', text)
      news[1] = ''
    end
  else
    local here = {}
    if is == 's' then
      for _, name in ipairs(redis.call('SMEMBERS', key)) do here[name] = true end
    else
      local flat = redis.call('HGETALL', key)
      for i = 1, #flat, 2 do here[flat[i]] = flat[i + 1] end
    end
    local known = all(key)
    for name, element in pairs(known) do
      if live(element) and not here[name] then
        take(key, name)
        news[#news + 1] = name
      end
    end
    for name, text in pairs(here) do
      local element = known[name]
      if is == 's' and not (element and live(element)) then
        add(key, name)
        news[#news + 1] = name
      elseif is == 'h' and not (element and live(element) and value(element) == text) then
        assign(key, name, text)
        news[#news + 1] = name
      end
    end
  end
  local moved = lifetime(key)
  if #news > 0 or moved then note(key, news) end
end

-- Runs a command and notes what it meant.
local function run()
  local command = {}
  for i = 4, #ARGV do command[#command + 1] = ARGV[i] end
  local name, key = string.upper(command[1]), KEYS[1]
  -- What expired before the command does not count as known to it.
  for _, one in ipairs(KEYS) do
    if not exists(one) and aside('EXISTS', home(one)) == 1 then bury(one) end
  end
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then return reply end
  local names = {}
  if name == 'INCR' or name == 'DECR' or name == 'INCRBY' or name == 'DECRBY' then
    local delta = tonumber(command[3] or '1')
    if name == 'DECR' or name == 'DECRBY' then delta = -delta end
    kind(key, 'r')
    count(key, '', delta)
    lifetime(key)
    note(key, {''})
  elseif name == 'HINCRBY' then
    kind(key, 'h')
    count(key, command[3], tonumber(command[4]))
    lifetime(key)
    note(key, {command[3]})
  elseif name == 'SADD' or name == 'SREM' then
    if name == 'SADD' then kind(key, 's') end
    for i = 3, #command do
      names[#names + 1] = command[i]
      if name == 'SADD' then add(key, command[i]) else take(key, command[i]) end
    end
    lifetime(key)
    note(key, names)
  elseif name == 'HSET' or name == 'HMSET' then
    kind(key, 'h')
    for i = 3, #command, 2 do
      names[#names + 1] = command[i]
      assign(key, command[i], command[i + 1])
    end
    lifetime(key)
    note(key, names)
  elseif name == 'HDEL' then
    for i = 3, #command do
      names[#names + 1] = command[i]
      take(key, command[i])
    end
    note(key, names)
  elseif string.find(name, 'EXPIRE') or name == 'PERSIST' or name == 'GETEX' then
    -- Whoever asks for another life wants the key: that counts more than its end that nobody had heard of.
    if not exists(key) then
      bury(key)
    elseif lifetime(key) then
      for one, element in pairs(all(key)) do
        if live(element) then add(key, one) end
      end
      note(key)
    end
  else
    local refused = (name == 'SETNX' and reply == 0) or (name == 'MSETNX' and reply == 0) or (name == 'SET' and not reply)
    local reads = name == 'SORT' or name == 'COPY' or name == 'BITOP' or name == 'RENAME' or name == 'RENAMENX'
    for _, one in ipairs(KEYS) do absorb(one, not refused and not reads) end
  end
  return reply
end

local function export(key)
  if not exists(key) then bury(key) end
  local head = aside('HMGET', home(key), '#k', '#t', '#x', '#xt')
  if not head[1] then return false end
  local out = {k = head[1], t = head[2], x = head[3] or '-1', xt = head[4] or '', e = {}}
  if #ARGV > 3 then
    for i = 4, #ARGV do
      if aside('HEXISTS', home(key), 'e' .. ARGV[i]) == 1 then out.e[ARGV[i]] = get(key, ARGV[i]) end
    end
  else
    out.e = all(key)
  end
  return cmsgpack.pack(out)
end

local function show(key, is, name, element)
  local there = live(element)
  if is == 'r' then
    local text = value(element)
    if not there then redis.call('DEL', key) elseif redis.call('GET', key) ~= text then redis.call('SET', key, text, 'KEEPTTL') end
  elseif is == 's' then
    redis.call(there and 'SADD' or 'SREM', key, name)
  elseif is == 'h' then
    if there then redis.call('HSET', key, name, value(element)) else redis.call('HDEL', key, name) end
  elseif not there then
    redis.call('DEL', key)
  elseif redis.call('DUMP', key) ~= element.v then
    redis.call('RESTORE', key, 0, element.v, 'REPLACE')
  end
end

local function merge(key)
  local theirs, newest = cmsgpack.unpack(ARGV[4]), 0
  local function heard(at)
    local us = tonumber(string.sub(at, 1, 16)) or 0
    if us > newest then newest = us end
  end
  absorb(key)
  local head = aside('HMGET', home(key), '#k', '#t', '#xt')
  heard(theirs.t)
  if head[1] and head[1] ~= theirs.k then
    -- Two kinds at once: the later one stays.
    if theirs.t < head[2] then return 0 end
    redis.call('DEL', key)
    aside('DEL', home(key))
    head = {}
  end
  if not head[1] or theirs.t > head[2] then aside('HSET', home(key), '#k', theirs.k, '#t', theirs.t) end
  for name, element in pairs(theirs.e) do
    local mine = get(key, name)
    for id, at in pairs(element.a) do
      heard(at)
      if at > (mine.a[id] or '') then mine.a[id] = at end
    end
    for id, at in pairs(element.r) do
      if at > (mine.r[id] or '') then mine.r[id] = at end
    end
    if element.t > mine.t then
      mine.v, mine.t, mine.c = element.v, element.t, element.c
    elseif element.t == mine.t then
      for id, part in pairs(element.c) do
        if part.n > (mine.c[id] or {n = 0}).n then mine.c[id] = part end
      end
    end
    put(key, name, mine)
    show(key, theirs.k, name, mine)
  end
  if theirs.xt > (head[3] or '') then aside('HSET', home(key), '#x', theirs.x, '#xt', theirs.xt) end
  local ends = tonumber(aside('HGET', home(key), '#x') or '-1')
  if exists(key) and redis.call('PEXPIRETIME', key) ~= ends then
    if ends < 0 then redis.call('PERSIST', key) else redis.call('PEXPIREAT', key, string.format('%.0f', ends)) end
  end
  if newest > tonumber(aside('GET', 'clock') or '0') then aside('SET', 'clock', string.format('%.0f', newest)) end
  return 1
end

if verb == 'run' then return run() end
if verb == 'absorb' then
  for _, key in ipairs(KEYS) do absorb(key) end
  return 1
end
if verb == 'export' then return export(KEYS[1]) end
if verb == 'merge' then
  if seen ~= flushes then return redis.error_reply('FLUSHED the databases were not flushed equally often') end
  return merge(KEYS[1])
end
return seen
