-- Reports a run of wrk as one line of JSON. With expected_file or expected_pattern set, every body is compared with
-- that. With cookies_file set, its lines are sent in turns, each as the Cookie of one request.
local threads = {}
wrong = 0

function setup(thread)
  table.insert(threads, thread)
end

if expected_file then
  local file = assert(io.open(expected_file, "rb"))
  local expected = file:read("*a")
  file:close()

  function response(status, headers, body)
    if status ~= 200 or body ~= expected then wrong = wrong + 1 end
  end
end

if expected_pattern then
  function response(status, headers, body)
    if status ~= 200 or not body:match(expected_pattern) then wrong = wrong + 1 end
  end
end

if cookies_file then
  local requests, at = {}, 0

  function init()
    for line in io.lines(cookies_file) do
      local headers = { Cookie = line }
      for name, value in pairs(wrk.headers) do headers[name] = value end
      table.insert(requests, wrk.format(nil, nil, headers))
    end
  end

  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

function done(summary, latency, requests)
  local wrong_bodies = 0
  for _, thread in ipairs(threads) do wrong_bodies = wrong_bodies + thread:get("wrong") end
  local e = summary.errors
  io.write(string.format(
    '\nSUMMARY {"requests":%d,"seconds":%.6f,"bytes":%d,"meanMs":%.4f,"p50Ms":%.4f,"p99Ms":%.4f,"maxMs":%.4f,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},"wrong":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency.mean / 1e3,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    e.connect, e.read, e.write, e.status, e.timeout, wrong_bodies))
end
