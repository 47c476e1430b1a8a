-- One chain of strict limits, or one correction: doc.go of the package derives what is done here.
--
--   KEYS  one a step
--   ARGV  mode, now in microseconds ('' is the server's own), then the steps one after another: kind, flags, n, and what the kind reads
--   mode  take | peek | give | charge | renew
--   gives now, the step that refused (-1: none; -2: now is in no period that was passed), and five numbers a step: see raw
--
-- Numbers of Lua are exact up to 2^53. Whatever is added here stays below that.

local LONGEST, TOP = 2305843009213693, 9007199254740991 -- microseconds: 2^61 ns, the longest that anything is owed; 2^53 - 1

local mode, now = ARGV[1], tonumber(ARGV[2])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local at = 2
local function arg() at = at + 1; return ARGV[at] end
local function num() at = at + 1; return tonumber(ARGV[at]) end
local function text(...) return (string.format(string.rep('%.0f ', select('#', ...)), ...):sub(1, -2)) end
local function ttl(us) return string.format('%.0f', math.ceil(us / 1000) + 1000) end

-- Token and leaky buckets. Times are pairs of whole microseconds and a fraction in ticks of 1/num.

local gcra = {}

local function later(a, af, b, bf) return a > b or a == b and af > bf end
local function norm(a, f, n)
  if f >= n then return a + 1, f - n elseif f < 0 then return a - 1, f + n end
  return a, f
end
local function add(a, af, b, bf, n) return norm(a + b, af + bf, n) end
local function sub(a, af, b, bf, n) return norm(a - b, af - bf, n) end

function gcra.args(s)
  s.num, s.full, s.fullf, s.cost, s.costf = num(), num(), num(), num(), num()
  s.wait, s.smooth, s.tag = num(), num() == 1, arg()
  if mode == 'give' then
    s.m, s.mf, s.first, s.firstf, s.g, s.gf, s.born, s.rest = num(), num(), num(), num(), num(), num(), num(), num()
  end
end

-- convert makes what is owed at another rate as many units of this one, rounded up.
local function convert(b, from, to)
  b.g, b.gf, b.born = 0, 0, now
  if not later(b.tat, b.f, now, 0) then return end
  local op, on = string.match(from, '^(%d+)/(%d+)$')
  local np, nn = string.match(to, '^(%d+)/(%d+)$')
  local owed = b.tat - now
  if b.f > 0 then owed = owed + 1 end
  owed = math.ceil(owed * on / op * np / nn * (1 + 2 ^ -40))
  b.tat, b.f = now + math.min(owed, LONGEST), 0
end

function gcra.load(key, s)
  local b = {tat = now, f = 0, g = 0, gf = 0, born = now}
  local v = redis.call('GET', key)
  if v then
    local tat, f, last, g, gf, born, tag = string.match(v, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+/%d+)$')
    if tat then
      b.tat, b.f, b.g, b.gf, b.born = tonumber(tat), tonumber(f), tonumber(g), tonumber(gf), tonumber(born)
      last = tonumber(last)
      if last > now then b.tat, b.born = b.tat - (last - now), now end -- the clock was set back
      if tag ~= s.tag then convert(b, tag, s.tag) end
      if b.tat < now then b.tat, b.f = now, 0 end
    end
  end
  b.tat0, b.f0 = b.tat, b.f
  return b
end

function gcra.fits(b, s, first)
  local tat, f = first and b.tat0 or b.tat, first and b.f0 or b.f
  local n, nf = add(tat, f, s.cost, s.costf, s.num)
  if not later(n, nf, now + s.full, s.fullf) and not s.smooth then return true end
  local due, duef = sub(n, nf, s.full, s.fullf, s.num)
  if not s.smooth then due = due - s.wait
  elseif not later(due, duef, tat - s.wait, f) then
    due, duef = tat - s.wait, f
  end
  return not later(due, duef, now, 0)
end

function gcra.spend(b, s)
  local n, nf = add(b.tat, b.f, s.cost, s.costf, s.num)
  if n >= now + LONGEST then
    n, nf = now + LONGEST, 0
    if later(b.tat, b.f, n, nf) then n, nf = b.tat, b.f end
  end
  b.tat, b.f = n, nf
end

-- give is gcra.give of package limiter: what was given back in all is g, a time.
function gcra.give(b, s)
  if b.born ~= s.born or not later(b.tat, b.f, now, 0) then return end
  local e, ef, back, backf, d, df = s.m, s.mf, s.cost, s.costf, 0, 0
  if later(b.g, b.gf, s.g, s.gf) then
    d, df = sub(b.g, b.gf, s.g, s.gf, s.num)
    e, ef = sub(e, ef, d, df, s.num)
    if later(s.first, s.firstf, e, ef) then e, ef = s.first, s.firstf end
  end
  if not later(e, ef, now, 0) or later(e, ef, b.tat, b.f) then return end
  local function most(r, rf) if later(back, backf, r, rf) then back, backf = r, rf end end
  most(sub(e, ef, now, 0, s.num))
  local h, hf = add(b.tat, b.f, d, df, s.num)
  local waiting = s.wait > 0 and not s.smooth and later(h, hf, now + s.full, s.fullf)
  local last = e == b.tat and ef == b.f -- nobody is behind
  if not last then
    if s.smooth then return end
    if waiting then
      local u, uf = sub(h, hf, e, ef, s.num)
      if later(u, uf, s.full, s.fullf) then return end
      most(sub(s.full, s.fullf, u, uf, s.num))
    end
  end
  b.tat, b.f = sub(b.tat, b.f, back, backf, s.num)
  if not last or waiting and s.rest ~= 0 then b.g, b.gf = add(b.g, b.gf, back, backf, s.num) end
end

function gcra.save(key, b, s)
  redis.call('SET', key, text(b.tat, b.f, now, b.g, b.gf, b.born) .. ' ' .. s.tag, 'PX', ttl(math.max(b.tat - now, 0)))
end

function gcra.raw(b, s, ok, first)
  return first and b.tat0 or b.tat, first and b.f0 or b.f, b.g, b.gf, b.born
end

-- Fixed windows and quotas: start, end, and what was spent in between.

local window, skewed = {}, false

function window.args(s)
  s.limit, s.per, s.from, s.mid, s.till = num(), num(), num(), num(), num()
  if mode == 'give' then s.at = num() end
end

function window.load(key, s)
  local b = {used = 0}
  if s.per > 0 then
    b.start, b.stop = now - math.fmod(now, s.per), now - math.fmod(now, s.per) + s.per
  elseif now < s.from or now >= s.till then
    skewed = true
    return b
  elseif now < s.mid then
    b.start, b.stop = s.from, s.mid
  else
    b.start, b.stop = s.mid, s.till
  end
  local v = redis.call('GET', key)
  if v then
    local start, stop, used = string.match(v, '^(%d+) (%d+) (%d+)$')
    if start and tonumber(stop) > now then b.used, b.was = tonumber(used), tonumber(start) end
  end
  b.used0 = b.used
  return b
end

-- below is what fits means wherever units are counted.
local function below(b, s, first) return s.n <= s.limit - (first and b.used0 or b.used) end

window.fits = below
function window.spend(b, s) b.used = math.min(b.used + s.n, TOP) end
function window.give(b, s)
  if b.was == s.at and b.start == s.at then b.used = math.max(0, b.used - s.n) end
end
function window.save(key, b)
  redis.call('SET', key, text(b.start, b.stop, b.used), 'PX', ttl(b.stop - now))
end
function window.raw(b, s, ok, first) return b.start, b.stop, first and b.used0 or b.used, 0, 0 end

-- Sliding windows: a hash of the counters of sub-windows, with n the newest, t the total and v the numbers of the window.

local sliding = {}

-- part is the number of the sub-window that now is in, floor(now * p / q), p <= q, q < 2^51.
local function part(p, q)
  local r = math.fmod(now, q)
  local whole = (now - r) / q * p
  if r * p <= TOP then return whole + (r * p - math.fmod(r * p, q)) / q end
  local k, left = 0, 0
  for i = 9, 0, -1 do -- p < 2^10, bit by bit
    k, left = 2 * k, 2 * left
    if math.floor(p / 2 ^ i) % 2 == 1 then left = left + r end
    while left >= q do k, left = k + 1, left - q end
  end
  return whole + k
end

-- cells are the counters from sub-window a to b, and their names.
local function cells(key, a, b, size)
  local names = {}
  for k = a, b do names[#names + 1] = string.format('%.0f', math.fmod(k, size)) end
  local counts = redis.call('HMGET', key, unpack(names))
  for i = 1, #names do counts[i] = tonumber(counts[i] or 0) or 0 end
  return counts, names
end

function sliding.args(s)
  s.limit, s.p, s.q, s.parts, s.life = num(), num(), num(), num(), num()
  s.tag = text(s.p, s.q, s.parts)
  if mode == 'give' then s.at = num() end
end

function sliding.load(key, s)
  local b = {key = key, parts = s.parts, k = part(s.p, s.q), used = 0, used0 = 0, added = 0, gone = {}}
  b.newest = b.k
  local v = redis.call('HMGET', key, 'n', 't', 'v')
  local newest, total, p, q, parts = tonumber(v[1] or ''), tonumber(v[2] or ''), string.match(v[3] or '', '^(%d+) (%d+) (%d+)$')
  if not newest or not total or not p then return b end
  local k = part(tonumber(p), tonumber(q))
  parts = tonumber(parts)
  if k - newest > parts then
    total = 0
  elseif k > newest then -- the cells of what is new held what is gone
    local counts, names = cells(key, newest + 1, k, parts + 1)
    for i = 1, #counts do
      total = total - counts[i]
      if counts[i] ~= 0 then b.gone[#b.gone + 1] = names[i] end
    end
  end
  b.anew = total <= 0
  if b.anew then return b end
  b.used, b.used0, b.newest = total, total, newest
  if v[3] ~= s.tag or newest > k + 1 then -- other numbers, or a clock set back: all of it counts as spent now
    b.anew, b.moved, b.newest = true, total, b.k
  elseif newest > k then
    b.k = newest
  end
  return b
end

sliding.fits = below

function sliding.spend(b, s)
  b.used, b.added = math.min(b.used + s.n, TOP), math.min(b.added + s.n, TOP)
end

function sliding.give(b, s)
  if b.anew or s.at > b.newest or s.at < b.k - b.parts then return end
  local counts, names = cells(b.key, s.at, s.at, b.parts + 1)
  local n = math.min(s.n, counts[1])
  b.used, b.less, b.cell = b.used - n, n, names[1]
end

function sliding.save(key, b, s)
  if b.anew or b.used <= 0 then redis.call('DEL', key) end
  if b.used <= 0 then return end
  if not b.anew and #b.gone > 0 then redis.call('HDEL', key, unpack(b.gone)) end
  local plus = b.added + (b.moved or 0)
  if plus > 0 then redis.call('HINCRBY', key, string.format('%.0f', math.fmod(b.k, b.parts + 1)), text(plus)) end
  if b.less then redis.call('HINCRBY', key, b.cell, text(-b.less)) end
  redis.call('HSET', key, 'n', text(b.k), 't', text(b.used), 'v', s.tag)
  redis.call('PEXPIRE', key, s.life)
end

-- latest is the newest sub-window in which anything counts.
local function latest(b)
  if b.moved then return b.k end
  local low = b.k - b.parts
  for k = b.newest, low, -16 do
    local counts = cells(b.key, math.max(k - 15, low), k, b.parts + 1)
    for i = #counts, 1, -1 do
      if counts[i] > 0 then return k - #counts + i end
    end
  end
  return b.k
end

-- room is the sub-window with which need units are back.
local function room(b, need)
  if b.moved then return b.k end
  local sum = 0
  for k = b.k - b.parts, b.newest - 1, 64 do
    local counts = cells(b.key, k, math.min(k + 63, b.newest - 1), b.parts + 1)
    for i = 1, #counts do
      sum = sum + counts[i]
      if sum >= need then return k + i - 1 end
    end
  end
  return need > b.used0 and b.k or b.newest
end

function sliding.raw(b, s, ok, first)
  local used, last, back = first and b.used0 or b.used, 0, 0
  if used > 0 and (not ok or s.n == 0 or first) then
    last = (b.added > 0 and not first) and b.k or latest(b)
  end
  if not ok and s.n <= s.limit then back = room(b, used + s.n - s.limit) end
  return b.k, used, last, back, 0
end

-- Seats: a sorted set of holders by when they expire, and '#', whose score is -(seats in use). A holder is id:seats.

local seats = {}

function seats.args(s) s.limit, s.lease, s.id = num(), num(), arg() end

function seats.load(key, s)
  local b = {key = key, new = {}}
  b.used = -(tonumber(redis.call('ZSCORE', key, '#') or 0))
  b.old = redis.call('ZRANGEBYSCORE', key, '(0', text(now))
  for i = 1, #b.old do b.used = b.used - (tonumber(string.match(b.old[i], ':(%d+)$')) or 0) end
  b.used = math.max(b.used, 0)
  b.used0 = b.used
  return b
end

seats.fits = below
function seats.spend(b, s)
  b.used = b.used + s.n
  b.new[#b.new + 1] = s.id .. ':' .. text(s.n)
end

-- held reports whether a holder has its seats.
local function held(b, who)
  local score = redis.call('ZSCORE', b.key, who)
  return score and tonumber(score) > now
end

function seats.give(b, s)
  local who = s.id .. ':' .. text(s.n)
  if held(b, who) then b.used, b.old[#b.old + 1] = math.max(0, b.used - s.n), who end
end

function seats.save(key, b, s)
  for i = 1, #b.old, 1000 do redis.call('ZREM', key, unpack(b.old, i, math.min(i + 999, #b.old))) end
  for i = 1, #b.new do redis.call('ZADD', key, text(now + s.lease), b.new[i]) end
  if b.used <= 0 then return redis.call('DEL', key) end
  redis.call('ZADD', key, text(-b.used), '#')
  redis.call('PEXPIRE', key, ttl(s.lease))
end

function seats.raw(b, s, ok, first) return first and b.used0 or b.used, 0, 0, 0, 0 end

if mode == 'renew' then -- now, lease, then id and seats of each holder
  local s = {lease = num()}
  local b = seats.load(KEYS[1], s)
  while at < #ARGV do
    s.id, s.n = arg(), num()
    if held(b, s.id .. ':' .. text(s.n)) then b.used = b.used - s.n end
    seats.spend(b, s)
  end
  seats.save(KEYS[1], b, s)
  return {now, -1}
end

local kinds = {t = gcra, w = window, s = sliding, c = seats}
local steps, buckets = {}, {}
for i = 1, #KEYS do
  local kind = kinds[arg()]
  local flags, n = num(), num()
  local s = {kind = kind, key = KEYS[i], soft = flags % 2 == 1, never = flags >= 2, n = n}
  kind.args(s)
  if not buckets[s.key] then buckets[s.key] = kind.load(s.key, s) end
  steps[i] = s
end
if skewed then return {now, -2} end

if mode == 'give' or mode == 'charge' then
  for i = 1, #steps do
    local s = steps[i]
    local b = buckets[s.key]
    if mode == 'give' then s.kind.give(b, s) else s.kind.spend(b, s) end
    s.kind.save(s.key, b, s)
  end
  return {now, -1}
end

local out, refused = {now, -1}, -1
local function put(i, ...)
  for j = 1, 5 do out[2 + 5 * (i - 1) + j] = select(j, ...) end
end
for i = 1, #steps do
  local s = steps[i]
  local b = buckets[s.key]
  local ok = s.n == 0 or not s.never and s.kind.fits(b, s)
  put(i, s.kind.raw(b, s, ok))
  if ok and s.n > 0 then
    s.kind.spend(b, s)
    b.by = s
  elseif not ok and not s.soft then
    refused = i
    break
  end
end
if refused > 0 then -- the others say how they stand with nothing spent
  out[2] = refused - 1
  for i = 1, #steps do
    local s = steps[i]
    local b = buckets[s.key]
    if i ~= refused then
      put(i, s.kind.raw(b, s, s.n == 0 or not s.never and s.kind.fits(b, s, true), true))
    end
  end
elseif mode == 'take' then
  for key, b in pairs(buckets) do
    if b.by then b.by.kind.save(key, b, b.by) end
  end
end
return out
