-- Forgets a stream's past.
-- KEYS: head, stream
-- ARGV: verb, channel, new epoch, ttl_ms, publisher, counter
-- Gives: the epoch from now on
local head = redis.call('HMGET', KEYS[1], 'e', 'p:' .. ARGV[5])
if head[1] and head[2] and tonumber(ARGV[6]) <= tonumber(head[2]) then return head[1] end -- carried out before
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'e', ARGV[3], 's', '0', 'p:' .. ARGV[5], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call(ARGV[1], ARGV[2], '\1X' .. ARGV[3])
return ARGV[3]
