-- One client of the admission benchmark: each request asks in the name of a random desk for a server with a name of its own.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  what = dofile(args[1])
  local host, port = what.addresses[number % #what.addresses + 1]:match("(.+):(%d+)")
  wrk.thread.addr = wrk.lookup(host, port)[1]
  counter, accepted, other = 0, 0, 0
  math.randomseed(os.time() + number)
end

function request()
  counter = counter + 1
  local desk = what.desks[math.random(#what.desks)]
  local headers = { ["Content-Type"] = "application/json" }
  if desk.token then headers["Authorization"] = "Bearer " .. desk.token end
  for name, value in pairs(desk.headers or {}) do headers[name] = value end
  local name = "s" .. what.tag .. "-" .. number .. "-" .. counter
  local body = what.body:gsub("@name@", name)
  if desk.projects then body = body:gsub("@project@", desk.projects[math.random(#desk.projects)]) end
  if what.method == "GET" then body = nil end
  return wrk.format(what.method, what.path, headers, body)
end

function response(status, headers, body)
  if status < 300 then
    accepted = accepted + 1
  else
    other = other + 1
    if other == 1 then io.stderr:write(status, " ", body, "\n") end
  end
end

function done(summary, latency, requests)
  local accepted, other = 0, 0
  for _, thread in ipairs(threads) do
    accepted = accepted + thread:get("accepted")
    other = other + thread:get("other")
  end
  io.write(string.format(
    'RESULT {"accepted": %d, "other": %d, "seconds": %.3f, "p50_ms": %.1f, "p99_ms": %.1f}\n',
    accepted, other, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
