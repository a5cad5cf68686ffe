-- Gives an event its place in its stream, keeps it and tells it.
-- KEYS: head, stream, dedupe (or head again)
-- ARGV: verb, channel, publisher, counter, now_ms, id_ms, epoch if there is none, count, age_ms, bytes, ttl_ms,
--       dedupe window_ms (0: no key), payload
-- Gives: epoch, seq, id_ms, 1 if it is a duplicate
local head = redis.call('HMGET', KEYS[1], 'e', 's', 'i', 'b', 'p:' .. ARGV[3])
local epoch = head[1] or ARGV[7]
local seq = tonumber(head[2] or 0)
local id = tonumber(head[3] or 0)
local bytes = tonumber(head[4] or 0)
local now = tonumber(ARGV[5])
local counter = tonumber(ARGV[4])

-- A publisher counts its publishes, and they come in order: one that does not count on has been carried out before.
if head[5] and counter <= tonumber(head[5]) then
  local mark = ARGV[3] .. ':' .. ARGV[4]
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 5000)) do
    local known, fields = parsed(entry)
    if fields.c == mark then return {epoch, whole(known), fields.i, 0} end
  end
  return {epoch, whole(seq), whole(id), 0} -- not kept any more: where exactly it was is forgotten
end

local window = tonumber(ARGV[12])
if window > 0 then
  local seen = redis.call('GET', KEYS[3])
  if seen then
    local of, known, known_id, when = string.match(seen, '^(%x+) (%d+) (%d+) (%d+)$')
    if of == epoch and now - tonumber(when) < window then return {epoch, known, known_id, 1} end
  end
end

seq = seq + 1
id = math.max(id, tonumber(ARGV[6]))
local payload = ARGV[13]
local count, max_bytes = tonumber(ARGV[8]), tonumber(ARGV[10])
local mine = cost(payload)
if count == 0 or mine > max_bytes then
  if bytes > 0 then redis.call('DEL', KEYS[2]) end
  bytes = 0
else
  redis.call('XADD', KEYS[2], whole(seq) .. '-0', 'i', whole(id), 'k', ARGV[5], 'c', ARGV[3] .. ':' .. ARGV[4], 'p', payload)
  bytes = bytes + mine
  -- By count and age in strides: looking at the oldest entry each time would cost more than keeping a few.
  local stride = math.min(64, count + 1)
  if bytes > max_bytes or seq % stride == 0 then
    local oldest = now - tonumber(ARGV[9])
    bytes = trim(KEYS[2], bytes, function(_, fields, sum, left)
      return sum > max_bytes or left > count or tonumber(fields.k) <= oldest
    end)
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[11])
end

local fields = {'e', epoch, 's', whole(seq), 'i', whole(id), 'b', whole(bytes), 'p:' .. ARGV[3], ARGV[4]}
if not head[5] and redis.call('HLEN', KEYS[1]) > 256 then redis.call('DEL', KEYS[1]) end -- publishers that are no more
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], ARGV[11])
if window > 0 then
  redis.call('SET', KEYS[3], epoch .. ' ' .. whole(seq) .. ' ' .. whole(id) .. ' ' .. ARGV[5], 'PX', window)
end
redis.call(ARGV[1], ARGV[2], '\1K' .. epoch .. ' ' .. whole(seq) .. ' ' .. whole(id) .. ' ' .. payload)
return {epoch, whole(seq), whole(id), 0}
