-- Where a stream is. One that never was begins now, so that its epoch is known before its first event.
-- KEYS: head
-- ARGV: epoch if there is none, ttl_ms
-- Gives: epoch, seq
local head = redis.call('HMGET', KEYS[1], 'e', 's')
if head[1] then return {head[1], head[2] or '0'} end
redis.call('HSET', KEYS[1], 'e', ARGV[1], 's', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], '0'}
