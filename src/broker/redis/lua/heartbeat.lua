-- A node's lease, and what is with the others'.
-- KEYS: nodes by the end of their lease
-- ARGV: lease, ttl_ms (0: the node leaves)
-- Gives: 1 if the lease had not run out (or been given up) meanwhile, leases that run, leases that have run out
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ttl = tonumber(ARGV[2])
local was = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ttl > 0 then
  if was and tonumber(was) <= now then return {0, {}, {}} end -- it is being swept: never to be renewed
  redis.call('ZADD', KEYS[1], whole(now + ttl), ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', whole(now), ARGV[1])
end
return {was and 1 or 0, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. whole(now), '+inf'),
        redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, 16)}
