-- Makes calls with lua-mpack's session over lua-luv, as Debian installs them.
--
--   lua5.1 mpack_calls.lua SOCKET < CALLS > ANSWERS
--
-- CALLS is the MessagePack of a list of {method, params}, ANSWERS that of the
-- list of {error, result}. All calls are out at once.

local mpack = require("mpack")
local uv = require("luv")

local calls = assert(mpack.unpack(io.read("*a")))
local answers, answered = {}, 0
local session = mpack.Session({ unpack = mpack.Unpacker() })
local socket = uv.new_pipe(false)

local function note(number)
  return function(err, result)
    assert(answers[number] == nil, "answered twice")
    answers[number] = { err == nil and mpack.NIL or err, result == nil and mpack.NIL or result }
    answered = answered + 1
    if answered == #calls then
      socket:close()
    end
  end
end

local function on_data(failure, data)
  assert(not failure, failure)
  assert(data, "the daemon closed the connection")
  while #data > 0 do
    -- Given a place to begin at, lua-mpack 1.0.7 reads beyond the end of what
    -- is there; so it is given what is left.
    local kind, callback, err, result, next_at = session:receive(data)
    data = data:sub(next_at)
    if kind == "response" then
      callback(err, result)
    else
      assert(kind == nil, "the daemon sent something else than a response")
    end
  end
end

socket:connect(arg[1], function(failure)
  assert(not failure, failure)
  socket:read_start(on_data)
  for number, call in ipairs(calls) do
    socket:write(session:request(note(number)) .. mpack.pack(call[1]) .. mpack.pack(call[2]))
  end
end)

uv.run()
assert(answered == #calls, "not everything was answered")
io.write(mpack.pack(answers))
