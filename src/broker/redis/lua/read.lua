-- A page of a stream.
-- KEYS: head, stream
-- ARGV: since|before|newest, seq, limit, max_bytes, kept since (ms), epoch if there is none, ttl_ms of a head made here
-- Gives: epoch, head seq, first seq, 1 if there is more, {seq, id_ms, payload, ...} ascending
local head = redis.call('HMGET', KEYS[1], 'e', 's', 'b')
if not head[1] then
  redis.call('HSET', KEYS[1], 'e', ARGV[6], 's', '0')
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  return {ARGV[6], '0', '1', 0, {}}
end
local seq = tonumber(head[2] or 0)
local oldest = tonumber(ARGV[5])
local front = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if front then
  local first, fields = parsed(front)
  if tonumber(fields.k) <= oldest then
    local bytes = trim(KEYS[2], tonumber(head[3] or 0), function(_, f) return tonumber(f.k) <= oldest end)
    redis.call('HSET', KEYS[1], 'b', whole(bytes))
    front = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  end
end
local first = seq + 1
if front then first = parsed(front) end

local from, at = ARGV[1], tonumber(ARGV[2])
local limit, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local low, high = first, seq
if from == 'since' then low = math.max(first, at + 1) end
if from == 'before' then high = math.min(seq, at - 1) end
local out, more = {}, 0
if low > high then return {head[1], whole(seq), whole(first), 0, out} end
if limit == 0 then return {head[1], whole(seq), whole(first), 1, out} end

local sum, taken, done = 0, {}, false
local forward = from == 'since'
while not done and #taken < limit and low <= high do
  local chunk = math.min(limit - #taken, 128)
  local entries
  if forward then
    entries = redis.call('XRANGE', KEYS[2], whole(low) .. '-0', whole(high) .. '-0', 'COUNT', chunk)
  else
    entries = redis.call('XREVRANGE', KEYS[2], whole(high) .. '-0', whole(low) .. '-0', 'COUNT', chunk)
  end
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    local known, fields = parsed(entry)
    taken[#taken + 1] = {whole(known), fields.i, fields.p}
    sum = sum + #fields.p
    if forward then low = known + 1 else high = known - 1 end
    if sum > max_bytes then
      done = true
      break
    end
  end
end
if low <= high then more = 1 end
for i = 1, #taken do
  local entry = forward and taken[i] or taken[#taken + 1 - i]
  out[#out + 1] = entry[1]
  out[#out + 1] = entry[2]
  out[#out + 1] = entry[3]
end
return {head[1], whole(seq), whole(first), more, out}
