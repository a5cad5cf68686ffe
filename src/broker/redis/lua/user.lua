-- What a node has to say of a user: their best status among its sessions and how many there are; status 0: none.
-- KEYS: the user by node, who is online, this node's users, when the user was last seen
-- ARGV: verb, channel for watchers, user, lease, status (0 to 3), sessions, now_ms, ttl_ms of last seen,
--       leases known to be over...
-- Gives: the user's status
local over = {}
for i = 9, #ARGV do over[ARGV[i]] = true end
local function best()
  local status = 0
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if not over[all[i]] then status = math.max(status, tonumber(string.match(all[i + 1], '^%d'))) end
  end
  return status
end
local before = best()
if ARGV[5] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[4])
  redis.call('SREM', KEYS[3], ARGV[3])
else
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5] .. ' ' .. ARGV[6])
  redis.call('SADD', KEYS[3], ARGV[3])
end
local after = best()
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('SADD', KEYS[2], ARGV[3])
else
  redis.call('SREM', KEYS[2], ARGV[3])
end
if after == 0 and before ~= 0 then redis.call('SET', KEYS[4], ARGV[7], 'PX', ARGV[8]) end
if after ~= before then redis.call(ARGV[1], ARGV[2], '\1P' .. after .. ' ' .. ARGV[7] .. ' ' .. ARGV[3]) end
return after
