#include "layers/redis/encoding.h"

#include "layers/schema/schema.h"

/* The words of each key are what it must be, and then what it becomes:
 *
 *   "none"                              "remove"
 *   "text" bytes                        "text" bytes
 *   "hash" n (field value)*n            "hash" n (field value)*n
 *          m field*m (are not there)           m field*m (to be taken away)
 *
 * First all keys are compared, then all are changed. Until then the script runs
 * only commands that read: what it answers to a mismatch, or an error of a key of
 * another type, ends it with nothing done; and a connection with client tracking
 * has read each key before it is changed, which gives one notice for each.
 *
 * A key that must not be there is asked for by EXISTS, which is content with any
 * type. So is a hash of which no known field is expected: HMGET does not tell an
 * empty one from none. SET keeps the time to live.
 *
 * Words are taken one by one, so that the time is linear in their number. Only
 * one hash's fields stand on Lua's stack at once, which holds some 8,000. */
_Static_assert(2 * (FIELDS_MAX + 1) + 2 < 4000, "a hash's words fit on Lua's stack");

/* clang-format off */
const char encoding_script[] =
    "local deadline = tonumber(ARGV[1])\n"
    "if deadline > 0 then\n"
    "  local now = redis.call('TIME')\n"
    "  if now[1] * 1000 + math.floor(now[2] / 1000) >= deadline then return -1 end\n"
    "end\n"
    "local call, words, at = redis.call, ARGV, 1\n"
    "local function word()\n"
    "  at = at + 1\n"
    "  return words[at]\n"
    "end\n"
    "local function skip(size) at = at + size end\n"
    "local function list(into, size)\n"
    "  for _ = 1, size do into[#into + 1] = word() end\n"
    "  return into\n"
    "end\n"
    "\n"
    "local function hash_is(key)\n"
    "  local there, names, values = tonumber(word()), {}, {}\n"
    "  for i = 1, there do\n"
    "    names[i], values[i] = word(), word()\n"
    "  end\n"
    "  list(names, tonumber(word()))\n"
    "  local found = call('HMGET', key, unpack(names))\n"
    "  for i = 1, #names do\n"
    "    if found[i] ~= (values[i] or false) then return false end\n"
    "  end\n"
    "  return there > 0 or call('EXISTS', key) == 1\n"
    "end\n"
    "local function is_expected(key)\n"
    "  local kind = word()\n"
    "  if kind == 'none' then return call('EXISTS', key) == 0 end\n"
    "  if kind == 'text' then return call('GET', key) == word() end\n"
    "  return hash_is(key)\n"
    "end\n"
    "local function pass()\n"
    "  local kind = word()\n"
    "  if kind == 'text' then skip(1) end\n"
    "  if kind == 'hash' then\n"
    "    skip(2 * tonumber(word()))\n"
    "    skip(tonumber(word()))\n"
    "  end\n"
    "end\n"
    "\n"
    "local changes = {}\n"
    "for i, key in ipairs(KEYS) do\n"
    "  if not is_expected(key) then return i end\n"
    "  changes[i] = at\n"
    "  pass()\n"
    "end\n"
    "\n"
    "for i, key in ipairs(KEYS) do\n"
    "  at = changes[i]\n"
    "  local kind = word()\n"
    "  if kind == 'text' then\n"
    "    call('SET', key, word(), 'KEEPTTL')\n"
    "  elseif kind == 'hash' then\n"
    "    local set = list({'HSET', key}, 2 * tonumber(word()))\n"
    "    local gone = list({'HDEL', key}, tonumber(word()))\n"
    "    if #set > 2 then call(unpack(set)) end\n"
    "    if #gone > 2 then call(unpack(gone)) end\n"
    "  else\n"
    "    call('DEL', key)\n"
    "  end\n"
    "end\n"
    "return 0\n";
/* clang-format on */
